# SPDX-License-Identifier: Apache-2.0
"""The engine: units to a pool's slots, until each has a result or a reason why it has none.

It keeps nothing. Which units have a result, failed, or took workers down with them is in their
folders, so that whoever is killed, on whatever machine, the same units given again go on.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from aocq.progress import Note
from aocq.sweeps.pool import Pool
from aocq.sweeps.run_state import (
    MOST_DEATHS,
    failure,
    forget_attempts,
    note_death,
    note_failure,
)
from aocq.sweeps.unit import Busy, Died, Failed, Lost, Made, Outcome, Reply, Unit

PATIENCE = 1.0  # seconds between two looks at a unit that another command is making
LONGEST_WAIT = 60.0  # seconds: what a pool waits for at most before the engine looks up


def run_units(
    units: Iterable[Unit], pool: Pool, note: Note, *, retry_failed: bool = False
) -> Iterator[tuple[Unit, Outcome]]:
    """Yield every unit with what became of it, as they end; tables put them in their plan's order.

    First, in the order of the plan, those that ended in an earlier command. Units are begun in the
    plan's order, but for those that would wait for another to make what they share.

    Parameters
    ----------
    pool
        entered; what still runs when the iterator is closed is for the pool to end
    retry_failed
        whether what failed in an earlier command is tried again; what failed in this one is not

    Raises
    ------
    InputError
        If a unit's folder cannot be written.
    EnvironmentProblem
        If the pool can start no worker.
    """
    waiting = []
    for unit in units:
        earlier = _earlier(unit, retry_failed=retry_failed)
        if earlier is None:
            waiting.append(unit)
        else:
            yield unit, earlier
    yield from _Run(waiting, pool, note).outcomes()


def _earlier(unit: Unit, *, retry_failed: bool) -> Outcome | None:
    """Return what an earlier command made of a unit."""
    found = unit.find(unit.request) if unit.find is not None else None
    if found is not None:
        forget_attempts(unit.folder)
        return Made(value=found, earlier=True)
    if retry_failed:
        forget_attempts(unit.folder)
    reason = failure(unit.folder)
    return None if reason is None else Failed(reason=reason, earlier=True)


class _Run:
    """Units on their way: those that wait, run, or are another command's for the moment."""

    def __init__(self, waiting: list[Unit], pool: Pool, note: Note) -> None:
        self.waiting, self.pool, self.note = waiting, pool, note
        self.running: list[Unit] = []
        self.elsewhere: dict[Unit, float] = {}  # another command's; when to look at it again
        self.made: set[str] = set()  # what units share and one of them has ended
        self.told: set[str] = set()

    def outcomes(self) -> Iterator[tuple[Unit, Outcome]]:
        while self.waiting or self.running or self.elsewhere:
            self._look_again()
            while self.pool.free() > 0 and (unit := self._next()) is not None:
                self.running.append(unit)
                self.pool.begin(unit)
            if not self.running:
                time.sleep(PATIENCE)
                continue
            for unit, reply in self.pool.ended(PATIENCE if self.elsewhere else LONGEST_WAIT):
                self.running.remove(unit)
                outcome = self._outcome(unit, reply)
                if outcome is not None:
                    self.made.add(unit.shares)
                    yield unit, outcome

    def _next(self) -> Unit | None:
        """Return the unit to begin, and strike it off."""
        making = {unit.shares for unit in self.running if unit.shares} - self.made
        for unit in self.waiting:
            if unit.shares not in making:
                break
        else:
            if not self.waiting:
                return None
            unit = self.waiting[0]
        self.waiting.remove(unit)
        return unit

    def _look_again(self) -> None:
        """Put units that another command was making, and their time has come, in front."""
        now = time.monotonic()
        for unit in [each for each, when in self.elsewhere.items() if when <= now]:
            del self.elsewhere[unit]
            self.waiting.insert(0, unit)

    def _outcome(self, unit: Unit, reply: Reply) -> Outcome | None:
        """Return what became of a unit; None where it is to be tried again."""
        if isinstance(reply, Busy):
            self._tell(f"{unit.name}: {reply.holder} is making it; its result will be taken")
            self.elsewhere[unit] = time.monotonic() + PATIENCE
            return None
        if isinstance(reply, Died):
            return self._outcome_of_death(unit, reply.cause)
        if isinstance(reply, Lost):
            self.note(f"{unit.name}: {reply.cause}: again")
            self.waiting.insert(0, unit)
            return None
        return reply

    def _outcome_of_death(self, unit: Unit, cause: str) -> Outcome | None:
        causes = note_death(unit.folder, cause)
        if len(causes) < MOST_DEATHS:
            self.note(f"{unit.name}: its worker {cause} ({len(causes)} of {MOST_DEATHS}): again")
            self.waiting.append(unit)
            return None
        found = unit.find(unit.request) if unit.find is not None else None
        if found is not None:  # this time it died behind its result
            forget_attempts(unit.folder)
            return Made(value=found, earlier=True)
        reason = f"its worker {cause}; so did {len(causes) - 1} before it"
        if len(set(causes)) > 1:
            reason = f"its worker {'; then it '.join(causes)}"
        note_failure(unit.folder, reason)
        return Failed(reason=reason)

    def _tell(self, text: str) -> None:
        """Say something once."""
        if text not in self.told:
            self.told.add(text)
            self.note(text)
