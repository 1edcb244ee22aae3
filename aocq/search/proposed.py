# SPDX-License-Identifier: Apache-2.0
"""The recipe that scores propose for a budget, before anything is emulated."""

from __future__ import annotations

from dataclasses import dataclass

from aocq.recipes.recipe import Recipe
from aocq.records.design_costs import DesignCosts
from aocq.records.search import Quality
from aocq.search.budget import Budget
from aocq.search.noise_model import Measured, decibel_of, fitted, share_of
from aocq.search.places import recipe_at
from aocq.search.plan import check_affordable, lowest, plan
from aocq.search.scored_run import ScoredRun

MORE = 1.1  # of the run's weight bytes, where no budget is given


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposed:
    """A recipe that scores propose, nothing of which is measured.

    Attributes
    ----------
    budget
        the given or the usual one
    expected_db
        SQNR by the scores; None: no noise
    costs
        ESTIMATED
    """

    recipe: Recipe
    budget: Budget
    expected_db: float | None
    costs: DesignCosts


def usual_budget(scored: ScoredRun) -> dict[str, float]:
    """Return a tenth more weight bytes than a run has."""
    return {"weight_bytes": MORE * scored.costs.costs.weight_bytes}


def proposed_recipe(scored: ScoredRun, budget: Budget) -> Proposed:
    """Return the recipe that a plan ends in, for a given budget or the usual one.

    Raises
    ------
    InputError
        If the lowest widths are above the budget.
    """
    allowed = budget or usual_budget(scored)
    check_affordable(scored.costs, allowed)
    noise = share_of(Quality.of_run(scored.start).sqnr_db)
    start = [Measured(widths=scored.places, noise=noise)] if noise > 0 else []
    model = fitted(scored.scores.shares(), start)
    steps = plan(model, scored.costs, allowed)
    widths = steps[-1].widths if steps else lowest(scored.places)
    recipe = recipe_at(scored.run.model.recipe, scored.run.reference, widths)
    expected = model.noise(widths)
    return Proposed(
        recipe=recipe,
        budget=allowed,
        expected_db=decibel_of(expected) if expected > 0 else None,
        costs=scored.costs.of(widths),
    )
