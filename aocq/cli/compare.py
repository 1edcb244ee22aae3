# SPDX-License-Identifier: Apache-2.0
"""``aocq compare``: finished runs in one table."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from aocq.cli import options, sweeps


def command(
    folders: Annotated[
        list[Path], typer.Argument(help="run folders, or folders that hold such, at any depth")
    ],
    out: options.Out = Path("runs/compare"),
) -> None:
    """Put finished runs into one table, whatever command made them. Needs no torch.

    Columns are those of `aocq targets` where runs differ in profile, else those of `aocq table2`;
    the number of images is one where runs differ in it. Writes compare.md, compare.csv (every
    column) and compare.json into --out and prints the table.

    Example: aocq compare runs/deit runs/table2 --out runs/compare
    """
    from aocq import progress
    from aocq.records.claim import WORK
    from aocq.records.finished import note_changes
    from aocq.records.run_folder import RUN_NAME, load_record
    from reports.rows import run_row
    from simulator.errors import InputError

    found: dict[Path, str] = {}
    for folder in folders:
        records = [path for path in sorted(folder.rglob(RUN_NAME)) if WORK not in path.parts]
        if not records:
            raise InputError(f"{folder}: no {RUN_NAME} in it or below; name what --out named")
        for record in records:
            found[record.parent] = str(record.parent.relative_to(folder.parent))
    rows = []
    for folder, name in found.items():
        result = load_record(folder)
        note_changes(folder, progress.note)
        rows.append(run_row(result, {"profile": result.profile.name}, name))
    with sweeps.claimed_table(out, "compare"):
        sweeps.publish_table("compare", "Runs", rows, out)
    sweeps.print_table(rows)
    print(f"table: {out / 'compare.md'}", file=sys.stderr)
