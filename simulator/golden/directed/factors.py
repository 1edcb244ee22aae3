# SPDX-License-Identifier: Apache-2.0
"""Multipliers and shifts at which roundings differ: one pair for each channel of a unit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simulator.golden.directed.making import kind_of
from simulator.golden.one_op import OneOp
from simulator.graph.op import residual_of
from simulator.numerics.fixed_point import LARGEST_SHIFT
from simulator.numerics.float_requantization import FLOAT_DTYPES
from simulator.numerics.rescaling import Arithmetic, LeftShift
from simulator.numerics.rounding import FIRST_STEP

HALVINGS = 7  # factors 1, 1/2, … 1/2^6
_WITH_RESIDUAL = (
    56  # places of a residual's code and of its shift, so that the sum stays in 64 bits
)


@dataclass(frozen=True, slots=True)
class Factors:
    """Factors of channels: ``multiplier / 2^shift``, or real ones and no shift."""

    multiplier: NDArray[Any]
    shift: NDArray[np.int64] | None

    @property
    def count(self) -> int:
        """Number of channels."""
        return len(self.multiplier)

    @property
    def constants(self) -> dict[str, ArrayLike]:
        """The factors by the fields of a requantization."""
        if self.shift is None:
            return {"multiplier": self.multiplier}
        return {"multiplier": self.multiplier, "shift": self.shift}

    def each(self, times: int) -> Factors:
        """Return every factor so many times, in blocks."""
        shift = None if self.shift is None else np.tile(self.shift, times)
        return Factors(np.tile(self.multiplier, times), shift)

    def chosen(self, index: NDArray[np.intp]) -> Factors:
        """Return the factors of some channels, in their order."""
        return Factors(self.multiplier[index], None if self.shift is None else self.shift[index])

    def followed_by(self, other: Factors) -> Factors:
        """Return these factors and then others."""
        assert (self.shift is None) == (other.shift is None)
        multiplier = np.concatenate([self.multiplier, other.multiplier])
        if self.shift is None or other.shift is None:
            return Factors(multiplier, None)
        return Factors(multiplier, np.concatenate([self.shift, other.shift]))

    def within(self, largest_sum: int) -> Factors:
        """Return the factors whose products with sums up to ``largest_sum`` need no 64 bits."""
        if self.shift is None:
            return self
        pairs = zip(self.multiplier.tolist(), self.shift.tolist(), strict=True)
        kept = [
            (multiplier, shift)
            for multiplier, shift in pairs
            if largest_sum * multiplier + (1 << shift) < (1 << 63) - 512
        ]
        multipliers, shifts = np.array(kept, np.int64).T
        return Factors(multipliers, shifts)


def factors(base: OneOp, halvings: int = HALVINGS, first: int = 0) -> Factors:
    """Return factors around ``2^-first`` and its halves, within the chip's widths.

    Powers of two, at which sums meet exact ties; their neighbours on both sides, which miss them by
    little; small multipliers, the largest one, 0; short shifts and the longest.
    """
    (parameters,) = base.op.requantizations
    if parameters.arithmetic is not Arithmetic.FIXED_POINT:
        return _real_factors(parameters.arithmetic, halvings, first)
    largest = kind_of(base, "multiplier").high
    bits = largest.bit_length()
    longest = min(kind_of(base, "shift").high, LARGEST_SHIFT)
    top = 1 << (bits - 1)
    pairs = []
    for step in range(first, first + halvings):
        pairs += [(top, bits - 1 + step), (largest, bits + step), (top + 1, bits - 1 + step)]
        pairs += [(3 * top // 2, bits - 1 + step)]
        if parameters.left_shift is not LeftShift.WRAP:
            pairs += [(1, step), (3, step + 1), (5, step + 2)]
    pairs += [(largest, longest), (1, longest), (0, least_shift(base) + 1)]
    if parameters.left_shift is LeftShift.WRAP:
        pairs += [(top, FIRST_STEP - 3), (top, FIRST_STEP - 12), (largest, FIRST_STEP - 20)]
    elif first == 0:
        pairs += [(largest, least_shift(base))]
    low = least_shift(base)
    kept = dict.fromkeys(
        (multiplier, shift)
        for multiplier, shift in pairs
        if multiplier <= largest and low <= shift <= longest
    )
    multipliers, shifts = np.array(list(kept), np.int64).T
    return Factors(multipliers, shifts)


def least_shift(base: OneOp) -> int:
    """Return the smallest shift that the chip may have: 0, or up to 2 where the op's are longer."""
    (parameters,) = base.op.requantizations
    assert parameters.shift is not None
    return min(2, int(base.graph.constants[parameters.shift].min()))


def longest_shift(base: OneOp) -> int:
    """Return the largest shift that directed vectors have: the chip's, within 64 bits.

    The code of a residual is shifted to the left as far as the sum behind it to the right.
    """
    longest = min(kind_of(base, "shift").high, LARGEST_SHIFT)
    residual = residual_of(base.op) is not None
    return min(longest, _WITH_RESIDUAL - kind_of(base, "residual").bits) if residual else longest


def _real_factors(arithmetic: Arithmetic, halvings: int, first: int) -> Factors:
    real: Any = FLOAT_DTYPES[arithmetic]
    one = real.type(1)
    below, above = np.nextafter(one, 0 * one), np.nextafter(one, 2 * one)
    found: list[Any] = []
    for step in range(first, first + halvings):
        scale = 2.0**-step
        found += [factor * scale for factor in (one, below, above, 0.75, 1 / 3, 0.1)]
    found += [0.0, 100.0, 2.0**-40]
    return Factors(np.array(found).astype(type(one)), None)
