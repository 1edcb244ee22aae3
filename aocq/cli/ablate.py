# SPDX-License-Identifier: Apache-2.0
"""``aocq ablate``: what each level of AOCQ contributes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from aocq.cli import options, recipes, requests, sweeps
from aocq.cli.groups import grouped
from aocq.cli.interruption import resuming


@resuming
@grouped
def command(
    *,
    data: options.Data,
    bits: sweeps.Bits = "4/8",
    grid: Annotated[
        Literal["one", "full"],
        typer.Option(
            "--grid",
            help="one: the preset's method, and one level changed at a time; full: alpha x scale "
            "passes x rounding x loss",
        ),
    ] = "one",
    method: Annotated[
        str,
        typer.Option(
            "--method",
            callback=recipes.known_method,
            help="the method; others than aocq ignore what is varied",
        ),
    ] = "aocq",
    profile: options.Profile = "edge_npu_int8",
    recipe: recipes.SweepFields,
    model: requests.ModelOptions,
    run: requests.RunOptions,
    out: options.Out = Path("runs/ablate"),
) -> None:
    """Run AOCQ whole and with each level changed, and make one table of the runs.

    Runs, resumption and columns are those of `aocq table2`. Writes ablate.md, ablate.csv and
    ablate.json, and conditioning.csv: the condition number of the stream that enters each block,
    of x and of x / α.
    """
    widths = sweeps.parse_widths(bits)

    with sweeps.claimed_table(out, "ablate"):
        from aocq import progress
        from aocq.jobs.ablation import all_combinations, conditions, named, one_at_a_time
        from aocq.jobs.cells import built, cell
        from simulator.profile import load_profile

        cells = []
        for asked in recipe.at_widths(widths, run.calibrating.preset):
            request = run.request(
                model.request(), data, profile=profile, method=method, recipe=asked, out=out
            )
            variants = one_at_a_time if grid == "one" else all_combinations
            for chosen in variants(asked.aocq):
                cells.append(cell(request, replace(asked, aocq=chosen), named(chosen)))
        how = "one level changed at a time" if grid == "one" else "every combination of levels"
        whole = cells[0].request  # both lists begin with the whole method
        title = (
            f"Levels of {method} on {built(whole.model)} for {load_profile(profile).name}: first "
            f"the whole method, then {how}"
        )
        rows = sweeps.run_table(cells, "ablate", title, out)
        if rows[0].integer_top1 is not None:
            blocks = conditions(whole, progress.show)
            sweeps.publish_table("ablate", title, rows, out, blocks)
    sweeps.exit_if_cells_failed(rows)
