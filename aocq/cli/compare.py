# SPDX-License-Identifier: Apache-2.0
"""``aocq compare``: finished runs in one table."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

import typer

from aocq.cli import options, tables

if TYPE_CHECKING:
    from aocq.records.run import RunResult


def command(
    folders: Annotated[
        list[Path], typer.Argument(help="run folders, or folders that hold such, at any depth")
    ],
    out: options.Out = Path("runs/compare"),
    html: Annotated[
        Path | None,
        typer.Option(
            "--html",
            help="also write one HTML file: the runs side by side, with a Pareto plot of accuracy "
            "against latency, SRAM and energy",
        ),
    ] = None,
) -> None:
    """Put finished runs into one table, whatever command made them. Needs no torch.

    Columns are those of `aocq targets` where runs differ in profile, else those of `aocq table2`;
    network, weights, data, classes and images are columns where runs differ in them. Runs of other
    networks or on other images stand in one table, and a note above it says so; a Pareto plot has
    runs on the same images only. Writes compare.md, compare.csv (every column) and compare.json
    into --out and prints the table.

    Example: aocq compare runs/deit runs/table2 --out runs/compare --html compare.html
    """
    from aocq import progress
    from aocq.records.claim import WORK
    from aocq.records.finished import note_changes
    from aocq.records.run_folder import RUN_NAME, load_record
    from reports.comparison import title
    from reports.rows import run_row
    from simulator.errors import InputError

    found: dict[Path, str] = {}
    for folder in folders:
        records = [path for path in sorted(folder.rglob(RUN_NAME)) if WORK not in path.parts]
        if not records:
            raise InputError(f"{folder}: no {RUN_NAME} in it or below; name what --out named")
        for record in records:
            found[record.parent] = str(record.parent.relative_to(folder.parent))
    runs = []
    for folder, name in found.items():
        runs.append((folder, name, load_record(folder)))
        note_changes(folder, progress.note)
    rows = [run_row(result, {"profile": result.profile.name}, name) for _, name, result in runs]
    with tables.claimed_table(out, "compare"):
        tables.publish_table("compare", title(rows), rows, out)
    tables.print_table(rows)
    if html is not None:
        write_page(html, runs)
        print(f"page: {html}", file=sys.stderr)
    print(f"table: {out / 'compare.md'}", file=sys.stderr)


def write_page(path: Path, runs: list[tuple[Path, str, RunResult]]) -> None:
    """Write the page of (folder, name, run) triples; it links to the reports that are there."""
    from reports.comparison import Compared
    from reports.comparison import html as page
    from reports.write import PAGE_NAME
    from simulator.files import write_text

    compared = []
    for folder, name, result in runs:
        report = folder / PAGE_NAME
        address = ""
        if report.is_file():
            address = quote(os.path.relpath(report.absolute(), path.absolute().parent))
        compared.append(Compared(result=result, name=name, page=address))
    write_text(path, page(compared))
