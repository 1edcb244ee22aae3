# SPDX-License-Identifier: Apache-2.0
"""Search for recipes within a budget: candidates emulated, a Pareto front, its best confirmed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from aocq.progress import Note
from aocq.recipes.layer_rules import LayerRules
from aocq.recipes.recipe import Recipe
from aocq.records.design_costs import DesignCosts
from aocq.records.dominance import dominance
from aocq.records.run import RunResult
from aocq.records.search import CandidateRow, Quality, SearchResult
from aocq.search.budget import Budget, exceeded
from aocq.search.candidates import Laboratory, emulated
from aocq.search.greedy_search import Emulated, Proposal
from aocq.search.noise_model import decibel_of, share_of
from aocq.search.places import Widths, recipe_at
from aocq.search.scored_run import ScoredRun

OWN = "the run's own recipe"

# Yields designs to emulate; gets a function that returns all that were.
Engine = Callable[[Callable[[], list[Emulated]]], Iterator[Proposal]]
OnResult = Callable[[SearchResult, Mapping[int, Recipe]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchPlan:
    """What a search is asked for.

    Attributes
    ----------
    engine
        its name, for people
    confirm
        how many recipes of the front are confirmed, those of most SQNR first
    """

    engine: str
    budget: Budget
    evaluations: int
    confirm: int


def search(
    scored: ScoredRun,
    asked: SearchPlan,
    engine: Engine,
    searching: Laboratory,
    confirming: Laboratory,
    on_result: OnResult = lambda result, recipes: None,
) -> tuple[SearchResult, dict[int, Recipe]]:
    """Return all candidates, and the recipes of those on the front by their numbers.

    Parameters
    ----------
    searching, confirming
        where candidates are made, and where those of the front are made again on other images with
        the run's own options
    on_result
        called with what is known so far, after every run
    """
    recipe, graph = searching.request.calibration.recipe, scored.run.reference
    recipes = {0: recipe}
    rows = [_row(0, OWN, None, scored.start, recipe, "", asked.budget)]
    known = [_emulated(scored.places, scored.start)]

    def told() -> SearchResult:
        return SearchResult(
            network=scored.start.model.name,
            profile=scored.start.profile.name,
            engine=asked.engine,
            budget=dict(asked.budget),
            rows=tuple(with_front(rows, asked.budget)),
        )

    for number, proposal in enumerate(engine(lambda: known), 1):
        candidate = recipe_at(recipe, graph, proposal.widths)
        predicted = decibel_of(proposal.noise)
        name = (
            f"candidate {number}/{asked.evaluations}, {proposal.reason}: about {predicted:.2f} dB"
        )
        result, folder = emulated(searching, candidate, name)
        run = str(folder.relative_to(searching.request.out))
        row = _row(number, proposal.reason, predicted, result, candidate, run, asked.budget)
        _say(searching.note, row)
        rows.append(row)
        recipes[number] = candidate
        known.append(_emulated(proposal.widths, result))
        on_result(told(), recipes)
    own = confirming.request.calibration.recipe
    for number in _to_confirm(told().rows, asked.confirm):
        final = recipe_at(own, graph, known[number].widths) if number else own
        result, folder = emulated(confirming, final, f"confirm candidate {number}")
        recipes[number] = final
        rows[number] = replace(
            rows[number],
            confirmed=Quality.of_run(result),
            confirmed_costs=DesignCosts.of_run(result),
            confirmed_run=str(folder.relative_to(confirming.request.out)),
        )
        on_result(told(), recipes)
    return told(), recipes


def with_front(rows: Sequence[CandidateRow], budget: Budget) -> list[CandidateRow]:
    """Return rows, those marked that no other beats in noise and in the costs of a budget.

    Only designs within the budget are on the front.
    """
    within = [row for row in rows if row.within_budget]
    losses = [
        (share_of(row.found.sqnr_db), *(row.costs.of(axis) for axis in budget)) for row in within
    ]
    best = {within[place].number for place in dominance(losses).front}
    return [replace(row, on_front=row.number in best) for row in rows]


def layers_in_words(rules: LayerRules, weight_bits: int) -> str:
    """Return the widths of weights in a recipe in short: ``4; head 8, blocks.*.attn.proj 8``."""
    found = rules.values_of("w")
    others = ", ".join(f"{pattern} {bits}" for pattern, bits in found.items())
    return f"{weight_bits}; {others}" if others else str(weight_bits)


def _to_confirm(rows: Sequence[CandidateRow], count: int) -> list[int]:
    """Return the numbers of the own recipe and of the best of the front, if any are asked for."""
    if not count:
        return []
    front = [row for row in rows if row.on_front and row.number]
    best = sorted(front, key=lambda row: share_of(row.found.sqnr_db))[:count]
    return [0, *(row.number for row in best)]


def _row(
    number: int,
    reason: str,
    predicted: float | None,
    result: RunResult,
    recipe: Recipe,
    run: str,
    budget: Budget,
) -> CandidateRow:
    costs = DesignCosts.of_run(result)
    return CandidateRow(
        number=number,
        reason=reason,
        layers=layers_in_words(recipe.layers, recipe.weight_bits),
        predicted_db=predicted,
        found=Quality.of_run(result),
        costs=costs,
        run=run,
        within_budget=not exceeded(costs, budget),
    )


def _emulated(widths: Widths, result: RunResult) -> Emulated:
    return Emulated(
        widths=dict(widths),
        noise=share_of(result.accuracy.logit_sqnr_db.integer_float),
        costs=DesignCosts.of_run(result),
    )


def _say(note: Note, row: CandidateRow) -> None:
    measured = "no noise" if row.found.sqnr_db is None else f"{row.found.sqnr_db:.2f} dB"
    within = "" if row.within_budget else ", above the budget"
    note(f"candidate {row.number}: {measured}, {row.costs.weight_bytes:.0f} weight bytes{within}")
