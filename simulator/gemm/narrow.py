# SPDX-License-Identifier: Apache-2.0
"""Products through one narrow register per sum, without the price of walking every sum.

Exact sums first, a block of terms at a time. Before each block the exact partial sum and the
lengths of the block's two vectors bound every partial sum inside it; only groups of sums that
might leave the register are then made again term by term, many side by side.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simulator.gemm.fused import requantize_strip
from simulator.gemm.narrow_tile import (
    WALK_COLUMNS,
    WALK_ROWS,
    flag_row,
    walk_full_halves,
    walk_halves,
    walk_words,
)
from simulator.gemm.packing import (
    PAIR,
    STRIP_ROWS,
    multiply_terms,
    pack_pairs,
    take_rows,
    transpose_codes,
)
from simulator.gemm.tile import TILE_COLUMNS
from simulator.numerics.jit import kernel

CHECKED_TERMS = 64  # of a block
PANELS = WALK_COLUMNS // TILE_COLUMNS
FULL_HALVES, HALVES, WORDS = 0, 1, 2  # how registers are held
LANE_CODES = 1 << 16
WIDEST = 30  # bits of a register that still has room for a product in 32 bits


@dataclass(frozen=True, slots=True)
class Register:
    """One register of a narrow accumulator.

    low, high : its smallest and largest code
    wraps : whether it wraps, or saturates
    apply : whether its overflow changes sums, or is only counted
    held : one of the three above
    per_check : terms after which clipping is looked for
    """

    low: int
    high: int
    wraps: bool
    apply: bool
    held: int
    per_check: int

    @property
    def arguments(self) -> tuple[int, int, bool, bool, int, int]:
        """Return what the kernels take."""
        return self.low, self.high, self.wraps, self.apply, self.held, self.per_check


def checked_after(largest_product: int) -> int:
    """Return after how many terms a comparison in 16 bits still finds all clipping: 1, 2, 4 … 64.

    What was clipped off is at most the sum of the terms' magnitudes; below 2^16 it leaves a trace.
    """
    terms = (LANE_CODES - 1) // max(largest_product, 1)
    return 1 << min(terms.bit_length() - 1, 6)


def padded_to_checks(terms: int, per_check: int) -> int:
    """Return the terms of a walk: products of zeros change nothing."""
    return -(-terms // per_check) * per_check


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
    """Lengths of blocks of the columns of ``b`` [K, N], rounded up, int32 [blocks, N or more]."""
    terms, count = b.shape
    squares = np.empty(count, np.int32)
    for block in range(norms.shape[0]):
        squares[:] = 0
        first = block * CHECKED_TERMS
        for k in range(first, min(first + CHECKED_TERMS, terms)):
            for j in range(count):
                code = np.int32(b[k, j])
                squares[j] = np.int32(squares[j] + np.int32(code * code))
        for j in range(norms.shape[1]):
            norms[block, j] = whole_root(squares[min(j, count - 1)])


@kernel
def whole_root(squares):  # type: ignore[no-untyped-def]
    """Return the root of an int32, rounded up.

    64 squares of 8-bit codes stay below 2^23. There a root that is no whole number is too far from
    any for a float64 to miss its side.
    """
    return np.int32(np.ceil(np.sqrt(np.float64(squares))))


@kernel
def length_of(codes, first, last):  # type: ignore[no-untyped-def]
    """Return a whole number that is not below the length of ``codes[first:last]``."""
    squares = np.int32(0)
    for k in range(first, last):
        code = np.int32(codes[k])
        squares = np.int32(squares + np.int32(code * code))
    return whole_root(squares)


@kernel
def narrow_and_requantize(  # type: ignore[no-untyped-def]
    a, shifted, panels, per_step, chunk, lanes, norms, corrections, biases, register, codes, exact,
    sums, flags, plain, words, extremes, counts, out, out_at, columns,
):  # fmt: skip
    """Requantize ``a @ b`` [M, N] out of narrow registers into ``out``; count the misfits.

    Parameters
    ----------
    a, shifted, panels, per_step, chunk, codes, sums, plain, words, out, out_at, columns
        see :func:`simulator.gemm.fused.multiply_and_requantize`; panels in twos
    lanes, norms
        of :func:`pack_lanes` and :func:`measure_columns`
    corrections
        int32 [blocks, padded columns]: what undoes the shift of each block
    biases
        int32 [4, padded columns]: what exact sums start with; what registers start with; -1 where
        that differs; what is added last
    register
        of :class:`Register`
    exact
        int16 [48, terms of a walk]: scratch, zeros behind the codes
    flags
        uint8 [48, panels]: scratch
    extremes
        int32 [2, 16]: least and largest exact sums, lane by lane; the second row is scratch
    counts
        int64 [4]: sums changed, transient, persistent; sums walked; added to
    """
    misfits = 0
    for start in range(0, a.shape[0], STRIP_ROWS):
        count = min(STRIP_ROWS, a.shape[0] - start)
        take_rows(a, start, count, shifted, codes)
        take_rows(a, start, count, 0, exact)
        sum_blocks(
            count, a.shape[1], panels, per_step, chunk, norms, corrections, biases, register,
            codes, exact, sums, flags,
        )  # fmt: skip
        find_extremes(sums, count, extremes[0])
        walk_flagged(count, lanes, biases, register, exact, sums, flags, columns, counts)
        place = out_at + start * columns
        misfits += requantize_strip(sums, count, plain, words, extremes[1], out, place, columns)
    return misfits


@kernel
def sum_blocks(  # type: ignore[no-untyped-def]
    count, terms, panels, per_step, chunk, norms, corrections, biases, register, codes, exact,
    sums, flags,
):  # fmt: skip
    """Make exact sums of a strip, bias included; flag the groups that might overflow."""
    low, high = register[0], register[1]
    width = sums.shape[1]
    flat_sums, flat_flags = sums.reshape(-1), flags.reshape(-1)
    flat_flags[:] = 0
    for i in range(count):
        for j in range(width):
            sums[i, j] = biases[0, j]
    for block in range(norms.shape[0]):
        first = block * CHECKED_TERMS
        for i in range(count):
            norm = length_of(exact[i], first, min(first + CHECKED_TERMS, terms))
            flag_row(  # type: ignore[call-arg]
                flat_sums, i * width, norms, block * width, norm, low, high, flat_flags,
                i * flags.shape[1],
            )  # fmt: skip
        last = min(first + CHECKED_TERMS, codes.shape[1])
        multiply_terms(codes, count, first, last, panels, per_step, chunk, sums)
        if per_step != PAIR:
            for i in range(count):
                for j in range(width):
                    sums[i, j] += corrections[block, j]
    for i in range(count):
        for j in range(width):
            sums[i, j] += biases[3, j]
        flag_row(  # type: ignore[call-arg]
            flat_sums, i * width, norms, 0, 0, low, high, flat_flags, i * flags.shape[1]
        )


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
def walk_flagged(count, lanes, biases, register, exact, sums, flags, columns, counts):  # type: ignore[no-untyped-def]
    """Walk every group of 3 rows and 32 columns with a flag in it; put its sums in place."""
    low, high, wraps, apply, held, per_check = register
    flat_exact, flat_sums, flat_lanes = exact.reshape(-1), sums.reshape(-1), lanes.reshape(-1)
    start, flagged, last = biases[1], biases[2], biases[3]
    terms = exact.shape[1]
    width = sums.shape[1]
    for i in range(0, count, WALK_ROWS):
        rows = min(WALK_ROWS, count - i)
        for group in range(lanes.shape[0]):
            some = False
            for r in range(rows):
                for panel in range(PANELS):
                    some |= flags[i + r, group * PANELS + panel] != 0
            if not some:
                continue
            column = group * WALK_COLUMNS
            counts[3] += rows * min(WALK_COLUMNS, columns - column)
            place = group * lanes.shape[1]
            if held == FULL_HALVES:
                walk_full_halves(
                    flat_exact, i * terms, terms, flat_lanes, place, terms, per_check, start,
                    flagged, last, column, columns, rows, low, high, wraps, apply, flat_sums,
                    i * width + column, width, counts,
                )  # fmt: skip
            elif held == HALVES:
                walk_halves(
                    flat_exact, i * terms, terms, flat_lanes, place, terms, per_check, start,
                    flagged, last, column, columns, rows, low, high, wraps, apply, flat_sums,
                    i * width + column, width, counts,
                )  # fmt: skip
            else:
                for half in range(0, WALK_COLUMNS, TILE_COLUMNS):
                    walk_words(
                        flat_exact, i * terms, terms, flat_lanes, place + half, terms, per_check,
                        start, flagged, last, column + half, columns, rows, low, high, wraps,
                        apply, flat_sums, i * width + column + half, width, counts,
                    )  # fmt: skip


@kernel
def narrow_activations(  # type: ignore[no-untyped-def]
    lefts, rights, transposed, panels, lanes, norms, corrections, biases, register, codes, exact,
    sums, flags, plain, words, extremes, counts, out,
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
        pack_lanes(b, lanes)
        measure_columns(b, norms)
        misfits += narrow_and_requantize(
            lefts[i], 0, panels, PAIR, 0, lanes, norms, corrections, biases, register, codes,
            exact, sums, flags, plain, words, extremes, counts, out,
            i * lefts.shape[1] * columns, columns,
        )  # fmt: skip
    return misfits
