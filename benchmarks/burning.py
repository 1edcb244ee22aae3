# SPDX-License-Identifier: Apache-2.0
"""Units that keep a core busy, in a module that workers of a cluster can import."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import NamedTuple

from aocq.progress import Note, Progress
from aocq.sweeps.unit import Unit


class Burn(NamedTuple):
    """A unit's request: processor seconds to burn."""

    seconds: float


class Burnt(NamedTuple):
    """When a unit began and ended, by the worker's processor time and by the clock."""

    worker: int
    cpu: tuple[float, float]
    clock: tuple[float, float]


def burn(request: Burn, progress: Progress, note: Note) -> Burnt:
    """Keep a core busy."""
    del progress, note
    cpu, clock = time.process_time(), time.monotonic()
    while time.process_time() - cpu < request.seconds:
        pass
    return Burnt(os.getpid(), (cpu, time.process_time()), (clock, time.monotonic()))


def burning(units: int, seconds: float, folder: Path) -> list[Unit]:
    """Units that keep a core busy."""
    return [
        Unit(name=f"unit {each}", folder=folder / str(each), request=Burn(seconds), make=burn)
        for each in range(units)
    ]
