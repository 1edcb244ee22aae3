# SPDX-License-Identifier: Apache-2.0
"""The interval of a paired difference, held to enumeration of all outcomes."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest

from aocq.records.intervals import CONFIDENCE, TAIL, Interval, largest_share, least_share
from aocq.records.paired_intervals import (
    MANY_DISCORDANT,
    difference_interval,
    excludes,
    probability_below,
)

UNKNOWN = 0.001  # what Berger and Boos propose for the share of discordant images


def outcomes(images: int) -> Iterator[tuple[int, int]]:
    """Yield every (first alone, second alone)."""
    for first in range(images + 1):
        for second in range(images - first + 1):
            yield first, second


def probability(first: int, second: int, images: int, one: float, other: float) -> float:
    """The trinomial probability of an outcome."""
    ways = math.comb(images, first) * math.comb(images - first, second)
    rest = images - first - second
    return ways * one**first * other**second * max(1 - one - other, 0.0) ** rest


def score(first: int, second: int, images: int, difference: float) -> float:
    """Tango's statistic, with the likelihood's maximum by search instead of its closed form."""
    none = images - first - second
    low, high = max(0.0, -difference), (1 - difference) / 2  # of the second's share
    for _ in range(60):
        middle = (low + high) / 2
        one, rest = middle + difference, 1 - 2 * middle - difference
        # Derivative of the log likelihood, times what is positive.
        if first * middle * rest + second * one * rest > 2 * none * one * middle:
            low = middle
        else:
            high = middle
    variance = images * (2 * low + difference - difference**2)
    distance = first - second - images * difference
    return 0.0 if distance == 0 else distance / math.sqrt(variance) if variance > 0 else -math.inf


@pytest.mark.parametrize("images", [3, 6])
def test_the_probability_is_the_largest_of_an_enumeration(images: int) -> None:
    """Over a grid of shares of discordant images; the bound is above it, and hardly."""
    compared = 0
    for difference in (-0.83, -0.31, -0.05, 0.11, 0.42, 0.9):
        scores = {other: score(*other, images, difference) for other in outcomes(images)}
        for (first, second), found in scores.items():
            if difference <= (first - second) / images:
                continue
            both = first + second
            least = max(least_share(both, images, UNKNOWN / 2), abs(difference))
            most = largest_share(both, images, UNKNOWN / 2)
            ours = probability_below(difference, first, second, images)
            if least > most:
                assert ours == UNKNOWN
                continue
            limit = found + 1e-7 * max(1.0, abs(found))
            region = [other for other, value in scores.items() if value <= limit]
            largest = 0.0
            for k in range(41):
                share = least + (most - least) * k / 40
                one, two = (share + difference) / 2, (share - difference) / 2
                sums = sum(probability(*other, images, one, two) for other in region)
                largest = max(largest, sums)
            assert largest + UNKNOWN - 1e-9 <= ours <= largest + UNKNOWN + 0.02
            compared += 1
    assert compared >= 25


@pytest.mark.parametrize("images", [5, 8])
def test_every_difference_is_in_its_interval_in_95_percent_of_samples(images: int) -> None:
    found = {outcome: difference_interval(*outcome, images) for outcome in outcomes(images)}
    least = 1.0
    for k in range(21):
        for j in range(21 - k):
            one, other = k / 20, j / 20
            covered = sum(
                probability(*outcome, images, one, other)
                for outcome, (low, high) in found.items()
                if low <= one - other <= high
            )
            least = min(least, covered)
    assert least >= CONFIDENCE
    assert least <= 0.98, "an interval that always covers says nothing"


def test_an_exchange_of_the_networks_turns_the_interval() -> None:
    low, high = difference_interval(7, 3, 120)
    assert difference_interval(3, 7, 120) == Interval(-high, -low)
    assert low < 4 / 120 < high


@pytest.mark.parametrize(
    ("first", "second", "images"), [(0, 0, 200), (4, 3, 200), (8, 2, 360), (40, 30, 2000)]
)
def test_ends_are_where_the_probability_is_a_tail(first: int, second: int, images: int) -> None:
    low, high = difference_interval(first, second, images)
    assert probability_below(high, first, second, images) <= TAIL
    assert probability_below(high - 2e-5, first, second, images) > TAIL
    assert probability_below(-low, second, first, images) <= TAIL
    assert excludes(high, first, second, images)
    assert excludes(low, first, second, images)
    assert not excludes(high - 2e-5, first, second, images)
    assert not excludes((first - second) / images, first, second, images)


def test_more_images_of_equal_rates_say_more_and_approach_the_normal_interval() -> None:
    widths = []
    for times in (1, 4, 16):
        low, high = difference_interval(12 * times, 8 * times, 500 * times)
        widths.append((high - low) * math.sqrt(times))
    assert widths[0] > widths[1] > widths[2]
    spread = math.sqrt((20 / 500 - (4 / 500) ** 2) / 500)
    assert 2 * 1.96 * spread < widths[2] < 1.06 * 2 * 1.96 * spread


def test_ends_of_what_can_be() -> None:
    assert difference_interval(5, 0, 5).high == 1
    assert difference_interval(0, 1, 1).low == -1
    low, high = difference_interval(MANY_DISCORDANT + 1, 0, 2**62)
    assert low < 0 < high
    assert high - low < 1e-6
