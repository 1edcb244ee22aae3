# SPDX-License-Identifier: Apache-2.0
"""What ``aocq sensitivity`` and ``aocq search`` begin with: a run, opened."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from aocq import progress
from aocq.progress import Note
from aocq.recipes.aocq_options import PresetName

if TYPE_CHECKING:
    from aocq.cli.requests import EmulationOptions
    from aocq.search.candidates import Laboratory
    from aocq.search.run_again import Folders, RunAgain

SEARCH, CONFIRM = "search", "confirm"  # first parts of the names of run folders


def opened(
    run: Path,
    folders: Folders,
    emulation: EmulationOptions,
    out: Path,
    limit: int,
    preset: PresetName | None,
    note: Note,
) -> tuple[RunAgain, Laboratory]:
    """Return a run with a preset's options, and where its candidates are made and judged."""
    from aocq.search.candidates import Laboratory
    from aocq.search.run_again import run_again
    from aocq.search.scored_run import with_preset
    from reports.write import write_report

    found = run_again(run, folders, out, limit)
    found = replace(found, request=replace(found.request, emulation=emulation.request()))
    again = with_preset(found, preset)
    laboratory = Laboratory(
        request=again.request,
        inputs=again.inputs,
        kind=SEARCH,
        progress=progress.show,
        note=note,
        draw=write_report,
    )
    return again, laboratory
