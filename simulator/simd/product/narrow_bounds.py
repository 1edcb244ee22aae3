# SPDX-License-Identifier: Apache-2.0
"""Narrow registers, and bounds of how far partial sums may go: per column, per row, per block."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.numerics.integer_type import IntArray
from simulator.numerics.jit import kernel
from simulator.simd.product.narrow_tile import NARROW_COLUMNS
from simulator.simd.product.packing import padded_columns
from simulator.simd.product.tile import TILE_COLUMNS

CHECKED_TERMS = 64  # of a block
PANELS = NARROW_COLUMNS // TILE_COLUMNS
# How registers are held: each fills a lane of 16 bits; in lanes of 16 or of 32 bits, with clipping.
FULL_I16, CLIPPED_I16, CLIPPED_I32 = 0, 1, 2
CHECK_INTERVAL = 8  # terms between two checks for clipping, where registers allow as many
LANE_CODES = 1 << 16
# Terms of which a partial sum (below 2^30: it has at most 31 bits), how far the next may be (below
# 2^29) and what a constant adds (below 2^28) still fit 32 bits together. What is shifted makes a
# partial sum larger by at most 2^28, and is taken off it before anything else is added.
LONGEST = 8192
WIDEST = 30  # bits of a register that still has room for a product in 32 bits


@dataclass(frozen=True, slots=True)
class Register:
    """One register of a narrow accumulator.

    low, high : its smallest and largest code
    wraps : whether it wraps, or saturates
    apply : whether its overflow changes sums, or is only counted
    layout : one of the three above
    often : whether eight terms are too many to look for clipping after, in full registers
    bias_last : whether there is a bias to add last
    """

    low: int
    high: int
    wraps: bool
    apply: bool
    layout: int
    often: bool
    bias_last: bool

    @property
    def arguments(self) -> tuple[int, int, bool, bool, int, bool, bool]:
        """Return what the kernels take."""
        return (
            self.low, self.high, self.wraps, self.apply, self.layout, self.often, self.bias_last,
        )  # fmt: skip


def is_checked_often(largest_product: int) -> bool:
    """Tell whether comparing full registers after eight terms could miss clipping.

    What was clipped off is at most the sum of the terms' magnitudes; below 2^16 it leaves a trace
    in 16 bits. Then seven terms cannot reach from one end of the register to the other, either.
    """
    return CHECK_INTERVAL * largest_product >= LANE_CODES


def padded_to_checks(terms: int) -> int:
    """Return the terms that are accumulated in order: products of zeros change nothing."""
    return -(-terms // CHECK_INTERVAL) * CHECK_INTERVAL


@dataclass(frozen=True, slots=True)
class Reach:
    """Bounds of partial sums of a right operand's columns, int32 [2 + blocks, columns].

    The first row is of all terms, then one of each block; the last is 0.

    norms : lengths, rounded up
    below, above : the least and the largest partial sum of the constant in the left codes; in both,
        what later terms will take off sums again because left codes are shifted
    """

    norms: NDArray[np.int32]
    below: NDArray[np.int32]
    above: NDArray[np.int32]

    @classmethod
    def empty(cls, terms: int, columns: int) -> Reach:
        """Allocate for so many terms; nothing but lengths."""
        rows = 2 + -(-terms // CHECKED_TERMS)
        return cls(*(np.zeros((rows, columns), np.int32) for _ in range(3)))

    @property
    def arguments(self) -> tuple[NDArray[np.int32], ...]:
        """Return what the kernels take."""
        return self.norms, self.below, self.above


def reach_of(b: IntArray, columns: int, centre: int, shifted: int) -> Reach:
    """Measure weights [K, N] for left codes around ``centre``; the last column repeats.

    ``shifted`` is what the product adds to left codes: sums start with what undoes it at their end.
    """
    reach = Reach.empty(len(b), columns)
    measure_columns(b, reach.norms)
    edges = [0, *range(0, len(b), CHECKED_TERMS)]
    ends = [len(b), *(edge + CHECKED_TERMS for edge in edges[1:])]
    for row, (first, last) in enumerate(zip(edges, ends, strict=True)):
        sums = centre * np.cumsum(b[first:last], axis=0, dtype=np.int64)
        later = shifted * b[first:].sum(axis=0, dtype=np.int64)
        reach.below[row] = padded_columns(np.minimum(sums.min(axis=0), 0) + later, columns)
        reach.above[row] = padded_columns(np.maximum(sums.max(axis=0), 0) + later, columns)
    return reach


@kernel
def measure_columns(b, norms):
    """Write the lengths of ``b``'s columns, of all terms and of each block; see :class:`Reach`."""
    terms, count = b.shape
    squares = np.empty(count, np.int32)
    whole = np.zeros(count, np.int32)
    for block in range(1, norms.shape[0] - 1):
        squares[:] = 0
        first = (block - 1) * CHECKED_TERMS
        for k in range(first, min(first + CHECKED_TERMS, terms)):
            row = b[k]
            for j in range(count):
                code = np.int32(row[j])
                squares[j] = np.int32(squares[j] + np.int32(code * code))
        for j in range(count):
            whole[j] = np.int32(whole[j] + squares[j])
        for j in range(norms.shape[1]):
            norms[block, j] = whole_root(squares[min(j, count - 1)])
    for j in range(norms.shape[1]):
        norms[0, j] = whole_root(whole[min(j, count - 1)])
    norms[norms.shape[0] - 1] = 0


@kernel
def whole_root(squares):
    """Return the root of an int32, rounded up.

    Below 2^31 a root that is no whole number is too far from any for a float64 to miss its side.
    """
    return np.int32(np.ceil(np.sqrt(np.float64(squares))))
