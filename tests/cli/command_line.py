# SPDX-License-Identifier: Apache-2.0
"""The command line as a user meets it: processes, exit codes, and the files they leave."""

from __future__ import annotations

import hashlib
import json
import os
import signal as signals
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

# One thread: networks this small gain nothing from more. Offline: nothing here may be fetched.
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "COLUMNS": "200"}
AOCQ = (sys.executable, "-m", "aocq")
# Runs the command line and prints what it has imported.
WATCHED = """
import sys
from aocq.cli import main
try:
    main()
except SystemExit as end:
    code = end.code
print(*sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr)
sys.exit(code)
"""
RUN_FILES = (
    "graph.json",
    "graph.safetensors",
    "layers.csv",
    "manifest.json",
    "quantized.json",
    "quantized.safetensors",
    "report.html",
    "report.md",
    "run.json",
)


class Finished(NamedTuple):
    """What a process ended with."""

    code: int
    out: str
    err: str
    seconds: float

    def check(self, code: int) -> None:
        """Hold the exit code to ``code``."""
        assert self.code == code, f"exit code {self.code}\n{self.out}\n{self.err}"
        assert "Traceback" not in self.err


class Demo(NamedTuple):
    """The bundled demo, run once."""

    folder: Path
    process: Finished

    @property
    def verify(self) -> tuple[object, ...]:
        """The same job as a command of its own, but for --out."""
        return (
            *("verify", "vit_nano_digits", "--w-bits", 4),
            *("--data", self.folder / "data" / "val"),
            *("--calib-data", self.folder / "data" / "calib", "--calib", 128),
        )


class Forking:
    """A process that has all modules loaded and forks for every command: ``forking_process.py``.

    Loading them takes longer than most commands do.
    """

    def __init__(self, *, torch: bool) -> None:
        self.process = subprocess.Popen(
            [
                *(sys.executable, Path(__file__).with_name("forking_process.py")),
                "with-torch" if torch else "without-torch",
            ],
            env=ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: object, code: int = 0, **environment: str) -> Finished:
        """Run ``aocq`` to its end and hold its exit code to ``code``."""
        start = time.monotonic()
        self._begin(arguments, environment)
        finished = self._end(start)
        finished.check(code)
        return finished

    def stopped(self, *arguments: object, when: Callable[[], bool], signal: int) -> Finished:
        """Run ``aocq`` and send it ``signal`` as soon as ``when()`` holds."""
        start = time.monotonic()
        process = self._begin(arguments, {})
        while not when():
            os.kill(process, 0)  # an error where it ended too early
            assert time.monotonic() - start < 240
            time.sleep(0.002)
        os.kill(process, signal)
        return self._end(start)

    def _begin(self, arguments: tuple[object, ...], environment: dict[str, str]) -> int:
        """Have a command begun, and return the number of its process."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        request = {
            "arguments": [str(part) for part in arguments],
            "environment": {**ENVIRONMENT, **environment},
        }
        print(json.dumps(request), file=self.process.stdin, flush=True)
        return int(self.process.stdout.readline())

    def _end(self, start: float) -> Finished:
        """Wait for the end of the command that was begun."""
        assert self.process.stdout is not None
        answer = json.loads(self.process.stdout.readline())
        return Finished(**answer, seconds=time.monotonic() - start)

    def close(self) -> None:
        """End the process."""
        self.process.communicate(timeout=60)
        assert self.process.returncode == 0


def aocq(*arguments: object, code: int = 0) -> Finished:
    """Run ``aocq`` in a process of its own to its end, and hold its exit code to ``code``."""
    start = time.monotonic()
    done = subprocess.run(
        [*AOCQ, *map(str, arguments)],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    finished = Finished(done.returncode, done.stdout, done.stderr, time.monotonic() - start)
    finished.check(code)
    return finished


def _listen_to_ctrl_c() -> None:
    signals.signal(signals.SIGINT, signals.SIG_DFL)


def stopped(*arguments: object, when: Callable[[], bool], signal: int) -> Finished:
    """Run ``aocq`` and send it ``signal`` as soon as ``when()`` holds."""
    start = time.monotonic()
    process = subprocess.Popen(
        [*AOCQ, *map(str, arguments)],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background jobs ignore Ctrl-C, and a test run among them hands that down.
        preexec_fn=_listen_to_ctrl_c,  # noqa: PLW1509
    )
    try:
        while not when():
            assert process.poll() is None, f"ended too early: {process.communicate()}"
            assert time.monotonic() - start < 240
            time.sleep(0.002)
        process.send_signal(signal)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    return Finished(process.returncode, out, err, time.monotonic() - start)


def digests(folder: Path) -> dict[str, str]:
    """The sha256 of every file below a folder but those of unfinished work."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".work" not in path.parts
    }


def record(folder: Path) -> dict[str, Any]:
    """The run in a folder, without what differs from run to run: times, threads, the command."""
    run: dict[str, Any] = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    for varying in ("command", "emulation", "verdict"):
        run.pop(varying)
    run["method"].pop("seconds")
    return run
