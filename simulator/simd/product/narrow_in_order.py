# SPDX-License-Identifier: Apache-2.0
"""Sums that may overflow, made again term by term, many side by side.

Side by side lie columns of one row, or rows of one column: whichever takes fewer sums in to reach
all flagged ones. Where registers drift out of range, they mostly do so in a few columns, for all
rows.
"""

from __future__ import annotations

import numpy as np

from simulator.numerics.jit import kernel
from simulator.simd.lanes.vectors import LANES
from simulator.simd.product.narrow_bounds import CLIPPED_I16, CLIPPED_I32
from simulator.simd.product.narrow_flags import FLAGGED_ROWS
from simulator.simd.product.narrow_rows import turn_rows
from simulator.simd.product.narrow_tile import (
    NARROW_COLUMNS,
    NARROW_ROWS,
    accumulate_full_i16_2,
    accumulate_full_i16_8,
    accumulate_i16_1,
    accumulate_i32_2,
)
from simulator.simd.product.packing import STRIP_ROWS
from simulator.simd.product.tile import TILE_COLUMNS

TURNED_ROWS = -(-STRIP_ROWS // NARROW_COLUMNS) * NARROW_COLUMNS


@kernel
def pack_lanes(b, out):
    """Write ``b`` [K, N] into int16 [groups, terms * 32], term by term; the last column repeats."""
    terms, count = b.shape
    for group in range(out.shape[0]):
        lanes = out[group]
        first = group * NARROW_COLUMNS
        lanes[terms * NARROW_COLUMNS :] = 0
        for k in range(terms):
            row = b[k]
            if first + NARROW_COLUMNS <= count:
                for c in range(NARROW_COLUMNS):
                    lanes[k * NARROW_COLUMNS + c] = row[first + c]
            else:
                for c in range(NARROW_COLUMNS):
                    lanes[k * NARROW_COLUMNS + c] = row[min(first + c, count - 1)]


@kernel
def take_twice(a, start, count, twice):
    """Write each code into the lower and into the upper half of a lane of 32 bits."""
    for i in range(count):
        row = a[start + i]
        for k in range(a.shape[1]):
            low = np.int32(row[k]) & np.int32(0xFFFF)
            twice[i, k] = np.int32(low | np.int32(low << 16))


@kernel
def accumulate_flagged(
    a, first, count, lanes, biases, register, twice, turned, sums, flags, columns, counts
):
    """Accumulate flagged sums of a strip in order, and others beside them; put them in place.

    Parameters
    ----------
    a, first, count
        left codes [M, K], and which rows of them the strip is
    lanes, biases, register, twice, turned, sums, columns, counts
        see :func:`simulator.simd.product.narrow.narrow_and_requantize`
    flags
        uint8 [6, columns / 8]: a bit for each column of 8 rows
    """
    width = TILE_COLUMNS if register[4] == CLIPPED_I32 else NARROW_COLUMNS
    chosen = np.empty(NARROW_COLUMNS, np.int64)
    has_twice, has_turned = False, False
    # One group's columns after the other: they stay in the first cache for all rows.
    for column in range(0, sums.shape[1], width):
        found = flagged_columns(column, min(width, columns - column), flags, chosen)
        if not found:
            continue
        # Columns are gathered and put back: that takes half as long again.
        by_columns = -(-found // NARROW_ROWS) * -(-count // width)
        if 3 * by_columns < 2 * flagged_tiles(count, column, width, flags):
            if not has_turned:
                turn_rows(a, first, count, turned)
                has_turned = True
            accumulate_columns(
                count, chosen[:found], width, lanes, biases, register, turned, sums, counts
            )
        else:
            if not has_twice:
                take_twice(a, first, count, twice)
                has_twice = True
            accumulate_rows(
                count, column, width, lanes, biases, register, twice, sums, flags, columns, counts
            )


@kernel
def flagged_columns(first, width, flags, chosen):
    """List those of ``width`` columns in which some row is flagged; return how many there are."""
    found = 0
    for eight in range(first, first + width, LANES):
        bits = 0
        for i in range(flags.shape[0]):
            bits |= flags[i, eight // LANES]
        for lane in range(min(LANES, first + width - eight)):
            if bits >> lane & 1:
                chosen[found] = eight + lane
                found += 1
    return found


@kernel
def flagged_tiles(count, column, width, flags):
    """Return how many tiles of rows have a flag among ``width`` columns."""
    found = 0
    for i in range(0, count, NARROW_ROWS):
        found += is_flagged(i, column, width, flags)
    return found


@kernel
def is_flagged(i, column, width, flags):
    """Tell whether rows of a tile, which have their flags together, have one among some columns."""
    bits = 0
    for place in range(column // LANES, (column + width) // LANES):
        bits |= flags[i // FLAGGED_ROWS, place]
    return bits != 0


@kernel
def accumulate_rows(
    count, column, width, lanes, biases, register, twice, sums, flags, columns, counts
):
    """Accumulate the flagged rows, a tile of them at a time, ``width`` columns side by side."""
    terms, stride = twice.shape[1], sums.shape[1]
    place = column // NARROW_COLUMNS * lanes.shape[1] + column % NARROW_COLUMNS
    tiles = np.empty((STRIP_ROWS // NARROW_ROWS, 5), np.int64)
    number = np.int64(0)
    for i in range(0, count, NARROW_ROWS):
        if is_flagged(i, column, width, flags):
            rows = min(NARROW_ROWS, count - i)
            counts[3] += rows * min(width, columns - column)
            put_tile(tiles, number, i * terms, place, column, rows, i * stride + column)
            number += 1
    accumulate_tiles(
        register, tiles, number, twice.reshape(-1), lanes.reshape(-1), terms, biases[1], biases[2],
        biases[3], np.int64(0), columns, sums.reshape(-1), stride, counts,
    )  # fmt: skip


@kernel
def put_tile(tiles, number, codes_at, lanes_at, column, rows, sums_at):
    """Write one of the tiles that :mod:`simulator.simd.product.narrow_tile` takes."""
    tile = tiles[number]
    tile[0], tile[1], tile[2], tile[3], tile[4] = codes_at, lanes_at, column, rows, sums_at


@kernel
def accumulate_columns(count, chosen, width, lanes, biases, register, turned, sums, counts):
    """Accumulate chosen columns, a tile of them at a time, ``width`` rows side by side."""
    terms = turned.shape[1] // NARROW_COLUMNS
    codes = np.zeros(NARROW_ROWS * terms, np.int32)
    starts = np.zeros((3, NARROW_ROWS * TURNED_ROWS), np.int32)
    start, flagged, last = starts[0], starts[1], starts[2]
    stride = np.int64(TURNED_ROWS)
    exact = np.zeros(NARROW_ROWS * TURNED_ROWS, np.int32)
    tiles = np.empty((TURNED_ROWS // TILE_COLUMNS, 5), np.int64)
    flat_lanes, flat_turned = lanes.reshape(-1), turned.reshape(-1)
    for first in range(0, len(chosen), NARROW_ROWS):
        found = min(NARROW_ROWS, len(chosen) - first)
        counts[3] += count * found
        for c in range(found):
            column = chosen[first + c]
            place = column // NARROW_COLUMNS * lanes.shape[1] + column % NARROW_COLUMNS
            for k in range(terms):
                code = np.int32(flat_lanes[place + k * NARROW_COLUMNS]) & np.int32(0xFFFF)
                codes[c * terms + k] = np.int32(code | np.int32(code << 16))
            for i in range(count):
                exact[c * TURNED_ROWS + i] = sums[i, column]
                start[c * TURNED_ROWS + i] = biases[1, column]
                flagged[c * TURNED_ROWS + i] = biases[2, column]
                last[c * TURNED_ROWS + i] = biases[3, column]
        number = np.int64(0)
        for row in range(0, count, width):
            place = row // NARROW_COLUMNS * turned.shape[1] + row % NARROW_COLUMNS
            put_tile(tiles, number, 0, place, row, found, row)
            number += 1
        accumulate_tiles(
            register, tiles, number, codes, flat_turned, terms, start, flagged, last, stride,
            count, exact, stride, counts,
        )  # fmt: skip
        for c in range(found):
            for i in range(count):
                sums[i, chosen[first + c]] = exact[c * TURNED_ROWS + i]


@kernel
def accumulate_tiles(
    register, tiles, number, codes, lanes, terms, start, flagged, last, bias_stride, columns, sums,
    sums_stride, counts,
):  # fmt: skip
    """Accumulate tiles as the register wants it; see :mod:`simulator.simd.product.narrow_tile`.

    Callers hand over no literal number: each would make a kernel of its own.
    """
    low, high, wraps, apply, layout, often, _ = register
    if layout == CLIPPED_I32:
        accumulate_i32_2(
            tiles, number, codes, lanes, terms, start, flagged, last, bias_stride, columns, low,
            high, wraps, apply, sums, sums_stride, counts,
        )  # fmt: skip
    elif layout == CLIPPED_I16:
        accumulate_i16_1(
            tiles, number, codes, lanes, terms, start, flagged, last, bias_stride, columns, low,
            high, wraps, apply, sums, sums_stride, counts,
        )  # fmt: skip
    elif often:
        accumulate_full_i16_2(
            tiles, number, codes, lanes, terms, start, flagged, last, bias_stride, columns, low,
            high, wraps, apply, sums, sums_stride, counts,
        )  # fmt: skip
    else:
        accumulate_full_i16_8(
            tiles, number, codes, lanes, terms, start, flagged, last, bias_stride, columns, low,
            high, wraps, apply, sums, sums_stride, counts,
        )  # fmt: skip
