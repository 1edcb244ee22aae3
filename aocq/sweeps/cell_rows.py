# SPDX-License-Identifier: Apache-2.0
"""Rows of a table's cells: a run's, those of sizes alone, or why there is none."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from aocq.records.run import RunResult
from aocq.sweeps.designs import Design
from aocq.sweeps.table import NO_RUN, reason_row
from aocq.sweeps.unit import Failed, Outcome, Unit
from reports.rows import FLOAT, SIZES_ONLY, TableRow, float_row, run_row, sized_row
from simulator.settings import typed

if TYPE_CHECKING:
    from aocq.jobs.without_weights import NetworkSizes


def cell_row(design: Design, unit: Unit, outcome: Outcome) -> TableRow:
    """Return what a table says of a cell, whose run is two folders below the table's."""
    del unit
    if isinstance(outcome, Failed):
        return reason_row(design, outcome.reason)
    if isinstance(outcome.value, RunResult):
        folder = design.request.out
        return run_row(outcome.value, design.variant, f"{folder.parent.name}/{folder.name}")
    (row,) = (each for each in rows_of_sizes(outcome.value.found) if each.method != FLOAT)
    reason = f"{NO_RUN}: {outcome.value.reason}"
    return replace(row, note="; ".join(filter(None, (reason, row.note))))


def rows_of_sizes(found: NetworkSizes) -> list[TableRow]:
    """Return a network's rows of sizes and costs: float, then each width; or the reason in each."""
    if found.model is None:
        return [
            TableRow(
                model=found.request.name,
                method=SIZES_ONLY,
                w_bits=weight_bits,
                a_bits=activation_bits,
                arguments=typed(found.request.arguments),
                classes=found.request.classes,
                note=f"no sizes: {found.reason}",
            )
            for weight_bits, activation_bits in found.widths
        ]
    rows = [float_row(found.model)]
    for sizes in found.sizes:
        widths = (sizes.weight_bits, sizes.activation_bits)
        costs = (sizes.graph, sizes.memory, sizes.cycles, sizes.latency_ms)
        rows.append(sized_row(found.model, *costs, widths))
    return [replace(row, classes=found.request.classes) for row in rows]
