# SPDX-License-Identifier: Apache-2.0
"""Confidence intervals that hold for every number of images: of a share, of a paired difference.

Both are exact in the sense of the literature: made of binomial and trinomial probabilities, without
a normal approximation, they contain the true value in at least :data:`CONFIDENCE` of all samples,
whatever it is. They take images for independent draws of what the network will meet.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
_TAIL = (1 - CONFIDENCE) / 2
# Part of a tail that pays for not knowing how many images two networks differ on: the value that
# Berger and Boos propose.
_UNKNOWN_SHARE = 0.001
_CELLS = 256  # of the range of that share
_WIDTH = 1e-5  # of what a bisection leaves of a difference: a thousandth of a point
_HALVINGS = 200  # more than a float64 has between 0 and 1 where a bisection ends

Reals = NDArray[np.float64]
Counts = NDArray[np.int64]


class Interval(NamedTuple):
    """The two ends of an interval; both belong to it."""

    low: float
    high: float


# --- a share --------------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def share_interval(found: int, of: int) -> Interval:
    """Return the interval of Clopper and Pearson for the share behind ``found`` of ``of``.

    Its ends are the shares at which so many or more, and so many or fewer, have a probability of
    2.5 %. Source: Clopper and Pearson, The use of confidence or fiducial limits illustrated in the
    case of the binomial, Biometrika 26 (1934) 404-413.

    Parameters
    ----------
    found, of
        0 <= found <= of, of > 0

    Returns
    -------
    Interval
        shares from 0 to 1
    """
    return Interval(_least_share(found, of, _TAIL), _largest_share(found, of, _TAIL))


def unpaired_interval(first: int, second: int, images: int) -> Interval:
    """Return an interval of the difference of two shares of the same images, first minus second.

    It needs no more than how many of the images have what is counted, of the first and of the
    second, and holds however these lie to each other: both shares are in their intervals of Clopper
    and Pearson at 97.5 % at the same time in 95 % of samples (Bonferroni). It is wider than
    :func:`difference_interval`, which knows them image by image.
    """
    low, high = _least_share, _largest_share
    half = _TAIL / 2
    return Interval(
        low(first, images, half) - high(second, images, half),
        high(first, images, half) - low(second, images, half),
    )


def _least_share(found: int, of: int, tail: float) -> float:
    """Return the share at which ``found`` of ``of`` or more have the probability ``tail``."""
    if found == 0:
        return 0.0
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if not low < middle < high:
            break
        if binomial_tail(found, of, middle) < tail:
            low = middle
        else:
            high = middle
    return low


def _largest_share(found: int, of: int, tail: float) -> float:
    """Return the share at which ``found`` of ``of`` or fewer have the probability ``tail``."""
    return 1.0 - _least_share(of - found, of, tail)


def binomial_tail(found: int, of: int, share: float) -> float:
    """Return the probability of ``found`` or more of ``of``: 0 < found <= of, 0 < share < 1.

    It is the regularized incomplete beta function I(share; found, of - found + 1), by its continued
    fraction: NIST Digital Library of Mathematical Functions, 8.17.5 and 8.17.22.
    """
    a, b = float(found), float(of - found + 1)
    if share > (a + 1) / (a + b + 2):  # where the fraction converges slowly: the other tail
        return 1.0 - _incomplete_beta(b, a, 1.0 - share)
    return _incomplete_beta(a, b, share)


def _at_most(found: int, of: int, share: float) -> float:
    """Return the probability of ``found`` or fewer of ``of``; ``found`` may be -1."""
    if found < 0 or found >= of:
        return float(found >= of)
    if not 0.0 < share < 1.0:
        return float(share == 0.0)
    return 1.0 - binomial_tail(found + 1, of, share)


def _incomplete_beta(a: float, b: float, x: float) -> float:
    """Return I(x; a, b) by the continued fraction, which Lentz's algorithm evaluates."""
    logarithm = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) - math.log(a)
    logarithm += a * math.log(x) + b * math.log1p(-x)
    least = 1e-300  # in the place of a zero
    upper, lower, fraction = 1.0, 0.0, 1.0
    for step in range(1_000_000):
        half = step // 2
        if step == 0:
            numerator = 1.0
        elif step % 2 == 0:
            numerator = half * (b - half) * x / ((a + step - 1) * (a + step))
        else:
            numerator = -(a + half) * (a + b + half) * x / ((a + step - 1) * (a + step))
        lower = 1.0 / (1.0 + numerator * lower or least)
        upper = 1.0 + numerator / upper or least
        fraction *= upper * lower
        if abs(upper * lower - 1.0) < 1e-15:
            break
    return math.exp(logarithm) * (fraction - 1.0)


# --- a paired difference --------------------------------------------------------------------------


@lru_cache(maxsize=256)
def difference_interval(only_first: int, only_second: int, images: int) -> Interval:
    """Return the interval of the difference of two shares of the same images, first minus second.

    An end is where what was found, or what speaks against that end as much, has a probability of
    2.5 %. How much an outcome speaks against a difference is Tango's score statistic. Its
    probability depends on the share of images on which the two differ, which nobody knows: the
    largest one counts over all shares in their interval of Clopper and Pearson at 99.9 %, plus the
    0.1 % in which that one fails.

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
    return Interval(
        -_largest_difference(only_second, only_first, images),
        _largest_difference(only_first, only_second, images),
    )


def excludes(difference: float, only_first: int, only_second: int, images: int) -> bool:
    """Return whether :func:`difference_interval` lies on one side of ``difference``."""
    found = (only_first - only_second) / images
    if difference > found:
        return probability_below(difference, only_first, only_second, images) <= _TAIL
    if difference < found:
        return probability_below(-difference, only_second, only_first, images) <= _TAIL
    return False


def _largest_difference(only_first: int, only_second: int, images: int) -> float:
    """Return the upper end: of no larger difference is the probability above 2.5 %."""
    # It falls with the difference: beyond a value at which it is small there are no others.
    low, high = (only_first - only_second) / images, 1.0
    near = low + 4 * (math.sqrt(only_first + only_second) + 4) / images
    if near < high and probability_below(near, only_first, only_second, images) <= _TAIL:
        high = near
    while high - low > _WIDTH:
        middle = (low + high) / 2
        if probability_below(middle, only_first, only_second, images) > _TAIL:
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
    least = max(_least_share(discordant, images, half), abs(difference))
    most = _largest_share(discordant, images, half)
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
    factorials = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, images + 1)))])
    tiny = 1e-300  # in the place of a zero, whose logarithm is none
    both = first + second
    of_first, of_second = np.log(first / both + tiny), np.log(second / both + tiny)
    log_both, log_none = np.log(both + tiny), np.log(np.maximum(1.0 - both, 0.0) + tiny)

    def part(number: int, some: int) -> Reals:
        """Probability that ``some`` of ``number`` discordant images are the first's."""
        ways = factorials[number] - factorials[some] - factorials[number - some]
        probability: Reals = np.exp(ways + some * of_first + (number - some) * of_second)
        return probability

    start, most = int(numbers[0]), int(most_of_first[0])
    below = np.array([_at_most(most, start, share) for share in (first / both).tolist()])
    total: Reals = np.zeros_like(both)
    for number, following in zip(
        numbers.tolist(), [*most_of_first[1:].tolist(), None], strict=True
    ):
        ways = factorials[images] - factorials[number] - factorials[images - number]
        total += below * np.exp(ways + number * log_both + (images - number) * log_none)
        if following == most:
            if 0 <= most <= number:
                below = below - first / both * part(number, most)
        elif following is not None and following <= number:
            below = below + second / both * part(number, following)
        most = following if following is not None else most
    return total
