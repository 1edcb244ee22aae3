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
from shutil import rmtree
from typing import Any

import numpy as np

from aocq.jobs.accumulator_widths import (
    Results,
    WidthsRequest,
    exact_graph,
    exact_results,
    opened,
    width_row,
)
from aocq.progress import Note, Progress
from aocq.records.accumulator_widths import (
    SweepRecord,
    SweepRow,
    Width,
    finished_sweep,
    rules_agree,
    with_proven,
    with_row,
)
from aocq.sweeps.engine import run_units
from aocq.sweeps.pool import Pool
from aocq.sweeps.run_state import RETRY
from aocq.sweeps.unit import Failed, Unit
from simulator.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitRequest:
    """A width, and the results of exact sums; without these, they are what is asked for."""

    of: WidthsRequest
    width: Width | None = None
    exact: Results | None = None


def taken_up(request: WidthsRequest, out: Path, note: Note) -> SweepRecord | None:
    """Return the record in ``out`` if its network, images and code are this request's.

    Raises
    ------
    InputError
        If the model or the images cannot be read, or the profile cannot hold the model.
    """
    _, key = exact_graph(request)
    found = finished_sweep(out)
    if found is None:
        return None
    if found.key == key:
        return found.model_copy(update={"command": [*request.command]})
    note("accumulators.json is of another network, other images or other code: not used")
    return None


def run_widths(
    request: WidthsRequest,
    widths: Sequence[Width],
    before: SweepRecord | None,
    folder: Path,
    pool: Pool,
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
        what :func:`taken_up` returned
    folder
        where the engine keeps what it knows of units; it is removed when none failed
    pool
        with as many slots as a wave has widths

    Raises
    ------
    InputError
        If no image can be decoded.
    """
    for width in widths:
        if before is not None and width in before.widths:
            note(f"{width[0]} bits, {width[1]}: finished before")
    state = folder / exact_graph(request)[1]
    exact, record, failed = None, before, set[Width]()
    while record is None or (left := _left(record, widths, failed)):
        if record is not None and record.exact_classes:
            exact = np.array(record.exact_classes, np.int64)
        if record is None or exact is None:
            ((_, outcome),) = run_units([_unit(request, state)], pool, note, retry_failed=True)
            if isinstance(outcome, Failed):
                raise InputError(outcome.reason)
            made, exact = outcome.value
            record = record or made
            continue
        wave = {_unit(request, state, width, exact): width for width in left[: pool.free()]}
        rows: list[SweepRow] = []
        for unit, outcome in run_units(wave, pool, note, retry_failed=retry_failed):
            if isinstance(outcome, Failed):
                note(f"{unit.name}: {outcome.reason}{RETRY if outcome.earlier else ''}")
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
    if not failed:
        rmtree(folder, ignore_errors=True)


def make(request: UnitRequest, progress: Progress, note: Note) -> Any:
    """Run exact sums or a width: a record without a row and the results, or the width's row.

    Raises
    ------
    InputError
        See :mod:`aocq.jobs.accumulator_widths`.
    """
    del note
    if request.width is None or request.exact is None:
        return exact_results(request.of, progress)
    return width_row(opened(request.of), *request.width, request.exact, progress)


def _left(record: SweepRecord, widths: Sequence[Width], failed: set[Width]) -> list[Width]:
    known = with_proven(record, widths).widths | failed
    return [width for width in widths if width not in known]


def _unit(
    request: WidthsRequest,
    folder: Path,
    width: Width | None = None,
    exact: Results | None = None,
) -> Unit:
    return Unit(
        name=f"{width[0]} bits, {width[1]}" if width else "exact integers",
        folder=folder / ("-".join(map(str, width)) if width else "exact"),
        request=UnitRequest(of=request, width=width, exact=exact),
        make=make,
    )
