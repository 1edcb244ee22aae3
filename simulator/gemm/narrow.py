# SPDX-License-Identifier: Apache-2.0
"""Products through one narrow register per sum, without the price of walking every sum.

Exact sums first. The lengths of the two vectors bound every partial sum; where that is too coarse
for some sum of a strip, its product is made a block of terms at a time, and the exact partial sum
before each block and the lengths of the block's vectors bound what is inside. Left codes are taken
apart for it: a constant, the zero point, whose partial sums are known for each column, and what is
left, which is short. Only groups of sums that might leave the register are then made again term by
term, many side by side.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.gemm.fused import requantize_strip
from simulator.gemm.narrow_tile import (
    WALK_COLUMNS,
    WALK_ROWS,
    flag_row,
    walk_full_halves_2,
    walk_full_halves_8,
    walk_halves_1,
    walk_halves_8,
    walk_words_2,
    walk_words_8,
)
from simulator.gemm.packing import (
    PAIR,
    STRIP_ROWS,
    multiply_terms,
    pack_pairs,
    padded_columns,
    start_sums,
    take_rows,
    transpose_codes,
)
from simulator.gemm.tile import TILE_COLUMNS
from simulator.numerics.integer_type import IntArray
from simulator.numerics.jit import kernel

CHECKED_TERMS = 96  # of a block
PANELS = WALK_COLUMNS // TILE_COLUMNS
FULL_HALVES, HALVES, WORDS = 0, 1, 2  # how registers are held
SELDOM = 8  # terms after which clipping is looked for, where that is not too seldom
LANE_CODES = 1 << 16
# Terms of which a partial sum (below 2^30: it has at most 31 bits), how far the next may be (below
# 2^29) and what a constant adds (below 2^28) still fit 32 bits together.
LONGEST = 8192
WIDEST = 30  # bits of a register that still has room for a product in 32 bits


@dataclass(frozen=True, slots=True)
class Register:
    """One register of a narrow accumulator.

    low, high : its smallest and largest code
    wraps : whether it wraps, or saturates
    apply : whether its overflow changes sums, or is only counted
    held : one of the three above
    often : whether eight terms are too many to look for clipping after
    bias_last : whether there is a bias to add last
    """

    low: int
    high: int
    wraps: bool
    apply: bool
    held: int
    often: bool
    bias_last: bool

    @property
    def arguments(self) -> tuple[int, int, bool, bool, int, bool, bool]:
        """Return what the kernels take."""
        return (
            self.low, self.high, self.wraps, self.apply, self.held, self.often, self.bias_last,
        )  # fmt: skip


def is_checked_often(largest_product: int, held: int, low: int, high: int) -> bool:
    """Tell whether comparing after eight terms could miss clipping.

    What was clipped off is at most the sum of the terms' magnitudes; below 2^16 it leaves a trace
    in 16 bits. And seven terms must not reach from one end of the register to the other.
    """
    reaches_across = (SELDOM - 1) * largest_product > high - low
    return reaches_across or (held != WORDS and SELDOM * largest_product >= LANE_CODES)


def padded_to_checks(terms: int) -> int:
    """Return the terms of a walk: products of zeros change nothing."""
    return -(-terms // SELDOM) * SELDOM


@dataclass(frozen=True, slots=True)
class Reach:
    """How far partial sums of a right operand's columns may go, int32 [2 + blocks, columns].

    The first row is of all terms, then one of each block; the last is 0.

    norms : lengths, rounded up
    below, above : the least and the largest partial sum of the constant in the left codes
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


def reach_of(b: IntArray, columns: int, centre: int) -> Reach:
    """Measure weights [K, N] for left codes around ``centre``; the last column repeats."""
    reach = Reach.empty(len(b), columns)
    measure_columns(b, reach.norms)
    edges = [0, *range(0, len(b), CHECKED_TERMS)]
    ends = [len(b), *(edge + CHECKED_TERMS for edge in edges[1:])]
    for row, (first, last) in enumerate(zip(edges, ends, strict=True)):
        sums = centre * np.cumsum(b[first:last], axis=0, dtype=np.int64)
        reach.below[row] = padded_columns(np.minimum(sums.min(axis=0), 0), columns)
        reach.above[row] = padded_columns(np.maximum(sums.max(axis=0), 0), columns)
    return reach


@kernel
def pack_lanes(b, out):  # type: ignore[no-untyped-def]
    """Write ``b`` [K, N] into int16 [groups, terms * 32], term by term; the last column repeats."""
    terms, count = b.shape
    for group in range(out.shape[0]):
        lanes = out[group]
        first = group * WALK_COLUMNS
        lanes[terms * WALK_COLUMNS :] = 0
        for k in range(terms):
            row = b[k]
            if first + WALK_COLUMNS <= count:
                for c in range(WALK_COLUMNS):
                    lanes[k * WALK_COLUMNS + c] = row[first + c]
            else:
                for c in range(WALK_COLUMNS):
                    lanes[k * WALK_COLUMNS + c] = row[min(first + c, count - 1)]


@kernel
def measure_columns(b, norms):  # type: ignore[no-untyped-def]
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
def whole_root(squares):  # type: ignore[no-untyped-def]
    """Return the root of an int32, rounded up.

    Below 2^31 a root that is no whole number is too far from any for a float64 to miss its side.
    """
    return np.int32(np.ceil(np.sqrt(np.float64(squares))))


@kernel
def measure_rows(a, start, count, centre, lengths):  # type: ignore[no-untyped-def]
    """Write lengths of rows of ``a - centre``, int32 [48, 1 + blocks]: all terms, each block."""
    terms = a.shape[1]
    middle = np.int32(centre)
    for i in range(count):
        row = a[start + i]
        whole = np.int32(0)
        for block in range(1, lengths.shape[1]):
            squares = np.int32(0)
            first = (block - 1) * CHECKED_TERMS
            for k in range(first, min(first + CHECKED_TERMS, terms)):
                code = np.int32(np.int32(row[k]) - middle)
                squares = np.int32(squares + np.int32(code * code))
            lengths[i, block] = whole_root(squares)
            whole = np.int32(whole + squares)
        lengths[i, 0] = whole_root(whole)


@kernel
def narrow_and_requantize(  # type: ignore[no-untyped-def]
    a, centre, shifted, panels, per_step, chunk, b, lanes, state, reach, corrections, biases,
    register, codes, twice, sums, flags, lengths, plain, words, extremes, counts, out, out_at,
    columns,
):  # fmt: skip
    """Requantize ``a @ b`` [M, N] out of narrow registers into ``out``; count the misfits.

    Parameters
    ----------
    a, shifted, panels, per_step, chunk, codes, sums, plain, words, out, out_at, columns
        see :func:`simulator.gemm.fused.multiply_and_requantize`; panels in twos
    centre
        what left codes lie around
    b, lanes, state
        codes [K, N], and int16 [groups, terms * 32] for :func:`pack_lanes`; ``state[0]`` tells
        whether they are packed already
    reach
        of :class:`Reach`
    corrections
        int32 [1 + blocks, padded columns]: what undoes the shift, of all terms and of each block
    biases
        int32 [4, padded columns]: what exact sums start with; what registers start with; -1 where
        that differs; what is added last
    register
        of :class:`Register`
    twice
        int32 [48, terms of a walk]: scratch, zeros behind the codes
    flags, lengths
        uint8 [48, panels], int32 [48, 1 + blocks]: scratch
    extremes
        int32 [2, 16]: least and largest exact sums, lane by lane; the second row is scratch
    counts
        int64 [4]: sums changed, transient, persistent; sums walked; added to
    """
    misfits = 0
    for start in range(0, a.shape[0], STRIP_ROWS):
        count = min(STRIP_ROWS, a.shape[0] - start)
        take_rows(a, start, count, shifted, codes)
        measure_rows(a, start, count, centre, lengths)
        flagged = sum_strip(
            count, panels, per_step, chunk, reach, corrections, biases, register, codes, sums,
            flags, lengths,
        )  # fmt: skip
        find_extremes(sums, count, extremes[0])
        if flagged:
            if not state[0]:
                pack_lanes(b, lanes)
                state[0] = True
            take_twice(a, start, count, twice)
            walk_flagged(count, lanes, biases, register, twice, sums, flags, columns, counts)
        place = out_at + start * columns
        misfits += requantize_strip(sums, count, plain, words, extremes[1], out, place, columns)
    return misfits


@kernel
def take_twice(a, start, count, twice):  # type: ignore[no-untyped-def]
    """Write each code into the lower and into the upper half of a word."""
    for i in range(count):
        row = a[start + i]
        for k in range(a.shape[1]):
            low = np.int32(row[k]) & np.int32(0xFFFF)
            twice[i, k] = np.int32(low | np.int32(low << 16))


@kernel
def sum_strip(  # type: ignore[no-untyped-def]
    count, panels, per_step, chunk, reach, corrections, biases, register, codes, sums, flags,
    lengths,
):  # fmt: skip
    """Make exact sums of a strip, bias included; flag groups that might overflow; say if any."""
    start_sums(biases[0], count, sums)
    blocks = lengths.shape[1] - 1
    flags[:] = 0
    if flag_strip(count, 0, 0, reach, register, sums, flags, lengths):
        flags[:] = 0
        for block in range(1, blocks + 1):
            first = (block - 1) * CHECKED_TERMS
            last = min(first + CHECKED_TERMS, codes.shape[1])
            flag_strip(count, block, block, reach, register, sums, flags, lengths)
            multiply_terms(codes, count, first, last, panels, per_step, chunk, sums)
            if per_step != PAIR:
                add_row(corrections[block], count, sums)
    else:
        multiply_terms(codes, count, 0, codes.shape[1], panels, per_step, chunk, sums)
        if per_step != PAIR:
            add_row(corrections[0], count, sums)
    if register[6]:
        add_row(biases[3], count, sums)
        flag_strip(count, blocks + 1, 0, reach, register, sums, flags, lengths)
    return has_flags(count, flags)


@kernel
def flag_strip(count, row, block, reach, register, sums, flags, lengths):  # type: ignore[no-untyped-def]
    """Flag the groups of a strip by one row of the reach; say whether any flag is set."""
    norms, below, above = reach
    width = sums.shape[1]
    flat_sums, flat_flags = sums.reshape(-1), flags.reshape(-1)
    for i in range(count):
        flag_row(  # type: ignore[call-arg]
            flat_sums, i * width, norms, below, above, row * width, lengths[i, block],
            register[0], register[1], flat_flags, i * flags.shape[1],
        )  # fmt: skip
    return has_flags(count, flags)


@kernel
def has_flags(count, flags):  # type: ignore[no-untyped-def]
    """Tell whether some group of a strip is flagged."""
    some = False
    for i in range(count):
        for panel in range(flags.shape[1]):
            some |= flags[i, panel] != 0
    return some


@kernel
def add_row(row, count, sums):  # type: ignore[no-untyped-def]
    """Add an int32 vector to each row of a strip."""
    for i in range(count):
        for j in range(sums.shape[1]):
            sums[i, j] += row[j]


@kernel
def find_extremes(sums, count, extremes):  # type: ignore[no-untyped-def]
    """Put the least and the largest sums of a strip into int32 [16]: all lanes alike."""
    least, most = extremes[0], extremes[8]
    for i in range(count):
        row = sums[i]
        for j in range(row.shape[0]):
            least = min(least, row[j])
            most = max(most, row[j])
    extremes[:8] = least
    extremes[8:] = most


@kernel
def walk_flagged(count, lanes, biases, register, twice, sums, flags, columns, counts):  # type: ignore[no-untyped-def]
    """Walk every group with a flag in it, 2 rows and 32 or 16 columns; put its sums in place."""
    if register[4] == WORDS:
        walk_in_words(count, lanes, biases, register, twice, sums, flags, columns, counts)
    else:
        walk_in_halves(count, lanes, biases, register, twice, sums, flags, columns, counts)


@kernel
def walk_in_words(count, lanes, biases, register, twice, sums, flags, columns, counts):  # type: ignore[no-untyped-def]
    """Walk groups of 16 columns in lanes of 32 bits."""
    low, high, wraps, apply, _, often, _ = register
    flat_codes, flat_sums, flat_lanes = twice.reshape(-1), sums.reshape(-1), lanes.reshape(-1)
    start, flagged, last = biases[1], biases[2], biases[3]
    terms = twice.shape[1]
    width = sums.shape[1]
    # One group's columns after the other: they stay in the first cache for all rows.
    for panel in range(flags.shape[1]):
        column = panel * TILE_COLUMNS
        place = panel // PANELS * lanes.shape[1] + panel % PANELS * TILE_COLUMNS
        for i in range(0, count, WALK_ROWS):
            rows = min(WALK_ROWS, count - i)
            some = False
            for r in range(i, i + rows):
                some |= flags[r, panel] != 0
            if not some:
                continue
            counts[3] += rows * max(min(TILE_COLUMNS, columns - column), 0)
            if often:
                walk_words_2(
                    flat_codes, i * terms, terms, flat_lanes, place, terms, start, flagged, last,
                    column, columns, rows, low, high, wraps, apply, flat_sums, i * width + column,
                    width, counts,
                )  # fmt: skip
            else:
                walk_words_8(
                    flat_codes, i * terms, terms, flat_lanes, place, terms, start, flagged, last,
                    column, columns, rows, low, high, wraps, apply, flat_sums, i * width + column,
                    width, counts,
                )  # fmt: skip


@kernel
def walk_in_halves(count, lanes, biases, register, twice, sums, flags, columns, counts):  # type: ignore[no-untyped-def]
    """Walk groups of 32 columns in lanes of 16 bits."""
    low, high, wraps, apply, held, often, _ = register
    flat_codes, flat_sums, flat_lanes = twice.reshape(-1), sums.reshape(-1), lanes.reshape(-1)
    start, flagged, last = biases[1], biases[2], biases[3]
    terms = twice.shape[1]
    width = sums.shape[1]
    for group in range(lanes.shape[0]):
        column = group * WALK_COLUMNS
        place = group * lanes.shape[1]
        for i in range(0, count, WALK_ROWS):
            rows = min(WALK_ROWS, count - i)
            some = False
            for r in range(i, i + rows):
                some |= flags[r, group * PANELS] != 0 or flags[r, group * PANELS + 1] != 0
            if not some:
                continue
            counts[3] += rows * min(WALK_COLUMNS, columns - column)
            if held == FULL_HALVES and often:
                walk_full_halves_2(
                    flat_codes, i * terms, terms, flat_lanes, place, terms, start, flagged, last,
                    column, columns, rows, low, high, wraps, apply, flat_sums, i * width + column,
                    width, counts,
                )  # fmt: skip
            elif held == FULL_HALVES:
                walk_full_halves_8(
                    flat_codes, i * terms, terms, flat_lanes, place, terms, start, flagged, last,
                    column, columns, rows, low, high, wraps, apply, flat_sums, i * width + column,
                    width, counts,
                )  # fmt: skip
            elif often:
                walk_halves_1(
                    flat_codes, i * terms, terms, flat_lanes, place, terms, start, flagged, last,
                    column, columns, rows, low, high, wraps, apply, flat_sums, i * width + column,
                    width, counts,
                )  # fmt: skip
            else:
                walk_halves_8(
                    flat_codes, i * terms, terms, flat_lanes, place, terms, start, flagged, last,
                    column, columns, rows, low, high, wraps, apply, flat_sums, i * width + column,
                    width, counts,
                )  # fmt: skip


@kernel
def narrow_activations(  # type: ignore[no-untyped-def]
    lefts, rights, transposed, panels, lanes, state, reach, corrections, biases, register, codes,
    twice, sums, flags, lengths, plain, words, extremes, counts, out,
):  # fmt: skip
    """Requantize ``lefts[i] @ rights[i]`` for every i; see above, and ``multiply_activations``."""
    columns = rights.shape[1] if transposed else rights.shape[2]
    turned = np.empty((rights.shape[2], rights.shape[1]), rights.dtype)
    misfits = 0
    for i in range(lefts.shape[0]):
        b = rights[i]
        if transposed:
            transpose_codes(b, turned)
            b = turned
        pack_pairs(b, panels)
        measure_columns(b, reach[0])
        state[0] = False
        misfits += narrow_and_requantize(
            lefts[i], 0, 0, panels, PAIR, 0, b, lanes, state, reach, corrections, biases, register,
            codes, twice, sums, flags, lengths, plain, words, extremes, counts, out,
            i * lefts.shape[1] * columns, columns,
        )  # fmt: skip
    return misfits
