# SPDX-License-Identifier: Apache-2.0
"""Products through one narrow register per sum, without the price of accumulating all in order.

Exact sums first. The lengths of the two vectors bound every partial sum; where that is too coarse
for some sum of a strip, its product is made a block of terms at a time, and the exact partial sum
before each block and the lengths of the block's vectors bound what is inside. Left codes are taken
apart for it: a constant, the zero point, whose partial sums are known for each column, and what is
left, which is short. Only groups of sums that might leave the register are then made again term by
term, many side by side.
"""

from __future__ import annotations

import numpy as np

from simulator.numerics.jit import kernel
from simulator.simd.product.fused import requantize_strip
from simulator.simd.product.narrow_bounds import CHECKED_TERMS, measure_columns
from simulator.simd.product.narrow_flags import flag_row
from simulator.simd.product.narrow_in_order import accumulate_flagged, pack_lanes
from simulator.simd.product.narrow_rows import measure_rows, measure_turned, turn_rows
from simulator.simd.product.packing import (
    PAIR,
    STRIP_ROWS,
    multiply_terms,
    pack_pairs,
    pack_pairs_of_columns,
    start_sums,
    take_rows,
    transpose_codes,
)


@kernel
def narrow_and_requantize(
    a, centre, shifted, panels, per_step, chunk, b, lanes, state, reach, corrections, biases,
    register, codes, twice, turned, sums, flags, lengths, requantizer, extremes, counts, out,
    out_at, columns,
):  # fmt: skip
    """Requantize ``a @ b`` [M, N] out of narrow registers into ``out``; count what saturates.

    Parameters
    ----------
    a, shifted, panels, per_step, chunk, codes, sums, requantizer, out, out_at, columns
        see :func:`simulator.simd.product.fused.multiply_and_requantize`; panels in twos
    centre
        what left codes lie around
    b, lanes, state
        codes [K, N], or [N, K] where ``state[1]``, and int16 [groups, terms * 32] for
        :func:`pack_lanes`, zeros at its end; ``state[0]`` tells whether they are packed already
    reach
        of :class:`Reach`
    corrections
        int32 [1 + blocks, padded columns]: what undoes the shift, of all terms and of each block
    biases
        int32 [4, padded columns]: what exact sums start with; what registers start with; -1 where
        that differs; what is added last
    register
        of :class:`Register`
    twice, turned
        int32 [48, padded terms], int16 [2, padded terms * 32]: scratch, zeros behind the codes
    flags, lengths
        uint8 [2, 48, columns / 8], int32 [48, 1 + blocks]: scratch
    extremes
        int32 [2, 16]: least and largest exact sums, lane by lane; the second row is scratch
    counts
        int64 [4]: sums changed, transient, persistent; sums accumulated in order; added to
    """
    saturated = 0
    for start in range(0, a.shape[0], STRIP_ROWS):
        count = min(STRIP_ROWS, a.shape[0] - start)
        take_rows(a, start, count, shifted, codes)
        measure_rows(a, start, count, centre, lengths)
        flagged = sum_strip(
            count, panels, per_step, chunk, reach, corrections, biases, register, codes, sums,
            flags, lengths,
        )  # fmt: skip
        seen = extremes[0]
        if flagged:
            find_extremes(sums, count, seen)
            seen = extremes[1]  # of what registers hold: not looked at
            if not state[0]:
                if state[1]:
                    turn_rows(b, 0, b.shape[0], lanes)
                else:
                    pack_lanes(b, lanes)
                state[0] = True
            accumulate_flagged(
                a, start, count, lanes, biases, register, twice, turned, sums, flags[0], columns,
                counts,
            )  # fmt: skip
        place = out_at + start * columns
        saturated += requantize_strip(sums, count, requantizer, seen, out, place, columns)
    return saturated


@kernel
def sum_strip(
    count, panels, per_step, chunk, reach, corrections, biases, register, codes, sums, flags,
    lengths,
):  # fmt: skip
    """Make exact sums of a strip, bias included; flag sums that might overflow; say if any.

    If the bound on all terms flags some, that of the first block tells whether bounds of blocks
    are worth their time: where it alone flags more than half as many, nearly all registers are too
    narrow for any bound, and the flags of the first stay.
    """
    whole, flagged = flags[0], flags[1]
    start_sums(biases[0], count, sums)
    blocks = lengths.shape[1] - 1
    whole[:] = 0
    suspects = 0
    if reaches_out(count, reach, register, sums, flagged, lengths):
        suspects = flag_strip(count, 0, 0, reach, register, sums, whole, lengths)
    flagged[:] = 0
    by_blocks = suspects and (
        2 * flag_strip(count, 1, 1, reach, register, sums, flagged, lengths) < suspects
    )
    if by_blocks:
        for block in range(1, blocks + 1):
            first = (block - 1) * CHECKED_TERMS
            last = min(first + CHECKED_TERMS, codes.shape[1])
            if block > 1:
                flag_strip(count, block, block, reach, register, sums, flagged, lengths)
            multiply_terms(codes, count, first, last, panels, per_step, chunk, sums)
            if per_step != PAIR:
                add_row(corrections[block], count, sums)
        whole[:] = flagged
    else:
        multiply_terms(codes, count, 0, codes.shape[1], panels, per_step, chunk, sums)
        if per_step != PAIR:
            add_row(corrections[0], count, sums)
    if register[6]:
        add_row(biases[3], count, sums)
        flag_strip(count, blocks + 1, 0, reach, register, sums, whole, lengths)
    return count_flags(count, whole) != 0


@kernel
def reaches_out(count, reach, register, sums, flags, lengths):
    """Tell whether sums of a row as long as a strip's longest might overflow, with rows alike."""
    norms, below, above = reach
    longest = np.int32(0)
    for i in range(count):
        longest = max(longest, lengths[i, 0])
    flags[0] = 0
    flag_row(
        sums.reshape(-1), 0, norms, below, above, 0, longest, register[0], register[1],
        flags.reshape(-1), 0,
    )  # fmt: skip
    return count_flags(1, flags) != 0


@kernel
def flag_strip(count, row, block, reach, register, sums, flags, lengths):
    """Flag the sums of a strip by one row of the reach; return how many eights have a flag."""
    norms, below, above = reach
    width = sums.shape[1]
    flat_sums, flat_flags = sums.reshape(-1), flags.reshape(-1)
    for i in range(count):
        flag_row(
            flat_sums, i * width, norms, below, above, row * width, lengths[i, block],
            register[0], register[1], flat_flags, i * flags.shape[1],
        )  # fmt: skip
    return count_flags(count, flags)


@kernel
def count_flags(count, flags):
    """Return how many of the eights of sums of a strip have a flag."""
    found = 0
    for i in range(count):
        for place in range(flags.shape[1]):
            found += flags[i, place] != 0
    return found


@kernel
def add_row(row, count, sums):
    """Add an int32 vector to each row of a strip."""
    for i in range(count):
        for j in range(sums.shape[1]):
            sums[i, j] += row[j]


@kernel
def find_extremes(sums, count, extremes):
    """Put the least and the largest sums so far into int32 [16], all lanes alike."""
    least, most = extremes[:8].min(), extremes[8:].max()
    for i in range(count):
        row = sums[i]
        for j in range(row.shape[0]):
            least = min(least, row[j])
            most = max(most, row[j])
    extremes[:8] = least
    extremes[8:] = most


@kernel
def narrow_activations(
    lefts, rights, transposed, signed, panels, lanes, state, reach, corrections, biases, register,
    codes, twice, turned, sums, flags, lengths, requantizer, extremes, counts, out,
):  # fmt: skip
    """Requantize ``lefts[i] @ rights[i]`` for every i; see above, and ``multiply_activations``."""
    columns = rights.shape[1] if transposed else rights.shape[2]
    upright = np.empty((rights.shape[2], rights.shape[1]), rights.dtype)
    state[1] = transposed
    saturated = 0
    for i in range(lefts.shape[0]):
        b = rights[i]
        if transposed and b.shape[1] % PAIR == 0:
            pack_pairs_of_columns(b, signed, panels)
        elif transposed:
            transpose_codes(b, upright)
            pack_pairs(upright, panels)
        else:
            pack_pairs(b, panels)
        if transposed:
            measure_turned(b, lengths, reach[0])
        else:
            measure_columns(b, reach[0])
        state[0] = False
        saturated += narrow_and_requantize(
            lefts[i], 0, 0, panels, PAIR, 0, b, lanes, state, reach, corrections, biases, register,
            codes, twice, turned, sums, flags, lengths, requantizer, extremes, counts, out,
            i * lefts.shape[1] * columns, columns,
        )  # fmt: skip
    return saturated
