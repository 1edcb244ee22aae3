# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from cost_graphs import Sketch, profile_with
from hypothesis import given
from hypothesis import strategies as st

from simulator.cost.allocation import ALIGNMENT, Buffer
from simulator.cost.residency import budgets, filled, fillings, largest_gap, meetings
from simulator.cost.steps import program_of

LAST = 9


@st.composite
def buffers(draw):
    found = []
    for index in range(draw(st.integers(0, 10))):
        first = draw(st.integers(0, LAST - 1))
        last = draw(st.integers(first, LAST))
        found.append(
            Buffer(name=f"b{index}", bytes=draw(st.integers(0, 100)), first=first, last=last)
        )
    return tuple(found)


@given(buffers(), st.integers(0, 300), st.randoms(use_true_random=False))
def test_a_filled_budget_holds_its_buffers_side_by_side(found, budget, random):
    order = list(range(len(found)))
    random.shuffle(order)
    residency = filled(found, meetings(found), order, budget)
    placed = [each for each in found if each.name in residency.offsets]
    ends = [residency.offsets[each.name] + each.bytes for each in placed]
    assert residency.needed_bytes == max(ends, default=0) <= budget
    assert all(offset % ALIGNMENT == 0 for offset in residency.offsets.values())
    for step in range(LAST + 1):
        taken = [
            byte
            for each in placed
            if each.first <= step <= each.last
            for byte in range(
                residency.offsets[each.name], residency.offsets[each.name] + each.bytes
            )
        ]
        assert len(taken) == len(set(taken))


@given(buffers())
def test_meetings_are_of_buffers_that_some_step_needs_together(found):
    expected = tuple(
        {other for other in range(len(found)) if other != index and each.meets(found[other])}
        for index, each in enumerate(found)
    )
    assert tuple(map(set, meetings(found))) == expected


def test_the_most_traffic_for_each_byte_and_step_comes_first():
    found = (
        Buffer(name="long", bytes=16, first=0, last=3),
        Buffer(name="short", bytes=16, first=1, last=1),
        Buffer(name="large", bytes=48, first=2, last=2),
    )
    # 400 / 16 / 4 = 6.25 a byte and step, 9.4, 6.25; 100, 150 and 300 a step; 400, 150, 300 in all
    of_steps_and_bytes, of_steps, in_all = fillings(found, (400, 150, 300)).within(16)
    assert set(of_steps_and_bytes.offsets) == {"short"}
    assert set(of_steps.offsets) == {"short"}
    assert set(in_all.offsets) == {"long"}
    # 12.5, 9.4 and 62.5; 200, 150 and 3000: the large one first, which leaves no room for "long"
    for residency in fillings(found, (800, 150, 3000)).within(48):
        assert set(residency.offsets) == {"large", "short"}
    for residency in fillings(found, (800, 150, 3000)).within(64):
        assert set(residency.offsets) == {"large", "long", "short"}


def test_budgets_are_powers_of_two_and_quarters_between_them():
    assert list(budgets(200, 1024)) == [896, 768, 640, 512, 448, 384, 320, 256, 224]
    assert list(budgets(0, 17)) == [16, 14, 12, 10, 8, 7, 6, 5, 4]
    assert list(budgets(0, 1)) == []


@given(st.integers(0, 1 << 40), st.integers(0, 1 << 40))
def test_budgets_of_a_range_do_not_depend_on_its_ends(least, most):
    found = list(budgets(least, most))
    assert found == [each for each in budgets(0, 1 << 41) if least <= each < most]
    assert found == sorted(set(found), reverse=True)


def test_largest_gap():
    assert largest_gap([], 100) == 100
    assert largest_gap([(16, 48), (0, 10)], 100) == 52
    assert largest_gap([(60, 90), (0, 10)], 100) == 50
    assert largest_gap([(0, 100)], 100) == 0
    assert largest_gap([(0, 60), (10, 20)], 60) == 0


@pytest.mark.parametrize(("sram_bytes", "outside"), [(499, {"y"}), (500, set())])
def test_a_result_of_passes_that_do_not_fit_together_lies_where_activations_belong(
    sram_bytes, outside
):
    passes = {
        "temporaries": {"wide": {"bits": 32}},
        "passes": [
            {"writes": "wide", "cycles_per_element": 1},
            {"reads": ["wide"], "cycles_per_element": 1},
        ],
    }
    s = Sketch()
    s.rescale("y", s.input("x", 10, 10))
    profile = profile_with(
        compute__passes={"rescale": passes}, memory__arena="dram", memory__sram_bytes=sram_bytes
    )
    # The last pass reads 100 temporaries of 4 bytes and writes 100 codes.
    assert program_of(s.graph("y"), profile).in_dram == outside
