# SPDX-License-Identifier: Apache-2.0
"""Confidence intervals of shares of images, which hold for every number of images.

They are exact in the sense of the literature: made of binomial probabilities, without a normal
approximation, they contain the true value in at least :data:`CONFIDENCE` of all samples, whatever
it is. They take images for independent draws of what the network will meet. Differences of two
networks on the same images are in :mod:`aocq.records.paired_intervals`.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

CONFIDENCE = 0.95
TAIL = (1 - CONFIDENCE) / 2  # on each side
MANY = 10_000_000  # images, beyond which exact tails take too long
_HALVINGS = 200  # more than a float64 has between 0 and 1 where a bisection ends


class Interval(NamedTuple):
    """The two ends of an interval; both belong to it."""

    low: float
    high: float


@lru_cache(maxsize=256)
def share_interval(found: int, of: int) -> Interval:
    """Return the interval of Clopper and Pearson for the share behind ``found`` of ``of``.

    Its ends are the shares at which so many or more, and so many or fewer, have a probability of
    2.5 %. Source: Clopper and Pearson, The use of confidence or fiducial limits illustrated in the
    case of the binomial, Biometrika 26 (1934) 404-413. Of more than :data:`MANY`, see
    :func:`interval_of_many`.

    Parameters
    ----------
    found, of
        0 <= found <= of, of > 0

    Returns
    -------
    Interval
        shares from 0 to 1
    """
    if of > MANY:
        low, high = interval_of_many(found / of, of, 1.0)
        return Interval(max(low, 0.0), min(high, 1.0))
    return Interval(least_share(found, of, TAIL), largest_share(found, of, TAIL))


def interval_of_many(mean: float, number: int, width: float) -> Interval:
    """Return an interval of the mean of ``number`` draws, each from a range of ``width``.

    It is wider than those of binomial probabilities, and quick. Source: Hoeffding, Probability
    inequalities for sums of bounded random variables, Journal of the American Statistical
    Association 58 (1963) 13-30, theorem 2.
    """
    reach = width * math.sqrt(math.log(1 / TAIL) / (2 * number))
    return Interval(mean - reach, mean + reach)


def unpaired_interval(first: int, second: int, images: int) -> Interval:
    """Return an interval of the difference of two shares of the same images, first minus second.

    It needs no more than how many of the images have what is counted, of the first and of the
    second, and holds however these lie to each other: both shares are in their intervals of Clopper
    and Pearson at 97.5 % at the same time in 95 % of samples (Bonferroni). It is wider than
    :func:`~aocq.records.paired_intervals.difference_interval`, which knows them image by image.
    """
    low, high = least_share, largest_share
    if images > MANY:
        return interval_of_many((first - second) / images, images, 2.0)
    half = TAIL / 2
    return Interval(
        low(first, images, half) - high(second, images, half),
        high(first, images, half) - low(second, images, half),
    )


def least_share(found: int, of: int, tail: float) -> float:
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


def largest_share(found: int, of: int, tail: float) -> float:
    """Return the share at which ``found`` of ``of`` or fewer have the probability ``tail``."""
    return 1.0 - least_share(of - found, of, tail)


def binomial_tail(found: int, of: int, share: float) -> float:
    """Return the probability of ``found`` or more of ``of``: 0 < found <= of, 0 < share < 1.

    It is the regularized incomplete beta function I(share; found, of - found + 1), by its continued
    fraction: NIST Digital Library of Mathematical Functions, 8.17.5 and 8.17.22.
    """
    a, b = float(found), float(of - found + 1)
    if share > (a + 1) / (a + b + 2):  # where the fraction converges slowly: the other tail
        return 1.0 - _incomplete_beta(b, a, 1.0 - share)
    return _incomplete_beta(a, b, share)


def at_most(found: int, of: int, share: float) -> float:
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
