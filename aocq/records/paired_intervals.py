# SPDX-License-Identifier: Apache-2.0
"""Confidence interval of how much two networks differ on the same images, by counts of images.

It is exact as those of :mod:`aocq.records.intervals` are: of trinomial probabilities, without a
normal approximation.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from aocq.records.intervals import (
    TAIL,
    Interval,
    at_most,
    interval_of_many,
    largest_share,
    least_share,
)

# Part of a tail that pays for not knowing how many images two networks differ on: the value that
# Berger and Boos propose.
_UNKNOWN_SHARE = 0.001
MANY_DISCORDANT = 50_000  # images, beyond which exact tails take too long
_CELLS = 256  # of the range of that share
_WIDTH = 1e-5  # of what a bisection leaves of a difference: a thousandth of a point

Reals = NDArray[np.float64]
Counts = NDArray[np.int64]


@lru_cache(maxsize=256)
def difference_interval(only_first: int, only_second: int, images: int) -> Interval:
    """Return the interval of the difference of two shares of the same images, first minus second.

    An end is where what was found, or what speaks against that end as much, has a probability of
    2.5 %. How much an outcome speaks against a difference is Tango's score statistic. Its
    probability depends on the share of images on which the two differ, which nobody knows: the
    largest one counts over all shares in their interval of Clopper and Pearson at 99.9 %, plus the
    0.1 % in which that one fails.

    Of more than :data:`MANY_DISCORDANT` such images see
    :func:`~aocq.records.intervals.interval_of_many`.

    Sources: Tango, Equivalence test and confidence interval for the difference in proportions for
    the paired-sample design, Statistics in Medicine 17 (1998) 891-908, for the statistic; Berger
    and Boos, P values maximized over a confidence set for the nuisance parameter, Journal of the
    American Statistical Association 89 (1994) 1012-1016.

    Parameters
    ----------
    only_first, only_second
        images of which the first alone, and the second alone, has what is counted
    images
        all of them, > 0

    Returns
    -------
    Interval
        differences from -1 to 1
    """
    if only_first + only_second > MANY_DISCORDANT:
        return interval_of_many((only_first - only_second) / images, images, 2.0)
    return Interval(
        -_largest_difference(only_second, only_first, images),
        _largest_difference(only_first, only_second, images),
    )


def excludes(difference: float, only_first: int, only_second: int, images: int) -> bool:
    """Return whether :func:`difference_interval` lies on one side of ``difference``."""
    found = (only_first - only_second) / images
    if difference > found:
        return probability_below(difference, only_first, only_second, images) <= TAIL
    if difference < found:
        return probability_below(-difference, only_second, only_first, images) <= TAIL
    return False


def _largest_difference(only_first: int, only_second: int, images: int) -> float:
    """Return the upper end: of no larger difference is the probability above 2.5 %."""
    # It falls with the difference: beyond a value at which it is small there are no others.
    low, high = (only_first - only_second) / images, 1.0
    near = low + 4 * (math.sqrt(only_first + only_second) + 4) / images
    if near < high and probability_below(near, only_first, only_second, images) <= TAIL:
        high = near
    while high - low > _WIDTH:
        middle = (low + high) / 2
        if probability_below(middle, only_first, only_second, images) > TAIL:
            low = middle
        else:
            high = middle
    return high


def probability_below(difference: float, only_first: int, only_second: int, images: int) -> float:
    """Return how probable an outcome as far below ``difference`` as what was found is, at most.

    ``difference`` is above what was found; the rest and the sources are those of
    :func:`difference_interval`. An outcome is less far below where the first has one image more,
    and farther where the second has. So the least share of images of the first alone, and the
    largest of the second alone, in a range of shares of both, bound the probability in all of it:
    no value between grid points can exceed what is returned.
    """
    discordant = only_first + only_second
    half = _UNKNOWN_SHARE / 2
    least = max(least_share(discordant, images, half), abs(difference))
    most = largest_share(discordant, images, half)
    if least > most:
        return _UNKNOWN_SHARE
    edges = np.linspace(least, most, _CELLS + 1)
    first = (edges[:-1] + difference) / 2
    second = np.maximum(edges[1:] - difference, 0.0) / 2
    numbers = _numbers(images, least, most)
    most_of_first = _farther_below(difference, only_first, only_second, images, numbers)
    found = _probability(images, first, second, numbers, most_of_first)
    return min(1.0, float(found.max()) + _UNKNOWN_SHARE)


def _numbers(images: int, least: float, most: float) -> Counts:
    """Return the numbers of discordant images that matter, in order.

    Bernstein's inequality: all others together have a probability below 1e-12.
    """
    low, high = images * least, images * most
    return np.arange(
        max(0, math.floor(low - 7.7 * math.sqrt(low) - 20)),
        min(images, math.ceil(high + 7.7 * math.sqrt(high) + 20)) + 1,
    )


def _farther_below(
    difference: float, only_first: int, only_second: int, images: int, numbers: Counts
) -> Counts:
    """Return, of each number of discordant images, how many are the first's at most (-1: none).

    Those outcomes are as far below ``difference`` as what was found, by Tango's statistic, or
    farther.
    """
    limit = _score(difference, np.array([only_first]), np.array([only_second]), images)[0]
    limit += 1e-9 * abs(limit)  # what was found is among them, whatever was rounded
    none, some = np.full(len(numbers), -1), numbers.copy()
    for _ in range(int(numbers[-1]).bit_length() + 1):  # the statistic rises with the first's
        middle = (none + some + 1) // 2
        inside = (
            _score(difference, np.maximum(middle, 0), numbers - np.maximum(middle, 0), images)
            <= limit
        ) & (middle >= 0)
        none = np.where(inside, middle, none)
        some = np.maximum(np.where(inside, some, middle - 1), none)
    # One image more of the second, or one less of the first, is never less far below.
    none = np.maximum.accumulate(none)
    closed: Counts = np.maximum.accumulate((none - numbers)[::-1])[::-1] + numbers
    return closed


def _score(difference: float, first: Counts, second: Counts, images: int) -> Reals:
    """Return Tango's score statistic for each (first alone, second alone); 0 / 0 is 0."""
    b = (2 * images - first + second) * difference - first - second
    c = -second * difference * (1 - difference)
    root = np.sqrt(np.maximum(b * b - 8 * images * c, 0.0))
    second_share = np.maximum(root - b, 0.0) / (4 * images)  # most likely one for the difference
    variance = images * (2 * second_share + difference * (1 - difference))
    distance = first - second - images * difference
    with np.errstate(divide="ignore", invalid="ignore"):
        score: Reals = distance / np.sqrt(np.maximum(variance, 0.0))
    score[distance == 0] = 0.0
    return score


def _probability(
    images: int, first: Reals, second: Reals, numbers: Counts, most_of_first: Counts
) -> Reals:
    """Return the probability of the outcomes, for each pair of shares of discordant images.

    Of ``numbers[i]`` discordant images ``most_of_first[i]`` at most are the first's: from one
    number to the next that is the same or one more.
    """
    tiny = 1e-300  # in the place of a zero, whose logarithm is none
    both = first + second
    of_first, of_second = np.log(first / both + tiny), np.log(second / both + tiny)
    log_both, log_none = np.log(both + tiny), np.log(np.maximum(1.0 - both, 0.0) + tiny)

    def part(number: int, some: int) -> Reals:
        """Probability that ``some`` of ``number`` discordant images are the first's."""
        ways = _log_ways(number, some)
        probability: Reals = np.exp(ways + some * of_first + (number - some) * of_second)
        return probability

    start, most = int(numbers[0]), int(most_of_first[0])
    below = np.array([at_most(most, start, share) for share in (first / both).tolist()])
    total: Reals = np.zeros_like(both)
    for number, following in zip(
        numbers.tolist(), [*most_of_first[1:].tolist(), None], strict=True
    ):
        ways = _log_ways(images, number)
        total += below * np.exp(ways + number * log_both + (images - number) * log_none)
        if following == most:
            if 0 <= most <= number:
                below = below - first / both * part(number, most)
        elif following is not None and following <= number:
            below = below + second / both * part(number, following)
        most = following if following is not None else most
    return total


def _log_ways(of: int, some: int) -> float:
    """Return the logarithm of how many ways there are to choose ``some`` of ``of``."""
    return math.lgamma(of + 1) - math.lgamma(some + 1) - math.lgamma(of - some + 1)
