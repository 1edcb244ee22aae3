# SPDX-License-Identifier: Apache-2.0
"""What makes units for the engine: something with slots, each of which is at one unit at a time."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Protocol, Self

from aocq.progress import Note, Progress
from aocq.sweeps.unit import Reply, Unit
from aocq.sweeps.work import make


class Pool(Protocol):
    """Slots that make units: worker processes here, a cluster's, or this process.

    A context: leaving it ends what still runs. All that it knows is which units run. What became of
    any is in the units' folders.
    """

    def size(self) -> int:
        """Return how many units can be made at the same time."""

    def free(self) -> int:
        """Return how many more units could be begun now."""

    def begin(self, unit: Unit) -> None:
        """Begin a unit in a free slot.

        Raises
        ------
        EnvironmentProblem
            If no worker can be started.
        """

    def ended(self, seconds: float) -> Iterable[tuple[Unit, Reply]]:
        """Return units that have ended; wait up to ``seconds`` for the first.

        A unit whose worker ended in the middle is among them with :class:`aocq.sweeps.unit.Died`.
        """

    def __enter__(self) -> Self:
        """Begin to use the pool."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End what still runs."""


class ThisProcess:
    """A pool of one slot: units are made in this process, which shows what they say."""

    def __init__(self, progress: Progress, note: Note) -> None:
        self._progress, self._note = progress, note
        self._waiting: list[Unit] = []

    def size(self) -> int:
        """Return 1."""
        return 1

    def free(self) -> int:
        """Return 1 where no unit waits to be made."""
        return 1 - len(self._waiting)

    def begin(self, unit: Unit) -> None:
        """Put down which unit is the next, and say so."""
        self._note(unit.name)
        self._waiting.append(unit)

    def ended(self, seconds: float) -> Iterable[tuple[Unit, Reply]]:
        """Make the unit that was begun."""
        del seconds
        waiting, self._waiting = self._waiting, []
        return [(unit, make(unit, self._progress, self._note)) for unit in waiting]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *stopped_by: object) -> None:
        self._waiting.clear()
