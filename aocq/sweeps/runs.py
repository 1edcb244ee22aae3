# SPDX-License-Identifier: Apache-2.0
"""The runs of a plan: planned, run by an engine's pool, and told of as they end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from aocq.progress import Note
from aocq.sweeps.designs import Design
from aocq.sweeps.engine import run_units
from aocq.sweeps.pool import Pool
from aocq.sweeps.remaining import Remaining, in_words, kind_of, modelled
from aocq.sweeps.run_state import failure, seconds_taken
from aocq.sweeps.table import design_row, reason_row
from aocq.sweeps.unit import Failed, Made, Outcome, Unit
from aocq.sweeps.verify_units import run_unit
from reports.format import percent
from reports.rows import TableRow
from simulator.errors import InputError

Say = Callable[[str], None]
RowOf = Callable[[Design, Unit, Outcome], TableRow]


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A design and the unit of its run; None where there can be no such chip."""

    design: Design
    unit: Unit | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What of a plan is there and what is left.

    ``seconds`` that the rest will take; ``measured``: by runs that have ended, else by the model.
    """

    runs: int
    finished: int
    failed: int
    seconds: float
    measured: bool

    @property
    def left(self) -> int:
        """Runs that are neither finished nor failed."""
        return self.runs - self.finished - self.failed


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A run that has ended: its place in the plan, and its row."""

    place: int
    row: TableRow
    outcome: Outcome


def planned_runs(designs: Sequence[Design]) -> list[Planned]:
    """Return the unit of every design's run.

    Raises
    ------
    InputError
        If weights or a folder of images cannot be read, or two designs are the same run.
    """
    found: list[Planned] = []
    names: dict[str, str] = {}
    for design in designs:
        if design.chip.profile is None:
            found.append(Planned(design=design, unit=None))
            continue
        unit = run_unit(design.request, design.name, design.chip.profile)
        if unit.folder.name in names:
            raise InputError(
                f"{design.name}: is the same run as {names[unit.folder.name]}; leave one out"
            )
        names[unit.folder.name] = design.name
        found.append(Planned(design=design, unit=unit))
    return found


def at_images(designs: Sequence[Design], images: int | None) -> list[Design]:
    """Return designs whose runs are judged on at most so many images; None: as they are."""
    if images is None:
        return [*designs]
    return [
        replace(
            each,
            request=replace(
                each.request, evaluation=replace(each.request.evaluation, limit=images)
            ),
        )
        for each in designs
    ]


def forecast(runs: Sequence[Planned], workers: int, *, retry_failed: bool) -> Forecast:
    """Return what of a plan is there, and how long the rest will take by so many workers."""
    remaining, left, finished, failed = Remaining(), [], 0, 0
    for run in runs:
        if run.unit is None:
            failed += 1
            continue
        request, folder = run.design.request, run.unit.folder
        if run.unit.find is not None and run.unit.find(run.unit.request) is not None:
            finished += 1
            seconds = seconds_taken(folder)
            if seconds is not None:
                remaining.learn(kind_of(request), seconds)
        elif not retry_failed and failure(folder) is not None:
            failed += 1
        else:
            left.append((kind_of(request), modelled(request)))
    return Forecast(
        runs=len(runs),
        finished=finished,
        failed=failed,
        seconds=remaining.seconds(left, max(1, min(workers, len(left)))),
        measured=remaining.known,
    )


def run_all(
    runs: Sequence[Planned],
    pool: Pool,
    say: Say,
    note: Note,
    *,
    retry_failed: bool = False,
    row_of: RowOf = design_row,
) -> Iterator[Ended]:
    """Run what is planned, and yield every run as it ends; ``say`` gets a line of each.

    ``row_of`` makes the row of a design from what became of its unit.

    Raises
    ------
    InputError, EnvironmentProblem
        See :func:`aocq.sweeps.engine.run_units`.
    """
    left = dict(enumerate(runs))
    for place, run in enumerate(runs):
        if run.unit is None:
            del left[place]
            impossible = Failed(reason=run.design.chip.reason, earlier=True)
            row = reason_row(run.design, impossible.reason)
            say(_line(len(runs) - len(left), len(runs), run.design.name, impossible, row, 0))
            yield Ended(place=place, row=row, outcome=impossible)
        else:
            run.design.chip.write()
    places = {id(run.unit): place for place, run in left.items()}
    remaining = Remaining()
    units = [run.unit for run in runs if run.unit is not None]
    for unit, outcome in run_units(units, pool, note, retry_failed=retry_failed):
        place = places[id(unit)]
        run = left.pop(place)
        row = row_of(run.design, unit, outcome)
        kind = kind_of(run.design.request)
        seconds = seconds_taken(unit.folder) if outcome.earlier else outcome.seconds
        if isinstance(outcome, Made) and seconds:
            remaining.learn(kind, seconds)
        rest = [(kind_of(e.design.request), modelled(e.design.request)) for e in left.values()]
        ahead = remaining.seconds(rest, max(1, min(pool.size(), len(rest))))
        say(_line(len(runs) - len(left), len(runs), unit.name, outcome, row, ahead))
        yield Ended(place=place, row=row, outcome=outcome)


def _line(done: int, total: int, name: str, outcome: Outcome, row: TableRow, ahead: float) -> str:
    """Return what is said of a run that has ended."""
    number = f"[{done:{len(str(total))}}/{total}]"
    if isinstance(outcome, Failed):
        told = f"no run: {outcome.reason}"
    else:
        score = "" if row.integer_score is None else f"{row.integer_score:.2f}, "
        agreement = "" if row.agreement is None else f"agreement {percent(row.agreement)}, "
        latency = "" if row.latency_ms is None else f"{row.latency_ms:.3g} ms"
        told = f"{score}{agreement}{latency}"
    when = "finished before" if outcome.earlier else f"in {in_words(outcome.seconds)}"
    later = f"; about {in_words(ahead)} left" if done < total and not outcome.earlier else ""
    return f"{number} {name}: {told} ({when}{later})"
