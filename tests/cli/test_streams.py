# SPDX-License-Identifier: Apache-2.0
"""Any text can be printed anywhere, and none of it drives a terminal."""

from __future__ import annotations

import io
import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from command_line import AOCQ, ENVIRONMENT

from aocq import progress
from aocq.cli.console import print_columns
from aocq.cli.streams import any_text

ENCODINGS = ["ascii", "latin-1", "cp1252", "utf-8"]
HOSTILE = "größe → \udcff \x1b[2J\x07\x9b31m\r"


def run(*arguments: str, **environment: str) -> Any:
    return subprocess.run(
        [*AOCQ, *arguments],
        env={**ENVIRONMENT, **environment},
        capture_output=True,
        check=False,
        timeout=60,
    )


def controls(shown: bytes) -> set[int]:
    return {byte for byte in shown if byte < 32} - {*b"\n\t"}


@contextmanager
def written(encoding: str) -> Iterator[io.BytesIO]:
    """Yield what reaches a stdout and stderr of ``encoding``."""
    content = io.BytesIO()
    streams = [io.TextIOWrapper(content, encoding=encoding, write_through=True) for _ in range(2)]
    with redirect_stdout(streams[0]), redirect_stderr(streams[1]), any_text():
        yield content
    for stream in streams:
        stream.detach()


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("ascii", b"gr\\xf6\\xdfe \\u2192 \\udcff \\u001b[2J\\u0007\\u009b31m\\u000d\n"),
        ("latin-1", b"gr\xf6\xdfe \\u2192 \\udcff \\u001b[2J\\u0007\\u009b31m\\u000d\n"),
        ("cp1252", b"gr\xf6\xdfe \\u2192 \\udcff \\u001b[2J\\u0007\\u009b31m\\u000d\n"),
        ("utf-8", "größe → \\udcff \\u001b[2J\\u0007\\u009b31m\\u000d\n".encode()),
    ],
)
def test_text_is_written_as_it_can_be(encoding: str, shown: bytes) -> None:
    before = sys.stdout, sys.stderr
    with written(encoding) as content:
        print(HOSTILE)
        print(HOSTILE, file=sys.stderr)
    assert (sys.stdout, sys.stderr) == before
    assert content.getvalue() == shown + shown


def test_a_bar_may_return_to_the_start_of_its_line() -> None:
    with written("utf-8") as content:
        sys.stderr.write("\rdownload:  50 %")
        sys.stderr.writelines(["\rdownload: 100 %", "\n"])
    assert content.getvalue() == b"\rdownload:  50 %\rdownload: 100 %\n"


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_tables_show_any_cell(encoding: str) -> None:
    with written(encoding) as content:
        print_columns(["model", "top-1"], [[HOSTILE, "98 %"], ["[bold]x", "97 %"]])
        progress.note(HOSTILE)
    shown = content.getvalue()
    assert b"\\udcff \\u001b[2J\\u0007\\u009b31m\\u000d" in shown
    assert b"[bold]x" in shown
    assert b"98 %" in shown
    assert b"note: " in shown
    assert controls(shown) == set()


BAR = """
from aocq import progress
from aocq.cli.streams import any_text
with any_text(), progress.show("simulate", 4) as advance:
    for _ in range(4):
        advance(1)
"""


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_bar_is_drawn_on_any_terminal(encoding: str) -> None:
    """With its own control characters, which are not escaped."""
    main, terminal = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-c", BAR],
        env={**ENVIRONMENT, "PYTHONIOENCODING": encoding, "TERM": "xterm"},
        stderr=terminal,
        check=False,
        timeout=60,
    )
    os.close(terminal)
    drawn = b""
    while True:
        try:
            part = os.read(main, 4096)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        drawn += part
    os.close(main)
    assert done.returncode == 0, drawn
    assert b"simulate" in drawn
    assert b"4/4" in drawn
    assert b"\x1b[" in drawn
    assert b"\\u001b" not in drawn


ODD = os.fsdecode(b"gr\xff\xc3\xb6\x1b[2J")
ASCII = {"PYTHONIOENCODING": "ascii"}
PLAIN_C = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.parametrize(
    ("arguments", "code", "environment"),
    [
        (("--help",), 0, ASCII),
        (("--help",), 0, PLAIN_C),
        (("profiles", "show", "edge_npu_int8"), 0, ASCII),
        (("profiles", "show", "edge_npu_int8"), 0, {"PYTHONIOENCODING": "latin-1"}),
        (("profiles", "show", "edge_npu_int8"), 0, PLAIN_C),
        (("profiles", "validate", ODD), 3, {"PYTHONIOENCODING": "cp1252"}),
        (("profiles", "validate", ODD), 3, {"LC_ALL": "C"}),
        (("inspect", ODD), 3, PLAIN_C),
        (("inspect", ODD), 3, ASCII),
        (("inspect", "one", ODD), 2, ASCII),
        ((ODD,), 2, PLAIN_C),
    ],
    ids=str,
)
def test_commands_end_as_documented(
    arguments: tuple[str, ...], code: int, environment: dict[str, str]
) -> None:
    done = run(*arguments, **environment)
    assert done.returncode == code, done.stderr
    assert controls(done.stdout) == set()
    assert controls(done.stderr) == set()
    assert b"Traceback" not in done.stderr
    if code == 3:
        assert b"\\u001b[2J" in done.stderr
        assert b"\\udcff" in done.stderr


def test_files_may_have_any_name(tmp_path: Path) -> None:
    profile = tmp_path / os.fsdecode(b"gr\xff\xc3\xb6\x1b[2J.toml")
    shipped = Path(__file__).parents[2] / "hw_profiles" / "edge_npu_int8.toml"
    shutil.copy(shipped, profile)
    assert run("profiles", "validate", str(profile)).returncode == 0
    out = profile.with_name(os.fsdecode(b"new\xff.toml"))
    done = run("profiles", "new", "mine", "--from", "edge_npu_int8", "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert b"new\\udcff.toml: every value is that of" in done.stderr
    assert out.is_file()
