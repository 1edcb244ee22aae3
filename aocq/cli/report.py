# SPDX-License-Identifier: Apache-2.0
"""``aocq report``: the pages of a run, written again from its record."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    folder: Annotated[Path, typer.Argument(help="run folder, as aocq verify --out wrote it")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="folder for the pages (default: the same)")
    ] = None,
    as_markdown: Annotated[
        bool, typer.Option("--markdown", help="print the report as Markdown instead of writing")
    ] = False,
) -> None:
    """Write report.html and report.md from run.json and layers.csv. Needs no torch."""
    from reports.tables import markdown
    from reports.write import write_report
    from simulator.results import load_run

    result, rows = load_run(folder)
    if as_markdown:
        print(markdown(result, rows), end="")
    else:
        print(write_report(result, rows, out or folder))
