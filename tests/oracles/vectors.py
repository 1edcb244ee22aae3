# SPDX-License-Identifier: Apache-2.0
"""Inputs on which rounding modes differ.

Uniformly random sums hardly ever hit a tie: two rounding modes then agree in all but a few of a
hundred thousand results. Most of these sums are at multiples of half a step and beside them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

# (multiplier, shift) in Q31: powers of two, at which sums hit ties exactly, and others.
Q31_FACTORS: Sequence[tuple[int, int]] = (
    (1 << 30, 32),
    (1 << 30, 33),
    (1 << 30, 36),
    (1 << 30, 40),
    (3 << 29, 35),
    (1 << 30, 47),
    (1518500250, 38),  # 2^31 / sqrt(2)
    ((1 << 31) - 1, 43),
)
# The same with shifts at which there is no second rounding, down to a left shift.
WIDE_FACTORS: Sequence[tuple[int, int]] = (
    (1 << 30, 31),
    (1 << 12, 17),
    (3 << 9, 14),
    (7, 5),
    (1, 3),
    (5, 1),
)


def sums_near_ties(
    random: np.random.Generator,
    count: int,
    factor: float,
    *,
    bits: int = 32,
    largest_code: int = 160,
) -> NDArray[np.int64]:
    """Return accumulators of ``bits`` bits: three quarters at ties of ``sum * factor`` or beside.

    The others are random, a half of them over all bits, and the last few are the extremes.
    """
    high = (1 << (bits - 1)) - 1
    halves = random.integers(-2 * largest_code, 2 * largest_code + 1, count)
    sums = np.rint(np.clip(halves / 2 / factor, -high, high)).astype(np.int64)
    sums += random.integers(-1, 2, count)
    anywhere = random.integers(-high - 1, high + 1, count)
    kind = random.integers(0, 8, count)
    sums = np.where(kind == 0, anywhere, sums)
    reach = max(min(int(largest_code / factor), high), 2)
    sums = np.where(kind == 1, random.integers(-reach, reach, count), sums)
    extremes = np.array([-high - 1, -high, -1, 0, 1, high - 1, high])[: min(7, count)]
    sums[count - len(extremes) :] = extremes
    return np.clip(sums, -high - 1, high)


def codes(
    random: np.random.Generator, shape: tuple[int, ...], bits: int = 8, **limits: Any
) -> NDArray[np.integer]:
    """Return codes of the whole type, its ends more often than the others."""
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    low, high = limits.get("low", low), limits.get("high", high)
    values = random.integers(low, high + 1, shape)
    values = np.where(random.integers(0, 16, shape) == 0, low, values)
    values = np.where(random.integers(0, 16, shape) == 0, high, values)
    return values.astype(np.int8 if bits == 8 else np.int16)
