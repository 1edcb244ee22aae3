# SPDX-License-Identifier: Apache-2.0
"""Intervals of shares, held to scipy's and to sums of fractions."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest

from aocq.records.intervals import (
    CONFIDENCE,
    MANY,
    TAIL,
    binomial_tail,
    interval_of_many,
    share_interval,
    unpaired_interval,
)


def exact_tail(found: int, of: int, share: float) -> Fraction:
    """Return the probability of so many or more as a sum of fractions."""
    p = Fraction(share)
    terms = (math.comb(of, k) * p**k * (1 - p) ** (of - k) for k in range(found, of + 1))
    return sum(terms, Fraction(0))


@pytest.mark.parametrize("of", [1, 2, 7, 20, 33])
def test_ends_have_their_tails_by_fractions(of: int) -> None:
    for found in range(of + 1):
        low, high = share_interval(found, of)
        assert 0 <= low <= found / of <= high <= 1
        if found:
            assert float(exact_tail(found, of, low)) == pytest.approx(TAIL, rel=1e-9)
        else:
            assert low == 0
        if found < of:
            below = 1 - exact_tail(found + 1, of, high)
            assert float(below) == pytest.approx(TAIL, rel=1e-9)
        else:
            assert high == 1


@pytest.mark.parametrize("of", [20, 360, 5000, 50_000, 1_000_000])
def test_intervals_are_those_of_scipy(of: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    for found in sorted({0, 1, of // 3, of // 2, of * 97 // 100, of - 1, of}):
        theirs = stats.binomtest(found, of).proportion_ci(CONFIDENCE, method="exact")
        assert share_interval(found, of) == pytest.approx((theirs.low, theirs.high), abs=1e-11)


@pytest.mark.parametrize("share", [1e-9, 0.1, 0.5, 0.73, 1 - 1e-9])
def test_tails_are_sums_of_fractions(share: float) -> None:
    for found in (1, 2, 9, 17, 30):
        exact = float(exact_tail(found, 30, share))
        assert binomial_tail(found, 30, share) == pytest.approx(exact, rel=1e-9)


def test_every_share_is_in_its_interval_in_95_percent_of_samples() -> None:
    of = 25
    found = [share_interval(k, of) for k in range(of + 1)]
    for share in (k / 200 for k in range(201)):
        inside = [k for k, (low, high) in enumerate(found) if low <= share <= high]
        terms = (math.comb(of, k) * share**k * (1 - share) ** (of - k) for k in inside)
        assert sum(terms) >= CONFIDENCE


def test_beyond_what_tails_can_be_computed_of_an_interval_is_wider_but_there() -> None:
    within, beyond = share_interval(MANY // 2, MANY), share_interval(MANY // 2 + 1, MANY + 2)
    assert beyond.low < within.low < 0.5 < within.high < beyond.high
    assert beyond.high - beyond.low < 1e-3
    huge = share_interval(2**63 - 1, 2**63 - 1)
    assert huge.high == 1
    assert 1 - 1e-9 < huge.low < 1
    # Hoeffding: the tail at the end of the interval is 2.5 %.
    reach = interval_of_many(0.0, 1000, 2.0).high
    assert math.exp(-2 * 1000 * (reach / 2) ** 2) == pytest.approx(TAIL)


def test_a_difference_of_unpaired_shares_is_that_of_the_ends_at_97_5_percent() -> None:
    stats = pytest.importorskip("scipy.stats")
    ours = unpaired_interval(180, 150, 200)
    one, other = (stats.binomtest(k, 200).proportion_ci(0.975, method="exact") for k in (180, 150))
    assert ours == pytest.approx((one.low - other.high, one.high - other.low), abs=1e-11)
    assert unpaired_interval(MANY, MANY, MANY + 1).high < 2e-3
