# SPDX-License-Identifier: Apache-2.0
"""Budgets as they are typed, and which costs exceed them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from aocq.records.design_costs import DesignCosts, budget_in_words, costs_in_words
from aocq.search.budget import exceeded, in_words, parse_budget

COSTS = DesignCosts(weight_bytes=3e6, cycles=100, latency_ms=10.0, peak_sram_bytes=5e5)


def test_axes_and_numbers_are_read() -> None:
    text = "latency_ms=10, weight_bytes=3e6,energy_mj = 2.5"
    assert parse_budget(text) == {"latency_ms": 10, "weight_bytes": 3_000_000, "energy_mj": 2.5}


def test_bytes_may_have_a_unit() -> None:
    found = parse_budget("weight_bytes=70KiB, peak_sram_bytes=1.5 MiB")
    assert found == {"weight_bytes": 71680, "peak_sram_bytes": 1572864}
    assert parse_budget("weight_bytes=3 MB") == {"weight_bytes": 3_000_000}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("latency_ms", "'latency_ms': wanted AXIS=NUMBER"),
        ("", "'': wanted AXIS=NUMBER"),
        ("latency=3", "'latency': no such axis.*nearest: latency_ms"),
        (
            "weight_bytes=3 potatoes",
            "weight_bytes=3 potatoes: '3 potatoes' is no size.*or write 3e6",
        ),
        ("weight_bytes=0KiB", "weight_bytes=0KiB: wanted a finite number above 0"),
        ("latency_ms=3KiB", "latency_ms=3KiB: not a number; write 3000000 or 3e6"),
        ("cycles=3 MB", "cycles=3 MB: not a number; write 3000000 or 3e6"),
        ("weight_bytes=-1", "weight_bytes=-1: wanted a finite number above 0"),
        ("weight_bytes=nan", "weight_bytes=nan: wanted a finite number above 0"),
        ("weight_bytes=1e999", "weight_bytes=1e999: wanted a finite number above 0"),
        ("cycles=1,cycles=2", "cycles: given twice"),
    ],
)
def test_what_is_no_budget_is_told(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        parse_budget(text)


def test_equal_costs_are_within_a_budget_and_greater_ones_are_not() -> None:
    assert exceeded(COSTS, {"latency_ms": 10.0, "weight_bytes": 3e6}) == []
    assert exceeded(COSTS, {"latency_ms": 9.99, "weight_bytes": 3e6}) == ["latency_ms"]


def test_an_unknown_energy_exceeds_every_budget_of_energy() -> None:
    assert exceeded(COSTS, {"energy_mj": 1e9}) == ["energy_mj"]


def test_words_name_cost_and_limit() -> None:
    words = in_words(COSTS, {"latency_ms": 9.5})
    assert words == "latency_ms 10 of at most 9.5"


def test_costs_are_told_by_the_names_that_budgets_have() -> None:
    words = costs_in_words(COSTS)
    assert words == (
        "weight_bytes 3,000,000, latency_ms 10, energy_mj not known, peak_sram_bytes 500,000, "
        "cycles 100"
    )
    assert "energy_mj 0.125," in costs_in_words(replace(COSTS, energy_mj=0.125))


def test_limits_of_bytes_are_whole_numbers() -> None:
    """Of 76,510.5 bytes nobody has the half; the whole number above would be too many."""
    found = {"weight_bytes": 76510.75, "latency_ms": 2.25}
    assert budget_in_words(found) == "weight_bytes ≤ 76,510, latency_ms ≤ 2.25"
    assert in_words(COSTS, found).startswith("weight_bytes 3,000,000 of at most 76,510, ")


def test_differences_add_up_and_scale() -> None:
    more = DesignCosts(
        weight_bytes=3.5e6, cycles=90, latency_ms=9.5, peak_sram_bytes=5e5, energy_mj=1.0
    )
    difference = more.plus(COSTS, -1)
    assert difference.weight_bytes == 5e5
    assert difference.energy_mj is None
    assert COSTS.plus(difference).plain() == {**more.plain(), "energy_mj": None}
    assert difference.times(0.5).cycles == -5
