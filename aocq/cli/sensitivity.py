# SPDX-License-Identifier: Apache-2.0
"""``aocq sensitivity``: what other widths at single layers gain and cost."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aocq.cli import options, requests
from aocq.cli.candidate_options import CandidateOptions, parsed_budget, parsed_widths
from aocq.cli.console import print_columns
from aocq.cli.groups import grouped
from aocq.cli.interruption import resuming
from aocq.cli.run_sources import RunFolder, SourceOptions

if TYPE_CHECKING:
    from aocq.records.search import Sensitivity
    from aocq.search.proposed import Proposed

NAME, RECIPE = "sensitivity", "recipe.toml"
SHOWN = 20  # steps on the terminal


@resuming
@grouped
def command(
    *,
    run: RunFolder,
    confirm: Annotated[
        int,
        typer.Option(
            "--confirm", min=0, max=10_000, help="emulate this many steps, best scores first"
        ),
    ] = 8,
    bounds: CandidateOptions,
    sources: SourceOptions,
    emulation: requests.EmulationOptions,
    out: options.Out = Path("runs/sensitivity"),
    as_json: options.Json = False,
) -> None:
    """Rank what one step of a layer's width, up or down, does to a run's accuracy and costs.

    One pass over images scores every layer at every width that the chip has, by the share that its
    rounding errors have in the noise of the logits and in the divergence of the predictions (Fisher
    information). The first --confirm steps are quantized and emulated in integers, a run folder
    each in --out/runs; an interrupted command goes on with the next one. Writes sensitivity.md,
    .csv, .json, .png and .svg, and recipe.toml: the recipe that the scores propose for --budget.

    Example: aocq sensitivity runs/deit_w4a8 --confirm 8 --preset fast --out runs/sensitivity

    Next: aocq search RUN --budget weight_bytes=3e6
    """
    from aocq import progress
    from aocq.records.publishing import claimed
    from aocq.records.run_folder import refuse_run_folder

    with claimed(out, progress.note):
        refuse_run_folder(out)
        from aocq.cli.searching import opened
        from aocq.search.proposed import proposed_recipe
        from aocq.search.scored_run import scored
        from aocq.search.sensitivity import sensitivity

        folders, limit = sources.folders(), bounds.limit
        note = progress.once_each(progress.note)
        again, laboratory = opened(run, folders, emulation, out, limit, bounds.preset, note)
        found = scored(again, laboratory, parsed_widths(bounds.widths))
        proposed = proposed_recipe(found, parsed_budget(bounds.budget))

        def publish_rows(rows: Sensitivity) -> None:
            publish_sensitivity(rows, proposed, out, run.resolve().name)

        told = sensitivity(found, laboratory, confirm, publish_rows)
    from aocq.records.design_costs import budget_in_words
    from reports.sensitivity_table import (
        HEADS,
        cells,
        correlation_in_words,
        json_text,
        kinds_in_words,
    )

    if as_json:
        print(json_text(told), end="")
    else:
        print_columns(HEADS, cells(told, SHOWN))
        print(correlation_in_words(told))
        print(kinds_in_words(told))
    within = budget_in_words(proposed.budget)
    print(f"table: {out / NAME}.md; recipe for {within}: {out / RECIPE}", file=sys.stderr)


def publish_sensitivity(found: Sensitivity, proposed: Proposed, out: Path, run: str) -> None:
    """Let table, figure and recipe take the place of the earlier ones in ``out``.

    Parameters
    ----------
    run
        name of the run's folder
    """
    from aocq.recipes.recipe_file import recipe_toml
    from aocq.records.publishing import publish, staging
    from reports.recipe_heading import proposed_heading
    from reports.search_figures import sensitivity_figure
    from reports.sensitivity_table import csv_text, json_text, markdown
    from simulator.files import write_text

    complete = staging(out)
    write_text(complete / f"{NAME}.md", markdown(found))
    write_text(complete / f"{NAME}.csv", csv_text(found))
    write_text(complete / f"{NAME}.json", json_text(found))
    heading = proposed_heading(
        found, proposed.budget, proposed.expected_db, proposed.costs, run, RECIPE
    )
    write_text(complete / RECIPE, recipe_toml(proposed.recipe, heading))
    sensitivity_figure(found).write(complete, NAME)
    publish(out, NAME, found.network)
