# SPDX-License-Identifier: Apache-2.0
"""Rates of a profile as exact fractions, so that rounding up never depends on binary floats."""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache


@lru_cache(maxsize=1024)
def as_written(rate: float) -> Fraction:
    """Return the decimal number that a profile's file shows.

    The float 0.1 lies a little above 1/10, so ceil(160 * 0.1 / 16) in exact binary arithmetic would
    be 2 where the profile's author means 1.
    """
    return Fraction(repr(rate))


def ceil_div(amount: int, unit: int) -> int:
    """Return how many whole units of ``unit`` cover ``amount``."""
    return -(-amount // unit)


def ceil_times(amount: int, rate: Fraction) -> int:
    """Return ``amount * rate``, rounded up."""
    return math.ceil(amount * rate)
