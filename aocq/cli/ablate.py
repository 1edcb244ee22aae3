# SPDX-License-Identifier: Apache-2.0
"""``aocq ablate``: what each level of AOCQ, or each element of four-bit operands, contributes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from aocq.cli import options, recipes, requests, sweeps, tables
from aocq.cli.elements import ElementOptions, run_elements
from aocq.cli.groups import grouped
from aocq.cli.interruption import resuming

if TYPE_CHECKING:
    from aocq.jobs.request import VerifyRequest
    from reports.rows import TableRow

Grid = Literal["one", "full", "elements"]


@resuming
@grouped
def command(
    *,
    data: options.Data,
    bits: sweeps.Bits = "4/8",
    grid: Annotated[
        Grid,
        typer.Option(
            "--grid",
            help="one: the preset's method, and one level changed at a time; full: alpha x scale "
            "passes x rounding x loss; elements: each element of a recipe for narrow operands",
        ),
    ] = "one",
    elements: ElementOptions,
    method: Annotated[
        str,
        typer.Option(
            "--method",
            callback=recipes.known_method,
            help="the method; others than aocq ignore what is varied",
        ),
    ] = "aocq",
    profile: options.Profile = "edge_npu_int8",
    model: requests.ModelOptions,
    options_of_runs: sweeps.TableOptions,
    out: options.Out = Path("runs/ablate"),
) -> None:
    """Run AOCQ whole and with each level changed, and make one table of the runs.

    Runs, resumption and columns are those of `aocq table2`. Writes ablate.md, ablate.csv and
    ablate.json, and conditioning.csv: the condition number of the stream that enters each block,
    of x and of x / α.

    With --grid elements, the recipe for narrow operands takes the levels' place: the full one, the
    bare one, each element alone, left out, or in another form: options of the recipe, and of the
    chip, whose varied profiles are kept in OUT/profiles. elements.md, .csv and .html say what each
    gains, and what it costs by the estimate.

    Example: aocq ablate deit_tiny_patch16_224 --grid elements --data imagenet/val --calib-data
    imagenet/train --bits 4/4 --profile edge_npu_w4a4_dynamic --out runs/elements
    """
    widths = sweeps.parse_widths(bits)
    of_elements = grid == "elements"
    if of_elements and (len(widths) > 1 or method != "aocq"):
        raise typer.BadParameter("--grid elements: one pair of --bits, and --method aocq")
    if not of_elements and elements != ElementOptions():
        raise typer.BadParameter("--elements, --hadamard-block: only with --grid elements")

    with tables.claimed_table(out, "ablate"):
        from aocq.sweeps.cells import built
        from simulator.profile import load_profile

        templates = options_of_runs.templates(
            [model.request()], data, methods=[method], widths=widths, profiles=[profile], out=out
        )
        place = f"{built(templates[0].model)} for {load_profile(profile).name}"
        if of_elements:
            title = f"Elements of W{widths[0][0]}A{widths[0][1]} on {place}"
            rows = run_elements(templates[0], title, elements, options_of_runs.running)
        else:
            title = f"Levels of {method} on {place}"
            rows = run_levels(templates, title, grid, options_of_runs.running)
    tables.exit_if_cells_failed(rows)


def run_levels(
    templates: Sequence[VerifyRequest], of_what: str, grid: str, running: sweeps.RunningOptions
) -> list[TableRow]:
    """Run the levels of AOCQ: the ``full`` grid, or one of them changed at a time."""
    from aocq import progress
    from aocq.jobs.ablation import all_combinations, conditions, named, one_at_a_time
    from aocq.sweeps.cells import cell

    whole = grid == "full"
    variants = all_combinations if whole else one_at_a_time
    cells = [
        cell(request, replace(asked, aocq=chosen), named(chosen))
        for request in templates
        for asked in [request.calibration.recipe]
        for chosen in variants(asked.aocq)
    ]
    then = "every combination of levels" if whole else "one level changed at a time"
    title = f"{of_what}: first the whole method, then {then}"
    table = tables.Table(name="ablate", title=title, out=templates[0].out)
    rows = tables.run_table(table, cells, running)
    if rows[0].integer_score is not None:
        found = conditions(cells[0].request, progress.show)  # of the whole method, which is first
        tables.publish_table("ablate", title, rows, table.out, found)
    return rows
