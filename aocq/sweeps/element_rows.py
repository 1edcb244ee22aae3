# SPDX-License-Identifier: Apache-2.0
"""Rows of the table of elements: what of each is known, by runs that have ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from aocq.records.run_folder import load_run
from aocq.sweeps.elements import Variation
from reports.element_table import ElementRow, figures_of
from reports.rows import TableRow
from simulator.cost.work import work_of
from simulator.graph import load

Figures = Mapping[str, float | None]


def element_rows(
    rows: Sequence[Variation], found: Sequence[TableRow], figures: Callable[[str], Figures]
) -> list[ElementRow]:
    """Return the rows of those that were run; ``figures`` of a run, by its folder's name."""
    by_labels = {tuple(each.variant.values()): each for each in found}
    of_rows = [(row, by_labels.get(tuple(row.labels().values()))) for row in rows]
    return [
        ElementRow(
            role=row.role,
            element=row.element.key if row.element else "",
            title=row.element.title if row.element else "",
            against=row.against,
            figures=figures(of_run.run) if of_run.run else {},
            score=of_run.judged_by.score,
            run=of_run.run,
            note="" if of_run.run else of_run.note,
        )
        for row, of_run in of_rows
        if of_run is not None
    ]


def figures_in(folder: Path) -> Figures:
    """Return the figures of a finished run: of its record, and of the graph that was run."""
    result, ops = load_run(folder)
    on_vector_unit = {op.op for op in ops if op.vector_cycles > 0}
    return figures_of(result, work_of(load(folder), on_vector_unit))
