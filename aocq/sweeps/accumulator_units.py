# SPDX-License-Identifier: Apache-2.0
"""Accumulator widths as units: exact integers first, then widths in waves, narrow ones first.

A width at which nothing overflows proves the integers of all wider registers under either rule.
After each wave their rows say so, also where one was run in that wave: a record is the same by
however many workers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from aocq.jobs.accumulator_widths import (
    Results,
    WidthsRequest,
    exact_results,
    opened,
    width_row,
)
from aocq.progress import Note, Progress
from aocq.records.accumulator_widths import (
    SweepRecord,
    SweepRow,
    Width,
    rules_agree,
    with_proven,
    with_row,
)
from aocq.sweeps.engine import run_units
from aocq.sweeps.pool import Pool
from aocq.sweeps.unit import Failed, Unit
from simulator.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitRequest:
    """A width, and the results of exact sums; without these, they are what is asked for."""

    of: WidthsRequest
    width: Width | None = None
    exact: Results | None = None


def run_widths(
    request: WidthsRequest,
    widths: Sequence[Width],
    before: SweepRecord | None,
    folder: Path,
    pool: Pool,
    slots: int,
    note: Note,
    *,
    retry_failed: bool = False,
) -> Iterator[SweepRecord]:
    """Run the widths that are neither in a record nor proven; yield the record after each, whole.

    Parameters
    ----------
    widths
        narrow ones first
    before
        an earlier record of this request
    folder
        where the engine keeps what it knows of widths that failed
    slots
        of the pool: widths in a wave

    Raises
    ------
    InputError
        If no image can be decoded.
    """
    for width in widths:
        if before is not None and width in before.widths:
            note(f"{_name(width)}: finished before")
    exact, record, failed = None, before, set[Width]()
    while record is None or (left := _left(record, widths, failed)):
        if record is not None and record.exact_classes:
            exact = np.array(record.exact_classes, np.int64)
        if record is None or exact is None:
            made, exact = _exact(request, folder, pool, note)
            record = record or made
            continue
        wave = {_unit(request, width, exact, folder): width for width in left[:slots]}
        rows: list[SweepRow] = []
        for unit, outcome in run_units(wave, pool, note, retry_failed=retry_failed):
            if isinstance(outcome, Failed):
                note(f"{unit.name}: {outcome.reason}")
                failed.add(wave[unit])
            else:
                rows.append(outcome.value)
        for row in sorted(rows, key=lambda each: widths.index(each.width)):
            record = with_proven(record, [row.width])
            if row.width not in record.widths:
                record = with_row(record, row)
                rules_agree(record, row.bits)
                yield record
    yield with_proven(record, widths)


def make_exact(request: UnitRequest, progress: Progress, note: Note) -> tuple[SweepRecord, Results]:
    """Run exact sums; see :func:`aocq.jobs.accumulator_widths.exact_results`."""
    del note
    return exact_results(opened(request.of), progress)


def make_width(request: UnitRequest, progress: Progress, note: Note) -> SweepRow:
    """Run a width; see :func:`aocq.jobs.accumulator_widths.width_row`."""
    del note
    assert request.width is not None
    assert request.exact is not None
    return width_row(opened(request.of), *request.width, request.exact, progress)


def _left(record: SweepRecord, widths: Sequence[Width], failed: set[Width]) -> list[Width]:
    known = with_proven(record, widths).widths | failed
    return [width for width in widths if width not in known]


def _exact(
    request: WidthsRequest, folder: Path, pool: Pool, note: Note
) -> tuple[SweepRecord, Results]:
    unit = Unit(
        name="exact integers",
        folder=folder / "exact",
        request=UnitRequest(of=request),
        make=make_exact,
    )
    ((_, outcome),) = run_units([unit], pool, note, retry_failed=True)
    if isinstance(outcome, Failed):
        raise InputError(outcome.reason)
    found: tuple[SweepRecord, Results] = outcome.value
    return found


def _unit(request: WidthsRequest, width: Width, exact: Results, folder: Path) -> Unit:
    return Unit(
        name=_name(width),
        folder=folder / "-".join(map(str, width)),
        request=UnitRequest(of=request, width=width, exact=exact),
        make=make_width,
    )


def _name(width: Width) -> str:
    return f"{width[0]} bits, {width[1]}"
