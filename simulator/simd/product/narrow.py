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
from simulator.simd.product.forms import PAIR, QUAD, Form
from simulator.simd.product.fused import requantize_strip
from simulator.simd.product.narrow_bounds import CHECKED_TERMS, measure_columns, measure_rows
from simulator.simd.product.narrow_flags import flag_row
from simulator.simd.product.narrow_in_order import accumulate_flagged, pack_lanes, take_twice
from simulator.simd.product.packing import (
    STRIP_ROWS,
    multiply_terms,
    pack_pairs,
    start_sums,
    take_rows,
    transpose_codes,
)
from simulator.simd.product.quads import pack_quads, sum_columns
from simulator.simd.product.tile import TILE_COLUMNS


@kernel
def narrow_and_requantize(
    a, centre, shifted, panels, per_step, chunk, b, lanes, state, reach, corrections, biases,
    register, codes, twice, sums, flags, lengths, requantizer, extremes, counts, out, out_at,
    columns,
):  # fmt: skip
    """Requantize ``a @ b`` [M, N] out of narrow registers into ``out``; count what saturates.

    Parameters
    ----------
    a, shifted, panels, per_step, chunk, codes, sums, requantizer, out, out_at, columns
        see :func:`simulator.simd.product.fused.multiply_and_requantize`; panels in twos
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
        int32 [48, padded terms]: scratch, zeros behind the codes
    flags, lengths
        uint8 [48, panels], int32 [48, 1 + blocks]: scratch
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
        find_extremes(sums, count, extremes[0])
        if flagged:
            if not state[0]:
                pack_lanes(b, lanes)
                state[0] = True
            take_twice(a, start, count, twice)
            accumulate_flagged(count, lanes, biases, register, twice, sums, flags, columns, counts)
        place = out_at + start * columns
        saturated += requantize_strip(sums, count, requantizer, extremes[1], out, place, columns)
    return saturated


@kernel
def sum_strip(
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
def flag_strip(count, row, block, reach, register, sums, flags, lengths):
    """Flag the groups of a strip by one row of the reach; say whether any flag is set."""
    norms, below, above = reach
    width = sums.shape[1]
    flat_sums, flat_flags = sums.reshape(-1), flags.reshape(-1)
    for i in range(count):
        flag_row(
            flat_sums, i * width, norms, below, above, row * width, lengths[i, block],
            register[0], register[1], flat_flags, i * flags.shape[1],
        )  # fmt: skip
    return has_flags(count, flags)


@kernel
def has_flags(count, flags):
    """Tell whether some group of a strip is flagged."""
    some = False
    for i in range(count):
        for panel in range(flags.shape[1]):
            some |= flags[i, panel] != 0
    return some


@kernel
def add_row(row, count, sums):
    """Add an int32 vector to each row of a strip."""
    for i in range(count):
        for j in range(sums.shape[1]):
            sums[i, j] += row[j]


@kernel
def find_extremes(sums, count, extremes):
    """Put the least and the largest sums of a strip into int32 [16]: all lanes alike."""
    least, most = extremes[0], extremes[8]
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
        lefts, rights, transposed, shifted, panels, per_step, lanes, state, reach, corrections,
        biases, register, codes, twice, sums, flags, lengths, requantizer, extremes, counts, out,
    ):  # fmt: skip
        """Requantize ``lefts[i] @ rights[i]`` for every i; see ``MULTIPLY_ACTIVATIONS``, too.

        ``corrections`` is as above, and scratch.
        """
        columns = rights.shape[1] if transposed else rights.shape[2]
        turned = np.empty((rights.shape[2], rights.shape[1]), rights.dtype)
        saturated = 0
        for i in range(lefts.shape[0]):
            b = rights[i]
            if transposed:
                transpose_codes(b, turned)
                b = turned
            pack_right(b, shifted, panels, corrections)
            measure_columns(b, reach[0])
            state[0] = False
            saturated += narrow_and_requantize(
                lefts[i], 0, shifted, panels, per_step, 0, b, lanes, state, reach, corrections,
                biases, register, codes, twice, sums, flags, lengths, requantizer, extremes, counts,
                out, i * lefts.shape[1] * columns, columns,
            )  # fmt: skip
        return saturated

    return narrow_activations


@kernel
def _pack_pairs(b, shifted, panels, corrections):
    pack_pairs(b, panels)


@kernel
def _pack_quads(b, shifted, panels, corrections):
    """Pack [K, N]; set what undoes the shift of left codes, of all terms and of each block."""
    pack_quads(b, panels)
    padded = panels.shape[1] // TILE_COLUMNS * QUAD
    sum_columns(panels, 0, padded, -shifted, corrections[0])
    for block in range(1, corrections.shape[0]):
        first = (block - 1) * CHECKED_TERMS
        sum_columns(panels, first, min(first + CHECKED_TERMS, padded), -shifted, corrections[block])


NARROW_ACTIVATIONS: Mapping[Form, Any] = MappingProxyType(
    {
        Form.PAIRS: _narrow_activations_by(_pack_pairs),
        Form.VNNI: _narrow_activations_by(_pack_quads),
    }
)
