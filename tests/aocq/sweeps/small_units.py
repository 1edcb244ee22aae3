# SPDX-License-Identifier: Apache-2.0
"""Units that take no time, and what may happen to their workers."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import NamedTuple

from aocq.progress import Note, Progress
from aocq.sweeps.unit import Unit
from simulator.errors import EnvironmentProblem, InputError

RESULT, BEGUN, GO_ON = "result", "begun", "go on"


class Request(NamedTuple):
    """What a small unit does: ``act`` names it, ``number`` is its result."""

    folder: Path
    number: int
    act: str


def small_unit(folder: Path, number: int, act: str = "", shares: str = "") -> Unit:
    """A unit whose result is its number."""
    own = folder / f"unit{number}"
    request = Request(own, number, act)
    return Unit(
        name=f"unit {number}", folder=own, request=request, make=make, find=find, shares=shares
    )


def find(request: Request) -> int | None:
    """The number in the result's file."""
    path = request.folder / RESULT
    return int(path.read_text("utf-8")) if path.exists() else None


def make(request: Request, progress: Progress, note: Note) -> int:
    """Write the number, after what the request says."""
    request.folder.mkdir(parents=True, exist_ok=True)
    with (request.folder / BEGUN).open("a") as file:
        print(os.getpid(), time.monotonic_ns(), file=file)
    attempts = len((request.folder / BEGUN).read_text("utf-8").splitlines())
    if request.act == "error":
        raise InputError(f"unit {request.number}: has no weights")
    if request.act == "lacks":
        raise EnvironmentProblem("no GPU")
    if request.act == "mistake":
        raise ZeroDivisionError("of its own")
    if request.act == "dies" or (request.act == "dies once" and attempts == 1):
        os.kill(os.getpid(), signal.SIGKILL)
    if request.act == "slow":
        time.sleep(0.5)
    while request.act == "waits" and not (request.folder / GO_ON).exists():
        time.sleep(0.02)
    if request.act == "endless" or (request.act == "endless once" and attempts == 1):
        time.sleep(600)
    if request.act == "ends its parent":
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(600)
    if request.act == "relative":
        Path("here").touch()
    if request.act == "threads":
        return int(os.environ["OMP_NUM_THREADS"])
    note("said by every unit")
    (request.folder / RESULT).write_text(str(request.number), "utf-8")
    if request.act == "dies at its end":
        os.kill(os.getpid(), signal.SIGKILL)
    return request.number
