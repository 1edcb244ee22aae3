# SPDX-License-Identifier: Apache-2.0
"""The making of a unit, in whatever process: under its lease, with errors as replies."""

from __future__ import annotations

import sys
import time
import traceback

from aocq.progress import Note, Progress
from aocq.records.lease import Lease, take
from aocq.sweeps.run_state import LEASE_NAME, forget_attempts, note_failure, note_seconds
from aocq.sweeps.unit import Busy, Failed, Made, Reply, Unit
from simulator.errors import AocqError, EnvironmentProblem

SOMEBODY = "another process"
PASSING = (EnvironmentProblem, ImportError, MemoryError)  # no fault of the unit


def make(unit: Unit, progress: Progress, note: Note) -> Reply:
    """Make a unit and return what became of it; what stops it stops no other unit.

    A failure is written down in the unit's folder, but for what the machine lacks: the next command
    tries that again.

    Raises
    ------
    InputError
        If the folder cannot be made or written.
    """
    start = time.perf_counter()
    held = take(unit.folder / LEASE_NAME, note)
    if not isinstance(held, Lease):
        return Busy(holder=str(held or SOMEBODY))
    with held:
        # Another process may have ended it since this one was told to make it.
        if unit.find is not None and (found := unit.find(unit.request)) is not None:
            forget_attempts(unit.folder)  # a worker may have died between its result and its end
            return Made(value=found, earlier=True)
        try:
            value = unit.make(unit.request, progress, note)
        except Exception as error:
            reason = _in_words(error)
            if not isinstance(error, PASSING):
                note_failure(unit.folder, reason)
            return Failed(reason=reason, seconds=time.perf_counter() - start)
        seconds = time.perf_counter() - start
        note_seconds(unit.folder, seconds)
        forget_attempts(unit.folder)
    return Made(value=value, seconds=seconds)


def _in_words(error: Exception) -> str:
    """Return an error as a row's reason; of what nobody foresaw, the traceback goes to stderr."""
    if isinstance(error, AocqError):
        return str(error)
    traceback.print_exception(error, file=sys.stderr)
    if isinstance(error, MemoryError):
        return "not enough memory; fewer --workers need less"
    return f"{type(error).__name__}: {error}"
