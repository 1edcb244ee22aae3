# SPDX-License-Identifier: Apache-2.0
"""Commands in forks of a process that has everything loaded: hundreds of them in a minute.

What the command line does while it loads is tested in processes of its own (``tests/cli``).
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "cli"))

import forking_process
from command_line import AOCQ, ENVIRONMENT

SECONDS = 120.0  # of one command; the longest of them takes about 20
MEMORY = 3 << 30  # bytes beyond what a command inherits
CALM = {**ENVIRONMENT, "AOCQ_THREADS": "1"}


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a command ended.

    Attributes
    ----------
    code
        exit code, or minus the signal that ended it
    bytes
        memory at its peak, beyond what it inherited
    """

    arguments: tuple[str, ...]
    code: int
    out: str
    err: str
    seconds: float
    bytes: int
    in_time: bool


@dataclass(kw_only=True)
class Running:
    """A command that was started."""

    arguments: tuple[str, ...]
    process: int
    texts: tempfile.TemporaryDirectory[str]
    start: float = field(default_factory=time.monotonic)

    def wait(
        self, seconds: float = SECONDS, kill_after: float | None = None, by: int = signal.SIGKILL
    ) -> Ended:
        """Wait for the end; a command that takes longer than ``seconds`` is killed.

        ``kill_after`` so many seconds it is sent the signal ``by``.
        """
        in_time = True
        while True:
            process, status, usage = os.wait4(self.process, os.WNOHANG)
            if process:
                break
            elapsed = time.monotonic() - self.start
            if kill_after is not None and elapsed >= kill_after:
                os.kill(self.process, by)
                kill_after = None
            if elapsed > seconds:
                os.kill(self.process, signal.SIGKILL)
                in_time = False
            time.sleep(0.002)
        with self.texts as folder:
            out, err = (Path(folder, name).read_bytes() for name in ("out", "err"))
        return Ended(
            arguments=self.arguments,
            code=os.waitstatus_to_exitcode(status),
            out=out.decode(errors="surrogateescape"),
            err=err.decode(errors="surrogateescape"),
            seconds=time.monotonic() - self.start,
            bytes=max(0, usage.ru_maxrss - _INHERITED) * 1024,
            in_time=in_time,
        )


_INHERITED = 0  # kibibytes, once everything is loaded


def load() -> None:
    """Load what commands need, once, before the first fork."""
    global _INHERITED  # noqa: PLW0603
    os.environ.update(CALM)
    forking_process.load(torch=True)
    _INHERITED = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def start(
    *arguments: object,
    environment: Mapping[str, str] | None = None,
    before: Callable[[], None] | None = None,
    stdin: Path | None = None,
) -> Running:
    """Start ``aocq`` with these arguments in a fork; ``before`` is called in it."""
    texts = tempfile.TemporaryDirectory()
    out, err = Path(texts.name, "out"), Path(texts.name, "err")
    out.touch()
    err.touch()
    given = tuple(map(str, arguments))
    process = os.fork()
    if process == 0:
        _limit_memory()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.dup2(os.open(stdin or os.devnull, os.O_RDONLY), 0)
        for path in (out, err):
            path.chmod(0o666)
        Path(texts.name).chmod(0o755)
        if before:
            before()
        forking_process.child(list(given), {**CALM, **(environment or {})}, out, err)
    return Running(arguments=given, process=process, texts=texts)


def run(*arguments: object, seconds: float = SECONDS, **how: object) -> Ended:
    """Run ``aocq`` to its end."""
    return start(*arguments, **how).wait(seconds)  # type: ignore[arg-type]


def alone(
    *arguments: object, variables: Mapping[str, str] | None = None, start: Sequence[str] = AOCQ
) -> Ended:
    """Run ``aocq`` to its end in a process of its own, which loads and compiles for itself."""
    begun = time.monotonic()
    given = tuple(map(str, arguments))
    done = subprocess.run(
        [*start, *given],
        env={**os.environ, **CALM, **(variables or {})},
        capture_output=True,
        check=False,
        timeout=600,
    )
    return Ended(
        arguments=given,
        code=done.returncode,
        out=done.stdout.decode(errors="replace"),
        err=done.stderr.decode(errors="replace"),
        seconds=time.monotonic() - begun,
        bytes=0,
        in_time=True,
    )


def _limit_memory() -> None:
    """So that a file that asks for all memory cannot take it from the machine."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
    limit = pages * resource.getpagesize() + 2 * MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def command_text(arguments: Sequence[str]) -> str:
    """Return a command as it is typed."""
    return " ".join(("aocq", *arguments))
