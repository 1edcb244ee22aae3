# SPDX-License-Identifier: Apache-2.0
"""Search by greedy steps: plans by score gained per cost, emulated, corrected, planned again.

The first candidates lie along the plan from the lowest widths to the budget. Each is quantized and
emulated in integers; what it measures corrects the model of noise (:mod:`aocq.search.noise_model`),
and the next candidate is what the corrected model plans. Where that is known already, its best
neighbour follows: the plan with one place held at another width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from aocq.records.design_costs import DesignCosts
from aocq.search.budget import Budget
from aocq.search.noise_model import Measured, Scores, fitted
from aocq.search.places import Widths
from aocq.search.plan import StepCosts, check_affordable, lowest, neighbours, plan, spread

PLANNED, CORRECTED, NEIGHBOUR = "along the plan", "corrected plan", "neighbour of the plan"


@dataclass(frozen=True, slots=True, kw_only=True)
class Emulated:
    """A design, the share of noise of its integers, and what it costs by its own run."""

    widths: Widths
    noise: float
    costs: DesignCosts


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A design to emulate next: why, and the share of noise that it is expected to have."""

    widths: Widths
    reason: str
    noise: float


def proposals(
    scores: Scores,
    costs: StepCosts,
    budget: Budget,
    known: Callable[[], list[Emulated]],
    *,
    evaluations: int,
    along: int,
) -> Iterator[Proposal]:
    """Yield designs to emulate, each chosen after the one before is known.

    Parameters
    ----------
    scores
        shares of noise by place and bits
    known
        returns all designs that were emulated so far
    evaluations
        how many designs are yielded at most
    along
        how many of them lie along the first plan, its end among them

    Raises
    ------
    InputError
        If the lowest widths are above the budget.
    """
    check_affordable(costs, budget)
    left = evaluations
    noise = fitted(scores, measured(known()))
    for widths in spread(plan(noise, costs, budget), min(along, left), noise, costs.start):
        if widths not in _widths(known()):
            left -= 1
            yield Proposal(widths=widths, reason=PLANNED, noise=noise.noise(widths))
    while left:
        found = known()
        noise, allowed = fitted(scores, measured(found)), _tightened(costs, budget, found)
        steps = plan(noise, costs, allowed)
        best = steps[-1].widths if steps else lowest(costs.start)
        reason = CORRECTED
        if best in _widths(found):
            others = neighbours(noise, costs, allowed, _widths(found))
            if not others:
                return
            best, reason = others[0], NEIGHBOUR
        left -= 1
        yield Proposal(widths=best, reason=reason, noise=noise.noise(best))


def measured(known: list[Emulated]) -> list[Measured]:
    """Return what emulated designs tell a model of noise; of those without noise nothing."""
    return [Measured(widths=each.widths, noise=each.noise) for each in known if each.noise > 0]


def _widths(known: list[Emulated]) -> list[Widths]:
    return [each.widths for each in known]


def _tightened(costs: StepCosts, budget: Budget, known: list[Emulated]) -> Budget:
    """Return a budget less the most that runs cost above their estimates."""
    excess = {
        axis: max(each.costs.of(axis) - costs.of(each.widths).of(axis) for each in known)
        for axis in budget
    }
    return {axis: most - max(excess[axis], 0.0) for axis, most in budget.items()}
