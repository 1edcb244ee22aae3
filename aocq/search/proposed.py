# SPDX-License-Identifier: Apache-2.0
"""The recipe that scores propose for a budget, before anything is emulated."""

from __future__ import annotations

from aocq.recipes.recipe_file import recipe_toml
from aocq.records.search import Quality
from aocq.search.budget import Budget
from aocq.search.noise_model import Measured, fitted, share_of
from aocq.search.places import recipe_at
from aocq.search.plan import check_affordable, lowest, plan
from aocq.search.scored_run import ScoredRun

MORE = 1.1  # of the run's weight bytes, where no budget is given


def usual_budget(scored: ScoredRun) -> dict[str, float]:
    """Return a tenth more weight bytes than a run has."""
    return {"weight_bytes": MORE * scored.costs.costs.weight_bytes}


def proposed_recipe(scored: ScoredRun, budget: Budget) -> tuple[str, Budget]:
    """Return the text of the recipe that a plan ends in, and the budget: a given or the usual one.

    Raises
    ------
    InputError
        If the lowest widths are above the budget.
    """
    allowed = budget or usual_budget(scored)
    check_affordable(scored.costs, allowed)
    noise = share_of(Quality.of_run(scored.start).sqnr_db)
    start = [Measured(widths=scored.places, noise=noise)] if noise > 0 else []
    steps = plan(fitted(scored.scores.shares(), start), scored.costs, allowed)
    widths = steps[-1].widths if steps else lowest(scored.places)
    recipe = recipe_at(scored.run.model.recipe, scored.run.reference, widths)
    return recipe_toml(recipe), allowed
