# SPDX-License-Identifier: Apache-2.0
"""Rows of a sweep's table: the same bytes whatever the order in which runs ended, and when."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from aocq.records.run import RunResult
from aocq.sweeps.designs import Design
from aocq.sweeps.run_state import seconds_taken
from aocq.sweeps.unit import Made, Outcome, Unit
from reports.rows import TableRow, run_row
from simulator.settings import typed

NO_RUN = "no run"


def design_row(design: Design, unit: Unit, outcome: Outcome) -> TableRow:
    """Return what the table says of a design: its run, or why there is none.

    Without the time that its calibration took: that differs from one run to the next.
    """
    if isinstance(outcome, Made) and isinstance(outcome.value, RunResult):
        folder = Path(os.path.relpath(unit.folder, design.request.out.absolute())).as_posix()
        return replace(run_row(outcome.value, design.variant, folder), calibration_seconds=None)
    return reason_row(design, outcome.value if isinstance(outcome, Made) else outcome.reason)


def reason_row(design: Design, reason: str) -> TableRow:
    """Return the row of a design that has no figures."""
    request = design.request
    return TableRow(
        model=request.model.name,
        method=request.calibration.method,
        w_bits=request.calibration.recipe.weight_bits,
        a_bits=request.calibration.recipe.activation_bits,
        variant=design.variant,
        arguments=typed(request.model.arguments),
        classes=request.model.classes,
        note=f"{NO_RUN}: {reason}",
    )


def times_csv(runs: Iterable[tuple[Design, Unit | None]]) -> str:
    """Return how long every run took to make, in seconds, as CSV; empty where it was not made."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["name", "run", "seconds"])
    for design, unit in runs:
        if unit is None:
            continue
        seconds = seconds_taken(unit.folder)
        writer.writerow([design.name, unit.folder.name, "" if seconds is None else seconds])
    return text.getvalue()
