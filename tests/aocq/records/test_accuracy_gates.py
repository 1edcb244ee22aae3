# SPDX-License-Identifier: Apache-2.0
"""Accuracies are held to their limits by intervals: pass, fail, or undecided, and for how long."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from aocq.records.accuracy import Accuracy
from aocq.records.accuracy_gates import (
    By,
    agreement_result,
    drop_interval,
    drop_result,
    paired_interval,
)
from aocq.records.intervals import share_interval
from aocq.records.paired_intervals import difference_interval
from aocq.records.verdict import GateResult

PAIRS = ("float_integer", "float_simulated", "simulated_integer")


def accuracy(images: int, both: int, only_float: int, only_integer: int) -> Accuracy:
    """Networks of which float and integer are right on so many images, and agree on 95 %."""
    counts = {
        "both_right": both,
        "only_first_right": only_float,
        "only_second_right": only_integer,
        "both_wrong": images - both - only_float - only_integer,
    }
    base = {"top1": 100 * (both + only_float) / images, "top5": 100.0}
    made: dict[str, Any] = {
        "images": images,
        "skipped_images": [],
        "float": base,
        "simulated": base,
        "integer": {"top1": 100 * (both + only_integer) / images, "top5": 100.0},
        "agreement": {"integer_float": 95.0, "integer_simulated": 99.0},
        "logit_sqnr_db": dict.fromkeys(("integer_float", "simulated_float", "integer_simulated")),
        "paired": dict.fromkeys(PAIRS, counts),
    }
    return Accuracy.model_validate(made)


SEEN = accuracy(200, both=155, only_float=5, only_integer=4)


def test_a_drop_passes_where_all_of_its_interval_does_and_fails_where_none_does() -> None:
    low, high = drop_interval(SEEN)
    assert (low, high) == tuple(100 * end for end in difference_interval(5, 4, 200))
    assert low < 0.5 < high
    margin = 1e-6
    outcomes = [
        drop_result(limit, SEEN, "interval").outcome
        for limit in (low - margin, low + margin, 0.5, high - margin, high + margin)
    ]
    assert outcomes == ["fail", "undecided", "undecided", "undecided", "pass"]
    by_point = [drop_result(limit, SEEN, "point").outcome for limit in (0.499, 0.5, 0.501)]
    assert by_point == ["fail", "pass", "pass"]


def test_an_agreement_passes_from_its_limit_on() -> None:
    low, high = (100 * end for end in share_interval(190, 200))
    outcomes = [
        agreement_result(limit, SEEN, "interval").outcome
        for limit in (low - 1e-6, low + 1e-6, 95.0, high - 1e-6, high + 1e-6)
    ]
    assert outcomes == ["pass", "undecided", "undecided", "undecided", "fail"]
    found = agreement_result(95.001, SEEN, "point")
    assert (found.outcome, found.value, found.unit) == ("fail", 95.0, "%")
    assert found.interval == (low, high)


def scaled(times: int) -> Accuracy:
    return accuracy(200 * times, 155 * times, 5 * times, 4 * times)


@pytest.mark.parametrize("limit", [3.0, 1.5])
def test_so_many_images_would_decide_and_much_fewer_would_not(limit: float) -> None:
    needed = drop_result(limit, SEEN, "interval").images_needed
    assert needed is not None
    enough, few = scaled(round(1.2 * needed / 200) + 1), scaled(int(needed / 1.3 / 200))
    assert enough.images > needed > few.images >= 200
    assert drop_result(limit, enough, "interval").outcome == "pass"
    assert drop_result(limit, few, "interval").outcome == "undecided"
    told = drop_result(limit, SEEN, "interval").reason
    ends = f": 200 images cannot decide it; about {needed:,} would at the observed rates"
    assert told.endswith(f"{ends} (an estimate)")


def test_what_lies_at_its_limit_no_number_of_images_decides() -> None:
    for found in (
        drop_result(0.5, SEEN, "interval"),
        agreement_result(95.0, SEEN, "interval"),
        drop_result(0.5001, SEEN, "interval"),
    ):
        assert found.outcome == "undecided"
        assert found.images_needed is None
        assert "no number of images up to 1,000,000 would" in found.reason


def test_agreement_needs_fewer_images_the_farther_its_limit() -> None:
    needed = [agreement_result(limit, SEEN, "interval").images_needed for limit in (94, 93, 92)]
    assert needed[0] is not None
    assert needed == sorted((n or 0 for n in needed), reverse=True)
    at_all = 100 * share_interval(95 * needed[0] // 100, needed[0]).low
    assert at_all > 94


@pytest.mark.parametrize("by", ["interval", "point"])
def test_no_drop_is_beyond_100_points(by: By) -> None:
    assert drop_result(100, SEEN, by).outcome == "pass"
    assert drop_result(-100, SEEN, by).outcome == "fail"
    gone = accuracy(3, both=0, only_float=3, only_integer=0)
    assert drop_result(100, gone, by).outcome == "pass"


def test_an_older_record_has_a_wider_interval_and_no_rates() -> None:
    older = SEEN.model_copy(update={"paired": None})
    low, high = drop_interval(older)
    ours = drop_interval(SEEN)
    assert low < ours.low < ours.high < high
    found = drop_result(2.0, older, "interval")
    assert (found.outcome, found.images_needed) == ("undecided", None)
    assert drop_result(100, older, "interval").outcome == "pass"


def test_the_point_estimate_says_what_one_of_few_images_weighs() -> None:
    few = accuracy(50, both=40, only_float=2, only_integer=0)
    assert drop_result(1, few, "point").reason.endswith("(one of 50 images is 2.00 points)")
    assert "one of" not in drop_result(1, SEEN, "point").reason


def test_a_gain_is_told_as_a_negative_drop() -> None:
    gains = accuracy(200, both=155, only_float=4, only_integer=5)
    told = (
        "integer top-1 is 0.50 points above float, a drop of -0.50 (95 %: -3.94 to 2.87), allowed"
    )
    assert drop_result(5, gains, "interval").reason.startswith(told)


def test_counts_that_are_not_of_all_images_are_refused() -> None:
    plain = SEEN.model_dump()
    plain["paired"]["float_integer"]["both_wrong"] += 1
    with pytest.raises(ValidationError, match="float_integer: the counts are not of 200 images"):
        Accuracy.model_validate(plain)


def test_a_pair_s_interval_is_of_the_first_minus_the_second() -> None:
    assert SEEN.paired is not None
    assert paired_interval(SEEN.paired.float_integer) == drop_interval(SEEN)


def test_results_are_records_that_come_back_from_json() -> None:
    found = drop_result(1.0, SEEN, "interval")
    assert GateResult.model_validate_json(found.model_dump_json(), strict=True) == found
