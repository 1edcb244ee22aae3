# SPDX-License-Identifier: Apache-2.0
"""``aocq report``: the pages of a run, written again from its record."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aocq.cli import gates
from aocq.cli.groups import grouped

if TYPE_CHECKING:
    from aocq.records.gates import Gates
    from aocq.records.run import RunResult


@grouped
def command(
    *,
    folder: Annotated[Path, typer.Argument(help="run folder, as aocq verify --out wrote it")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="folder for the pages (default: the same)")
    ] = None,
    judging: gates.GateOptions,
    as_markdown: Annotated[
        bool, typer.Option("--markdown", help="print the report as Markdown instead of writing")
    ] = False,
) -> None:
    """Write report.html and report.md from run.json and layers.csv. Needs no torch.

    With gates the run is judged again, by these alone: the pages and, in the run's own folder,
    run.json say so, and the exit code is 1 where the verdict is NO or UNDECIDED. Without, the
    recorded verdict stays.
    """
    from aocq import progress
    from aocq.jobs.lifting import lifted_again
    from aocq.records.finished import note_changes
    from aocq.records.gates import judged
    from aocq.records.run_folder import load_run
    from aocq.records.verdict_junit import gate_cases
    from reports.markdown import markdown
    from reports.tables import judged_group

    given = judging.gates()
    if as_markdown:
        result, rows = load_run(folder)
        note_changes(folder, progress.note)
        if given.applied():
            result = lifted_again(judged(result, given), folder)
        print(markdown(result, rows), end="")
    else:
        result = write(folder, out or folder, given)
    gates.write_junit(judging.costs.junit, gate_cases(result.verdict, judged_group(result)))
    if given.applied():
        from aocq.records.verdict import answer
        from reports.gates import why

        print(f"verdict: {answer(result.verdict)}: {why(result.verdict)}", file=sys.stderr)
        gates.exit_unless_yes(result.verdict)


def write(folder: Path, out: Path, given: Gates) -> RunResult:
    """Write the pages of the run in ``folder`` into ``out``; return the run as they show it."""
    from aocq import progress
    from aocq.jobs.lifting import lifted_again
    from aocq.records.finished import note_changes, redraw
    from aocq.records.gates import judged
    from aocq.records.publishing import claimed, publish, refuse_blocked, staging
    from aocq.records.run_folder import REPORT_NAMES, load_run, refuse_run_folder
    from reports.write import PAGE_NAME, write_report

    here = os.path.realpath(out) == os.path.realpath(folder)
    if not folder.is_dir():
        load_run(folder)  # says that there is no run, before anything is made
    with claimed(out, progress.note):
        if not here:
            refuse_run_folder(out)
        refuse_blocked(out, REPORT_NAMES)
        result, rows = load_run(folder)
        note_changes(folder, progress.note)
        if given.applied():
            result = lifted_again(judged(result, given), folder)
        if here:
            redraw(out, result, rows, write_report, record=bool(given.applied()))
        else:
            write_report(result, rows, staging(out))
            publish(out, "report", result.graph.sha256)
    print(out / PAGE_NAME)
    return result
