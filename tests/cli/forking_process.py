# SPDX-License-Identifier: Apache-2.0
"""A process that has what is slow to load, and forks for every command it is sent.

Loading torch, timm, Numba and matplotlib takes longer than most commands do. What is tested of the
loading itself runs in processes of its own.

The one argument is ``with-torch`` or ``without-torch``: then torch and torchvision are not to be
found, and timm cannot be imported. Reads a JSON object per line, arguments and environment. Answers
with the number of the command's process, which may be sent a signal, and at its end with another
object: code, out, err.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import pkgutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path

import aocq
import reports
import simulator
from aocq.cli import main

# What runs on being imported, and what wants scikit-learn.
PROGRAMS = frozenset({"aocq.__main__", "aocq.demo.train"})
BLOCKED = frozenset({"torch", "torchvision"})


class Blocker:
    """A finder of modules that says of some that they are not installed.

    timm is there, to look for its files; it cannot be imported.
    """

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        """Raise ModuleNotFoundError for what is blocked; leave all else to others."""
        if name.partition(".")[0] in BLOCKED or name.startswith("timm."):
            raise ModuleNotFoundError(f"{name} is not installed", name=name)


@contextmanager
def silence() -> Iterator[None]:
    """Let nothing that is printed meanwhile be seen."""
    with (
        Path(os.devnull).open("w", encoding="utf-8") as nothing,
        redirect_stdout(nothing),
        redirect_stderr(nothing),
    ):
        yield


def warm_up(*arguments: str) -> None:
    """Run a command: kernels, torch.export, fonts and tables of options load at their first use.

    Without a thread that outlives it: ``OMP_NUM_THREADS`` is 1, and the executor ends its own.
    """
    sys.argv = ["aocq", *arguments]
    with silence(), suppress(SystemExit):
        main()


def modules() -> Iterator[str]:
    """Yield the modules of all commands, which import them when they are run."""
    for package in (aocq, simulator, reports):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if module.name not in PROGRAMS:
                yield module.name


def load(*, torch: bool) -> None:
    """Import what commands need."""
    if torch:
        import aocq.jobs.verify  # noqa: F401  (torchvision's operators, before torchvision)
    else:
        sys.meta_path.insert(0, Blocker())  # type: ignore[arg-type]
    for name in modules():
        with suppress(ModuleNotFoundError):  # torch, where it is not to be found
            importlib.import_module(name)
    warm_up("verify", "no model", "--no-such-option")  # messages in rich's frames
    if torch:
        with tempfile.TemporaryDirectory() as folder:
            warm_up("demo", "--preset", "fast", "--out", folder)
    gc.freeze()  # a child's collections would copy all of it


def child(arguments: list[str], environment: Mapping[str, str], out: Path, err: Path) -> None:
    """Run one command as ``python -m aocq`` would, and end the process."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # as a shell's command in front has it
    os.environ.clear()
    os.environ.update(environment)
    for descriptor, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY), descriptor)
    sys.argv = ["aocq", *arguments]
    code: object = 0
    try:
        main()
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 1)


def serve() -> None:
    """Answer until stdin ends."""
    for line in sys.stdin:
        with tempfile.TemporaryDirectory() as folder:
            out, err = Path(folder, "out"), Path(folder, "err")
            out.touch()
            err.touch()
            process = os.fork()
            if process == 0:
                child(**json.loads(line), out=out, err=err)
            print(process, flush=True)
            _, status = os.waitpid(process, 0)
            answer = {
                "code": os.waitstatus_to_exitcode(status),
                "out": out.read_text(encoding="utf-8"),
                "err": err.read_text(encoding="utf-8"),
            }
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    load(torch=sys.argv[1] == "with-torch")
    serve()
