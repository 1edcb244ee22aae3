# SPDX-License-Identifier: Apache-2.0
"""Plans by score gained per cost, held against what can be added up by hand."""

from __future__ import annotations

from itertools import product

import pytest
from small_plans import AT_FOUR, PLACES, REST, UNIFORM, A, B, C, scores, step_costs

from aocq.search.noise_model import Measured, NoiseModel, decibel_of, fitted, share_of
from aocq.search.plan import lowest, neighbours, plan, spread

NOISE = NoiseModel(scores=scores(), factors=dict.fromkeys(PLACES, 1.0), rest=REST)


def test_costs_of_a_design_are_the_sum_of_its_steps() -> None:
    costs = step_costs()
    assert costs.of(UNIFORM).weight_bytes == 3000
    assert costs.of({A: 8, B: 3, C: 4}).weight_bytes == 3000 + 500 - 125


def test_steps_are_in_the_order_of_noise_taken_away_per_byte() -> None:
    steps = plan(NOISE, step_costs(), {"weight_bytes": 1e9})
    assert [(step.place, step.bits) for step in steps] == [
        (A, 4),  # 0.12 for 125 bytes
        (B, 4),  # 0.03 for 125
        (C, 4),  # 0.06 for 500
        (A, 8),  # 0.04 for 500
        (B, 8),  # 0.01 for 500
        (C, 8),  # 0.02 for 2000
    ]


@pytest.mark.parametrize("most", [2250, 2375, 2500, 3000, 3499, 3500, 4000, 6000])
def test_a_plan_stays_within_its_budget_and_leaves_no_step_that_fits(most: float) -> None:
    costs = step_costs()
    steps = plan(NOISE, costs, {"weight_bytes": most})
    last = steps[-1].widths if steps else lowest(PLACES)
    assert costs.of(last).weight_bytes <= most
    for place in PLACES:
        for bits in place.widths:
            if bits > last[place]:
                assert costs.of({**last, place: bits}).weight_bytes > most


def test_a_plan_is_the_best_of_all_designs_where_its_steps_fill_the_budget() -> None:
    """Greedy steps are optimal at the budgets that they reach exactly."""
    costs = step_costs()
    for step in plan(NOISE, costs, {"weight_bytes": 1e9}):
        most = costs.of(step.widths).weight_bytes
        every = [dict(zip(PLACES, bits, strict=True)) for bits in product((3, 4, 8), repeat=3)]
        within = [widths for widths in every if costs.of(widths).weight_bytes <= most]
        assert NOISE.noise(step.widths) == min(map(NOISE.noise, within))


def test_no_plan_where_the_lowest_widths_are_above_the_budget() -> None:
    assert plan(NOISE, step_costs(), {"weight_bytes": 2249}) == []


def test_a_place_that_is_held_keeps_its_width() -> None:
    steps = plan(NOISE, step_costs(), {"weight_bytes": 3500}, {A: 3})
    assert steps
    assert all(step.widths[A] == 3 for step in steps)


def test_a_step_that_brings_noise_is_not_taken() -> None:
    worse = {**scores(), (B, 8): 0.5}
    noise = NoiseModel(scores=worse, factors=NOISE.factors, rest=REST)
    assert plan(noise, step_costs(), {"weight_bytes": 1e9})[-1].widths[B] == 4


def test_neighbours_are_other_designs_within_the_budget_the_best_first() -> None:
    costs, budget = step_costs(), {"weight_bytes": 3500.0}
    best = plan(NOISE, costs, budget)[-1].widths
    found = neighbours(NOISE, costs, budget, [best])
    assert found
    assert best not in found
    assert all(costs.of(widths).weight_bytes <= 3500 for widths in found)
    assert [NOISE.noise(widths) for widths in found] == sorted(map(NOISE.noise, found))


def test_designs_along_a_plan_end_with_its_last() -> None:
    steps = plan(NOISE, step_costs(), {"weight_bytes": 1e9})
    least = lowest(PLACES)
    assert spread(steps, 3, NOISE, least) == [steps[1].widths, steps[3].widths, steps[5].widths]
    assert spread(steps, 1, NOISE, least) == [steps[-1].widths]
    assert spread(steps, 100, NOISE, least) == [step.widths for step in steps]
    assert spread([], 4, NOISE, least) == []


def test_designs_with_more_noise_than_the_start_are_on_the_way_only() -> None:
    steps = plan(NOISE, step_costs(), {"weight_bytes": 1e9})
    assert steps[2].widths == UNIFORM
    assert spread(steps, 100, NOISE, UNIFORM) == [step.widths for step in steps[3:]]
    cheap = plan(NOISE, step_costs(), {"weight_bytes": 2500})
    assert spread(cheap, 100, NOISE, UNIFORM) == [step.widths for step in cheap]


def test_decibels_and_shares_are_inverse() -> None:
    assert decibel_of(0.01) == 20
    assert share_of(20.0) == 0.01
    assert share_of(None) == 0
    assert decibel_of(0.0) == float("inf")


def test_without_measurements_all_factors_are_one() -> None:
    model = fitted(scores(), [])
    assert model.factors == dict.fromkeys(PLACES, 1.0)
    assert model.rest == 0


def test_the_first_measurement_tells_the_rest() -> None:
    model = fitted(scores(), [Measured(widths=UNIFORM, noise=sum(AT_FOUR.values()) + REST)])
    assert model.rest == pytest.approx(REST)
    assert model.noise(UNIFORM) == pytest.approx(sum(AT_FOUR.values()) + REST)
    assert all(factor == pytest.approx(1) for factor in model.factors.values())


def test_measurements_find_the_factors_that_they_were_made_with() -> None:
    true = NoiseModel(scores=scores(), factors={A: 0.5, B: 1.2, C: 1.5}, rest=REST)
    designs = [
        dict(zip(PLACES, bits, strict=True))
        for bits in ((4, 4, 4), (8, 4, 4), (4, 8, 4), (4, 4, 8), (8, 8, 4), (8, 4, 8), (4, 8, 8))
    ]
    model = fitted(scores(), [Measured(widths=w, noise=true.noise(w)) for w in designs])
    untouched = fitted(scores(), [])
    for place in (A, C):
        assert abs(model.factors[place] - true.factors[place]) < 0.1
        assert abs(untouched.factors[place] - true.factors[place]) > 0.4


def test_factors_stay_above_nothing() -> None:
    noise = [Measured(widths=UNIFORM, noise=0.07), Measured(widths={**UNIFORM, A: 8}, noise=0.2)]
    assert min(fitted(scores(), noise).factors.values()) > 0
