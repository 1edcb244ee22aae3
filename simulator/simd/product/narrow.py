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

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from simulator.numerics.jit import kernel
from simulator.simd.product.forms import Form
from simulator.simd.product.fused import pack_right_pairs, pack_right_quads, requantize_strip
from simulator.simd.product.narrow_bounds import CHECKED_TERMS, measure_columns
from simulator.simd.product.narrow_flags import FLAGGED_ROWS, flag_rows
from simulator.simd.product.narrow_in_order import accumulate_flagged, pack_lanes
from simulator.simd.product.narrow_rows import measure_rows, measure_turned, turn_rows
from simulator.simd.product.packing import (
    STRIP_ROWS,
    multiply_from,
    multiply_terms,
    take_rows,
)
from simulator.simd.product.quads import sum_columns


@kernel
def narrow_and_requantize(
    a, centre, shifted, panels, per_step, chunk, b, lanes, state, reach, biases, register, codes,
    twice, turned, sums, flags, lengths, requantizer, extremes, counts, out, out_at, columns,
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
    biases
        int32 [4, padded columns]: what exact sums start with, what undoes the shift included; what
        registers start with; -1 where that is not the bias; what is added last
    register
        of :class:`Register`
    twice, turned
        int32 [48, padded terms], int16 [2, padded terms * 32]: scratch, zeros behind the codes
    flags, lengths
        uint8 [2, 6, columns / 8], int32 [48, 1 + blocks]: scratch
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
            count, panels, per_step, chunk, reach, biases, register, codes, sums, flags, lengths
        )
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
def sum_strip(count, panels, per_step, chunk, reach, biases, register, codes, sums, flags, lengths):
    """Make exact sums of a strip, bias included; flag sums that might overflow; say if any.

    If the bound on all terms flags some, that of the first block tells whether bounds of blocks
    are worth their time: where it alone flags half as many, nearly all registers are too narrow for
    any bound, and the flags of the first stay.
    """
    none, one = np.int64(0), np.int64(1)  # no literals: each would make a kernel of its own
    whole, flagged = flags[0], flags[1]
    start, flat, width = biases[0], sums.reshape(-1), sums.shape[1]
    blocks = lengths.shape[1] - 1
    whole[:] = 0
    flagged[:] = 0
    suspects = 0
    if reaches_out(count, reach, register, start, flagged, lengths):
        suspects = flag_strip(count, none, none, reach, register, start, none, whole, lengths)
        flagged[0] = 0
    first, last = 0, codes.shape[1]
    if suspects and (
        2 * flag_strip(count, one, one, reach, register, start, none, flagged, lengths) < suspects
    ):
        last = min(CHECKED_TERMS, last)
        whole[:] = 0
    multiply_from(start, codes, count, 0, last, panels, per_step, chunk, flat, 0, width)
    for block in range(2, blocks + 1):
        first, last = last, min(last + CHECKED_TERMS, codes.shape[1])
        if first == last:
            break
        flag_strip(count, block, block, reach, register, flat, width, flagged, lengths)
        multiply_terms(codes, count, first, last, panels, per_step, chunk, sums)
    if suspects:
        np.bitwise_or(whole, flagged, whole)
    if register[6]:
        add_row(biases[3], count, sums)
        flag_strip(count, blocks + 1, none, reach, register, flat, width, whole, lengths)
    return count_flags(whole) != 0


@kernel
def reaches_out(count, reach, register, start, flags, lengths):
    """Tell whether sums of a row as long as a strip's longest might overflow, with rows alike."""
    norms, below, above = reach
    longest = find_longest(np.int64(0), count, np.int64(0), lengths)
    flag_rows(
        start, 0, 1, 1, norms, below, above, 0, longest, register[0], register[1],
        flags.reshape(-1), 0,
    )  # fmt: skip
    return count_flags(flags) != 0


@kernel
def flag_strip(count, row, block, reach, register, sums, stride, flags, lengths):
    """Flag columns of each few rows by one row of the reach; return how many eights have a flag.

    ``sums`` is flat; its rows begin ``stride`` apart; 0: they are alike.
    """
    norms, below, above = reach
    flat_flags = flags.reshape(-1)
    for i in range(0, count, FLAGGED_ROWS):
        rows = min(FLAGGED_ROWS, count - i)
        longest = find_longest(i, rows, block, lengths)
        flag_rows(
            sums, i * stride, max(stride, 1), rows if stride else 1, norms, below, above,
            row * norms.shape[1], longest, register[0], register[1], flat_flags,
            i // FLAGGED_ROWS * flags.shape[1],
        )  # fmt: skip
    return count_flags(flags)


@kernel
def find_longest(first, rows, block, lengths):
    """Return the largest length of some rows."""
    longest = np.int32(0)
    for i in range(first, first + rows):
        longest = max(longest, lengths[i, block])
    return longest


@kernel
def count_flags(flags):
    """Return how many eights of columns have a flag, over all few rows."""
    found = 0
    for i in range(flags.shape[0]):
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


def _narrow_activations_by(pack_right: Any) -> Any:
    """Return the kernel of products of activations whose right operands are packed in one way."""

    @kernel
    def narrow_activations(
        lefts, rights, transposed, shifted, panels, per_step, lanes, state, reach, biases, register,
        codes, twice, turned, sums, flags, lengths, requantizer, extremes, counts, out,
    ):  # fmt: skip
        """Requantize ``lefts[i] @ rights[i]`` for every i; see ``MULTIPLY_ACTIVATIONS``, too.

        ``state``, ``reach`` and ``biases`` are zeros: there is no bias.
        """
        columns = rights.shape[1] if transposed else rights.shape[2]
        upright = np.empty((rights.shape[2], rights.shape[1]), rights.dtype)
        state[1] = transposed
        saturated = 0
        for i in range(lefts.shape[0]):
            b = rights[i]
            pack_right(b, transposed, upright, shifted, panels, biases[0])
            if shifted:
                shift_reach(panels, codes.shape[1], shifted, reach)
            if transposed:
                measure_turned(b, lengths, reach[0])
            else:
                measure_columns(b, reach[0])
            state[0] = False
            saturated += narrow_and_requantize(
                lefts[i], 0, shifted, panels, per_step, 0, b, lanes, state, reach, biases, register,
                codes, twice, turned, sums, flags, lengths, requantizer, extremes, counts, out,
                i * lefts.shape[1] * columns, columns,
            )  # fmt: skip
        return saturated

    return narrow_activations


@kernel
def shift_reach(panels, terms, shifted, reach):
    """Write what later terms take off sums again; see :class:`Reach`. There is no other constant.

    Of quads: with pairs, nothing is shifted.
    """
    _, below, above = reach
    for row in range(below.shape[0] - 1):
        first = max(row - 1, 0) * CHECKED_TERMS
        sum_columns(panels, first, terms, shifted, below[row])
        above[row] = below[row]


NARROW_ACTIVATIONS: Mapping[Form, Any] = MappingProxyType(
    {
        Form.PAIRS: _narrow_activations_by(pack_right_pairs),
        Form.VNNI: _narrow_activations_by(pack_right_quads),
    }
)
