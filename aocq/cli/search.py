# SPDX-License-Identifier: Apache-2.0
"""``aocq search``: recipes with bits where they pay, within a budget."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from aocq.cli import options, requests
from aocq.cli.candidate_options import CandidateOptions, parsed_budget, parsed_widths
from aocq.cli.console import print_columns
from aocq.cli.groups import grouped
from aocq.cli.interruption import resuming
from aocq.cli.run_sources import RunFolder, SourceOptions
from aocq.cli.search_options import ConfirmOptions, EngineOptions

if TYPE_CHECKING:
    from collections.abc import Callable

    from aocq.recipes.recipe import Recipe
    from aocq.records.search import SearchResult
    from aocq.search.greedy_search import Emulated, Proposal
    from aocq.search.recipe_search import Engine, SearchPlan
    from aocq.search.scored_run import ScoredRun

NAME, JOURNAL = "search", "optuna.journal"


@resuming
@grouped
def command(
    *,
    run: RunFolder,
    bounds: CandidateOptions,
    searching: EngineOptions,
    confirming: ConfirmOptions,
    sources: SourceOptions,
    emulation: requests.EmulationOptions,
    out: options.Out = Path("runs/search"),
    as_json: options.Json = False,
) -> None:
    """Find recipes of most SQNR within a budget, with bits of their own for single layers.

    Begins with the scores of `aocq sensitivity`. Every candidate is quantized and emulated in
    integers, a run folder each in --out/runs: an interrupted search goes on with the next one, and
    finished ones are taken. The best recipes of the Pareto front are confirmed on images that the
    search did not use, beside the run's own recipe. Writes search.md, .csv, .json, .png and .svg,
    and recipe-NUMBER.toml for every recipe of the front.

    Example: aocq search runs/deit_w4a8 --budget weight_bytes=3.5e6 --preset fast --out runs/search

    Next: aocq verify MODEL --recipe runs/search/recipe-5.toml --profile PROFILE
    """
    from aocq import progress
    from aocq.records.publishing import claimed
    from aocq.records.run_folder import refuse_run_folder

    if searching.engine == "optuna":
        from aocq.search.optuna_engine import check_optuna

        check_optuna()
    with claimed(out, progress.note):
        refuse_run_folder(out)
        from aocq.cli.searching import CONFIRM, opened
        from aocq.search.proposed import usual_budget
        from aocq.search.recipe_search import SearchPlan, search
        from aocq.search.scored_run import scored
        from aocq.search.split_images import images_to_confirm

        folders, limit = sources.folders(), bounds.limit
        note = progress.once_each(progress.note)
        again, candidates = opened(run, folders, emulation, out, limit, bounds.preset, note)
        # Before long work: there may be none.
        images = images_to_confirm(
            candidates,
            confirming.confirm_data,
            confirming.confirm_limit,
            wanted=confirming.confirm > 0,
        )
        among = parsed_widths(bounds.widths)
        found = scored(again, candidates, among)
        asked = SearchPlan(
            engine=searching.engine,
            budget=parsed_budget(bounds.budget) or usual_budget(found),
            evaluations=searching.evaluations,
            confirm=confirming.confirm,
        )
        _, others = opened(run, folders, emulation, out, limit, None, note)
        told, _ = search(
            found,
            asked,
            _engine(found, asked, searching, out),
            candidates,
            others.on(images, CONFIRM),
            lambda result, recipes: publish_search(result, recipes, out, run.resolve().name),
        )
    print_result(told, as_json=as_json)
    print(f"table: {out / NAME}.md", file=sys.stderr)


def _engine(found: ScoredRun, asked: SearchPlan, searching: EngineOptions, out: Path) -> Engine:
    """Return the function that yields candidates."""
    from aocq.search.greedy_search import proposals
    from aocq.search.optuna_engine import optuna_proposals, study_name

    shares, costs, budget = found.scores.shares(), found.costs, asked.budget
    along, seed = searching.along, searching.sampler_seed

    def greedy(known: Callable[[], list[Emulated]]) -> Iterator[Proposal]:
        return proposals(shares, costs, budget, known, evaluations=asked.evaluations, along=along)

    def by_optuna(known: Callable[[], list[Emulated]]) -> Iterator[Proposal]:
        return optuna_proposals(
            shares,
            costs,
            budget,
            known,
            evaluations=asked.evaluations,
            along=along,
            journal=out / JOURNAL,
            name=study_name(found, budget, along, seed),
            seed=seed,
        )

    return greedy if searching.engine == "greedy" else by_optuna


def publish_search(found: SearchResult, recipes: Mapping[int, Recipe], out: Path, run: str) -> None:
    """Let the table, the figure and the front's recipes take the place of the earlier ones.

    Parameters
    ----------
    run
        name of the folder of the run that the search began with
    """
    from dataclasses import replace

    from aocq.recipes.recipe_file import recipe_toml
    from aocq.records.publishing import publish, staging
    from reports.recipe_heading import candidate_heading
    from reports.search_figures import search_figure
    from reports.search_table import csv_text, json_text, markdown
    from simulator.files import write_text

    complete = staging(out)
    rows = [
        replace(row, recipe=f"recipe-{row.number}.toml") if row.on_front else row
        for row in found.rows
    ]
    found = replace(found, rows=rows)
    for row in rows:
        if row.recipe:
            heading = candidate_heading(found, row, run)
            write_text(complete / row.recipe, recipe_toml(recipes[row.number], heading))
    write_text(complete / f"{NAME}.md", markdown(found))
    write_text(complete / f"{NAME}.csv", csv_text(found))
    write_text(complete / f"{NAME}.json", json_text(found))
    search_figure(found).write(complete, NAME)
    publish(out, NAME, found.network)


def print_result(found: SearchResult, *, as_json: bool) -> None:
    """Print the front and what was confirmed of it, or all as JSON."""
    from reports.search_table import (
        CONFIRMED_HEADS,
        HEADS,
        candidate_cells,
        confirmed_cells,
        json_text,
        no_gain_in_words,
    )

    if as_json:
        print(json_text(found), end="")
        return
    print_columns(HEADS, candidate_cells(found))
    if confirmed := confirmed_cells(found):
        print("confirmed on images that the search did not use, with the run's own options:")
        print_columns(CONFIRMED_HEADS, confirmed)
    if told := no_gain_in_words(found):
        print(told)
