# SPDX-License-Identifier: Apache-2.0
"""The search by steps on a network of three layers whose noise is known."""

from __future__ import annotations

import pytest
from small_plans import AT_FOUR, PLACES, REST, UNIFORM, A, B, C, scores, step_costs

from aocq.search.budget import exceeded
from aocq.search.greedy_search import (
    CORRECTED,
    NEIGHBOUR,
    PLANNED,
    Emulated,
    Proposal,
    proposals,
)
from aocq.search.noise_model import NoiseModel
from aocq.search.places import Place
from simulator.errors import InputError

BUDGET = {"weight_bytes": 3500.0}
START = Emulated(widths=UNIFORM, noise=sum(AT_FOUR.values()) + REST, costs=step_costs().of(UNIFORM))


def search(
    factors: dict[Place, float], evaluations: int, along: int, excess: float = 0
) -> tuple[list[Proposal], list[Emulated]]:
    """Emulate what is proposed by a noise and by costs that scores only estimate."""
    true = NoiseModel(scores=scores(), factors=factors, rest=REST)
    known = [START]
    found = []
    for proposal in proposals(
        scores(), step_costs(), BUDGET, lambda: known, evaluations=evaluations, along=along
    ):
        found.append(proposal)
        costs = step_costs().of(proposal.widths)
        more = step_costs().costs.times(excess)
        known.append(
            Emulated(
                widths=proposal.widths,
                noise=true.noise(proposal.widths),
                costs=costs.plus(more),
            )
        )
    return found, known


def test_true_scores_are_planned_once_and_then_varied() -> None:
    found, known = search(dict.fromkeys(PLACES, 1.0), evaluations=6, along=2)
    assert found[0].reason == PLANNED
    assert {each.reason for each in found[1:]} == {NEIGHBOUR}
    assert found[0].widths == {A: 8, B: 4, C: 4}
    assert min(known, key=lambda each: each.noise).widths == {A: 8, B: 4, C: 4}


def test_measurements_correct_wrong_scores() -> None:
    """The scores think most of A; the truth is that B has the noise."""
    found, known = search({A: 0.05, B: 5.0, C: 1.0}, evaluations=8, along=1)
    assert found[0].widths == {A: 8, B: 4, C: 4}
    assert CORRECTED in {each.reason for each in found}
    best = min(known, key=lambda each: each.noise)
    assert best.widths[B] == 8
    assert best.widths[A] < 8


def test_no_design_is_proposed_twice() -> None:
    found, _ = search(dict.fromkeys(PLACES, 1.0), evaluations=20, along=3)
    designs = [tuple(each.widths.values()) for each in found]
    assert len({*designs}) == len(designs)
    assert (4, 4, 4) not in designs  # the start is known


def test_all_proposals_are_within_the_budget_by_the_estimate() -> None:
    found, _ = search(dict.fromkeys(PLACES, 1.0), evaluations=20, along=3)
    assert all(not exceeded(step_costs().of(each.widths), BUDGET) for each in found)


def test_runs_that_cost_more_than_estimated_make_the_next_plans_cheaper() -> None:
    _, known = search(dict.fromkeys(PLACES, 1.0), evaluations=6, along=1, excess=0.05)
    assert exceeded(known[1].costs, BUDGET)
    assert all(not exceeded(each.costs, BUDGET) for each in known[2:])


def test_a_budget_below_the_lowest_widths_is_told() -> None:
    with pytest.raises(InputError, match=r"weight_bytes 2,250 of at most 2,000; raise the budget"):
        next(
            proposals(
                scores(),
                step_costs(),
                {"weight_bytes": 2000.0},
                lambda: [START],
                evaluations=1,
                along=1,
            )
        )
