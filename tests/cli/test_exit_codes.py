# SPDX-License-Identifier: Apache-2.0
"""Exit codes: 1 means that a verdict is no; mistakes of the program have a code of their own."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from command_line import AOCQ, ENVIRONMENT
from command_line import aocq as run

import aocq.cli.app as aocq_app
from aocq.cli import main
from aocq.cli.ending import INTERNAL_ERROR
from aocq.cli.group import Commands
from simulator.errors import AccumulatorOverflow, EnvironmentProblem, InputError
from simulator.profile import load_profile


def ending(
    raised: Callable[[], Any] | BaseException, monkeypatch: pytest.MonkeyPatch, *, inside: bool
) -> object:
    """Return the exit code of a command that ends so, raised by typer's app or in its command."""

    def command() -> None:
        if isinstance(raised, BaseException):
            raise raised
        raised()

    app: Any = command
    if inside:
        app = typer.Typer(cls=Commands, pretty_exceptions_enable=False)
        app.command("first")(command)
        app.command("other")(lambda: None)
        monkeypatch.setattr(sys, "argv", ["aocq", "first"])
    monkeypatch.setattr(aocq_app, "app", app)
    with pytest.raises(SystemExit) as caught:
        main()
    return caught.value.code


NAMED = [
    (code, OSError(code, os.strerror(code), "/some/where/file.bin"))
    for code in (
        *(errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EIO, errno.ENAMETOOLONG, errno.EDQUOT),
        *(errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.ELOOP),
    )
]


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (ModuleNotFoundError("No module named 'timm'"), 4, "error: No module named 'timm'; insta"),
        (MemoryError(), 4, "error: not enough memory"),
        (OSError(errno.EMFILE, "Too many open files"), 4, "error: Too many open files; "),
        (OSError(errno.ENOSPC, "No space left"), 3, "error: a file or stdout: cannot be read or"),
        (InputError("file: is bad"), 3, "error: file: is bad\n"),
        (EnvironmentProblem("no disk"), 4, "error: no disk\n"),
        (AccumulatorOverflow("op: too wide"), 1, "error: op: too wide\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), 141, ""),
        *((error, 3, "error: /some/where/file.bin: cannot be read or w") for _, error in NAMED),
        (typer.Exit(1), 1, ""),
    ],
    ids=repr,
)
def test_what_the_user_can_mend_is_told(
    error: BaseException,
    code: int,
    told: str,
    inside: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if isinstance(error, typer.Exit) and not inside:
        error = SystemExit(1)
    assert ending(error, monkeypatch, inside=inside) == code
    shown = capsys.readouterr().err
    assert shown.startswith(told)
    assert bool(shown) == bool(told)
    assert "Traceback" not in shown


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize(
    "error",
    [
        ZeroDivisionError("of nobody's doing"),
        EOFError("of nobody's doing"),
        RecursionError("of nobody's doing"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "of nobody's doing"),
        OSError("of nobody's doing"),
        AssertionError("of nobody's doing"),
        SystemExit("of nobody's doing"),
    ],
    ids=repr,
)
def test_a_mistake_of_the_program_is_no_verdict(
    error: BaseException,
    inside: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert ending(error, monkeypatch, inside=inside) == INTERNAL_ERROR == 70
    told = capsys.readouterr().err
    assert "Traceback" in told
    assert f"{type(error).__name__}: " in told
    assert "of nobody's doing" in told
    assert told.endswith("error: this is a mistake of aocq's own; please report it\n")


def recursing() -> None:
    recursing()


def test_endless_recursion_of_our_own_is_a_mistake(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ending(recursing, monkeypatch, inside=True) == 70
    assert "RecursionError" in capsys.readouterr().err


DEEP = "[" * 100_000


@pytest.mark.parametrize(
    "read",
    [lambda: json.loads(DEEP), lambda: tomllib.loads(f"a = {DEEP[:30_000]}")],
    ids=["json", "toml"],
)
def test_what_is_nested_too_deeply_is_an_input(
    read: Callable[[], Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ending(read, monkeypatch, inside=True) == 3
    assert "cannot be read (it is nested too deeply)" in capsys.readouterr().err


def test_a_file_of_our_reading_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the innermost of our functions that holds a path."""
    path = tmp_path / "cut.npy"
    path.write_bytes(b"")
    scope: dict[str, Any] = {"__name__": "simulator.somewhere", "np": np}
    exec("def read(path, other='x'):\n    return np.load(path)", scope)
    assert ending(lambda: scope["read"](path), monkeypatch, inside=True) == 3
    assert capsys.readouterr().err.startswith(f"error: {path}: cannot be read (No data left")


def test_a_profile_nested_too_deeply_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "deep.toml"
    path.write_text(f"a = {DEEP[:30_000]}", "utf-8")
    with pytest.raises(InputError, match=r"deep\.toml: not a profile: .* nested too deeply"):
        load_profile(str(path))


def test_a_name_that_is_too_long_is_told() -> None:
    name = "x" * 300
    told = run("profiles", "validate", name, code=3).err
    assert f"error: profile {name}: neither a shipped profile nor a file" in told


# Ctrl-C at the moment when a module begins to be imported, or a module inside it.
INTERRUPTED_IMPORT = """
import builtins, os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
original = builtins.__import__
def interrupted(name, *arguments, **options):
    if name == MODULE:
        builtins.__import__ = original
        os.kill(os.getpid(), signal.SIGINT)
    return original(name, *arguments, **options)
builtins.__import__ = interrupted
import runpy
sys.argv = ["aocq", *sys.argv[1:]]
runpy.run_module("aocq", run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize(
    "module",
    ["aocq.cli", "aocq.cli.streams", "aocq.cli.app", "typer", "typer.core", "tomllib", "pydantic"],
)
def test_ctrl_c_while_modules_are_imported(module: str) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-c", f"MODULE = {module!r}\n{INTERRUPTED_IMPORT}"),
            *("profiles", "validate", "edge_npu_int8"),
        ],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 130, done.stderr
    assert done.stderr == "interrupted\n"
    assert done.stdout == ""


@pytest.fixture
def listening_to_ctrl_c() -> Iterator[None]:
    """Where this process would ignore it, too; and afterwards as before."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("listening_to_ctrl_c")
def test_ctrl_c_that_becomes_another_error_is_ctrl_c(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def importing() -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt:
            raise ImportError("cannot load module more than once per process") from None

    assert ending(importing, monkeypatch, inside=True) == 130
    assert capsys.readouterr().err == "interrupted\n"


# Ctrl-C in a string of code, of which Python remembers that it was interrupted.
IN_A_STRING = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
import aocq.cli.app
from aocq.cli import main
aocq.cli.app.app = lambda: exec("os.kill(os.getpid(), signal.SIGINT); [0 for _ in range(9999)]")
main()
"""
# Ctrl-C in a callback, where Python can but say that it ignores it.
IN_A_CALLBACK = """
import os, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
import aocq.cli.app
from aocq.cli import main
class Closing:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
def app():
    Closing()
    time.sleep(20)
aocq.cli.app.app = app
main()
"""


@pytest.mark.parametrize("source", [IN_A_STRING, IN_A_CALLBACK], ids=["string", "callback"])
def test_ctrl_c_anywhere_is_ctrl_c(source: str, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(source, "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "program"],
        cwd=tmp_path,
        env={**ENVIRONMENT, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_closed_pipe_ends_quietly(stream: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    other = "stderr" if stream == "stdout" else "stdout"
    name = "edge_npu_int8" if stream == "stdout" else "no_such_profile"
    done: Any = subprocess.run(
        [*AOCQ, "profiles", "show", name],
        env=ENVIRONMENT,
        check=False,
        text=True,
        timeout=60,
        **{stream: writing, other: subprocess.PIPE},
    )
    os.close(writing)
    assert done.returncode == (141 if stream == "stdout" else 3)
    assert getattr(done, other) == ""


@pytest.mark.parametrize("command", ["--help", "verify --help", "models"])
def test_a_pipe_that_is_closed_under_rich_s_tables_is_no_verdict(command: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [*AOCQ, *command.split()],
        env=ENVIRONMENT,
        check=False,
        timeout=120,
        stdout=writing,
        stderr=subprocess.PIPE,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_full_disk_under_stdout_is_told() -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        done = subprocess.run(
            [*AOCQ, "profiles", "list"],
            env=ENVIRONMENT,
            check=False,
            text=True,
            timeout=60,
            stdout=full,
            stderr=subprocess.PIPE,
        )
    assert done.returncode == 3
    assert done.stderr == "error: stdout: cannot be read or written (No space left on device)\n"


@pytest.mark.parametrize(("redirection", "code"), [(">&-", 0), ("2>&-", 0), (">&- 2>&-", 0)])
def test_streams_that_are_closed_take_anything(redirection: str, code: int) -> None:
    done = subprocess.run(
        ["sh", "-c", f'"$@" {redirection}', "sh", *AOCQ, "profiles", "list"],
        env=ENVIRONMENT,
        check=False,
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == code
    assert b"Traceback" not in done.stderr
