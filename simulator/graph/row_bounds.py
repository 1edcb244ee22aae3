# SPDX-License-Identifier: Apache-2.0
"""Bounds of the statistics of a row of codes: sums, variances, roots, reciprocals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt

import numpy as np

from simulator.graph.ranges import Interval, squared


@dataclass(frozen=True, slots=True)
class RowBounds:
    """A row of C channels, each anywhere between two ends.

    Attributes
    ----------
    low, high
        the ends of each channel
    """

    low: Sequence[int]
    high: Sequence[int]

    @classmethod
    def of(cls, codes: Interval, factors: Sequence[int]) -> RowBounds:
        """Return the row of codes less their zero point, times a factor per channel, not negative.

        All channels have codes of one interval.
        """
        low, high = codes
        return cls([low * factor for factor in factors], [high * factor for factor in factors])

    @property
    def channels(self) -> int:
        """C."""
        return len(self.low)

    @property
    def values(self) -> Interval:
        """Bounds of any channel."""
        return min(self.low), max(self.high)

    @property
    def sum(self) -> Interval:
        """Bounds of sum(u), attained by rows of lowest and of highest codes."""
        return sum(self.low), sum(self.high)

    @property
    def square_sum(self) -> Interval:
        """Bounds of sum(u^2), attained."""
        least, most = 0, 0
        for ends, count in Counter(zip(self.low, self.high, strict=True)).items():
            a, b = squared(ends)  # of many channels, mostly alike
            least, most = least + count * a, most + count * b
        return least, most

    @property
    def deviation(self) -> Interval:
        """Bounds of C u[c] - sum(u) over all c, attained where one channel is opposed to others."""
        low, high = self.sum
        others = self.channels - 1
        ends = {*zip(self.low, self.high, strict=True)}
        return (
            min(others * a - (high - b) for a, b in ends),
            max(others * b - (low - a) for a, b in ends),
        )

    @property
    def largest_variance(self) -> int:
        """Bound of C sum(u^2) - sum(u)^2, attained where all channels have the same ends.

        It is the least of C sum((u - m)^2) over all m: with half of equal channels at each end
        ``(high - low)^2 floor(C / 2) ceil(C / 2)``. Otherwise any m gives a bound; the one that is
        taken is looked for with floats.
        """
        count = self.channels
        if len({*self.low}) == 1 and len({*self.high}) == 1:
            return (self.high[0] - self.low[0]) ** 2 * (count // 2) * (count - count // 2)
        least, most = self.values
        twice = _best_centre(self.low, self.high, 2 * least, 2 * most)
        squares = sum(
            max((2 * a - twice) ** 2, (2 * b - twice) ** 2)
            for a, b in zip(self.low, self.high, strict=True)
        )
        return count * squares // 4


def _best_centre(low: Sequence[int], high: Sequence[int], start: int, stop: int) -> int:
    """Return twice the m about which squares are smallest, or an integer near it.

    The sum of the larger squares is convex in m: an interval around its minimum is narrowed.
    """
    a, b = (2 * np.array(ends, np.float64) for ends in (low, high))

    def squares(twice: int) -> float:
        return float(np.maximum((a - twice) ** 2, (b - twice) ** 2).sum())

    while stop - start > 2:
        third = (stop - start) // 3
        if squares(start + third) <= squares(stop - third):
            stop -= third
        else:
            start += third
    return (start + stop) // 2


def root_bounds(radicand: Interval, steps: int, start_bits: int) -> Interval:
    """Return the bounds of the root of what lies between two numbers, both not negative.

    Exact without ``steps``. Newton's steps never go below the exact root r; once they reached it,
    they stay at r or r + 1, and from above they come down as ``(k + V / k) / 2`` does, which grows
    with k and with V.
    """
    low, high = isqrt(radicand[0]), isqrt(radicand[1])
    if not steps or not high:
        return low, high
    value = radicand[1]
    start = 1 << (start_bits or (value.bit_length() + 1) // 2)
    largest = max((start + value // start) // 2, high + 1)
    if not start_bits:
        largest = max(start, high + 1)  # smaller radicands start lower, but not all go down as far
    for _ in range(steps - 1):
        largest = max((largest + value // largest + 1) // 2, high + 1)
    return low, largest


def reciprocal_bounds(bits: int, root: Interval) -> Interval:
    """Return the bounds of ``floor(2^bits / max(r, 1))``."""
    return (1 << bits) // max(root[1], 1), (1 << bits) // max(root[0], 1)


def largest_normalized(bits: int, others: int, least_root: int) -> int:
    """Return the largest magnitude of ``x * floor(2^bits' / r)``, both of a row's statistics.

    x^2 is at most ``others`` times the value under the root, r the root of that value, rounded
    down, at ``bits' - bits`` fraction bits, and at least ``least_root``. Since that value is at
    most ``r^2 + 2 r``, the product is at most ``2^bits sqrt(others (1 + 2 / r))``.
    """
    return isqrt((others * (least_root + 2) << 2 * bits) // least_root)
