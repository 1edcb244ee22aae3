# SPDX-License-Identifier: Apache-2.0
"""Sums that may overflow, made again term by term, two rows and 32 or 16 columns side by side."""

from __future__ import annotations

import numpy as np

from simulator.numerics.jit import kernel
from simulator.simd.product.narrow_bounds import CLIPPED_I32, FULL_I16, PANELS
from simulator.simd.product.narrow_tile import (
    NARROW_COLUMNS,
    NARROW_ROWS,
    accumulate_full_i16_2,
    accumulate_full_i16_8,
    accumulate_i16_1,
    accumulate_i16_8,
    accumulate_i32_2,
    accumulate_i32_8,
)
from simulator.simd.product.tile import TILE_COLUMNS


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
def accumulate_flagged(count, lanes, biases, register, twice, sums, flags, columns, counts):
    """Accumulate flagged groups in order, 2 rows and 32 or 16 columns; put their sums in place."""
    if register[4] == CLIPPED_I32:
        accumulate_in_i32(count, lanes, biases, register, twice, sums, flags, columns, counts)
    else:
        accumulate_in_i16(count, lanes, biases, register, twice, sums, flags, columns, counts)


@kernel
def accumulate_in_i32(count, lanes, biases, register, twice, sums, flags, columns, counts):
    """Accumulate groups of 16 columns in lanes of 32 bits."""
    low, high, wraps, apply, _, often, _ = register
    flat_codes, flat_sums, flat_lanes = twice.reshape(-1), sums.reshape(-1), lanes.reshape(-1)
    start, flagged, last = biases[1], biases[2], biases[3]
    terms = twice.shape[1]
    width = sums.shape[1]
    # One group's columns after the other: they stay in the first cache for all rows.
    for panel in range(flags.shape[1]):
        column = panel * TILE_COLUMNS
        place = panel // PANELS * lanes.shape[1] + panel % PANELS * TILE_COLUMNS
        for i in range(0, count, NARROW_ROWS):
            rows = min(NARROW_ROWS, count - i)
            some = False
            for r in range(i, i + rows):
                some |= flags[r, panel] != 0
            if not some:
                continue
            counts[3] += rows * max(min(TILE_COLUMNS, columns - column), 0)
            if often:
                accumulate_i32_2(
                    flat_codes, i * terms, terms, flat_lanes, place, terms, start, flagged, last,
                    column, columns, rows, low, high, wraps, apply, flat_sums, i * width + column,
                    width, counts,
                )  # fmt: skip
            else:
                accumulate_i32_8(
                    flat_codes, i * terms, terms, flat_lanes, place, terms, start, flagged, last,
                    column, columns, rows, low, high, wraps, apply, flat_sums, i * width + column,
                    width, counts,
                )  # fmt: skip


@kernel
def accumulate_in_i16(count, lanes, biases, register, twice, sums, flags, columns, counts):
    """Accumulate groups of 32 columns in lanes of 16 bits."""
    low, high, wraps, apply, layout, often, _ = register
    flat_codes, flat_sums, flat_lanes = twice.reshape(-1), sums.reshape(-1), lanes.reshape(-1)
    start, flagged, last = biases[1], biases[2], biases[3]
    terms = twice.shape[1]
    width = sums.shape[1]
    for group in range(lanes.shape[0]):
        column = group * NARROW_COLUMNS
        place = group * lanes.shape[1]
        for i in range(0, count, NARROW_ROWS):
            rows = min(NARROW_ROWS, count - i)
            some = False
            for r in range(i, i + rows):
                some |= flags[r, group * PANELS] != 0 or flags[r, group * PANELS + 1] != 0
            if not some:
                continue
            counts[3] += rows * min(NARROW_COLUMNS, columns - column)
            if layout == FULL_I16 and often:
                accumulate_full_i16_2(
                    flat_codes, i * terms, terms, flat_lanes, place, terms, start, flagged, last,
                    column, columns, rows, low, high, wraps, apply, flat_sums, i * width + column,
                    width, counts,
                )  # fmt: skip
            elif layout == FULL_I16:
                accumulate_full_i16_8(
                    flat_codes, i * terms, terms, flat_lanes, place, terms, start, flagged, last,
                    column, columns, rows, low, high, wraps, apply, flat_sums, i * width + column,
                    width, counts,
                )  # fmt: skip
            elif often:
                accumulate_i16_1(
                    flat_codes, i * terms, terms, flat_lanes, place, terms, start, flagged, last,
                    column, columns, rows, low, high, wraps, apply, flat_sums, i * width + column,
                    width, counts,
                )  # fmt: skip
            else:
                accumulate_i16_8(
                    flat_codes, i * terms, terms, flat_lanes, place, terms, start, flagged, last,
                    column, columns, rows, low, high, wraps, apply, flat_sums, i * width + column,
                    width, counts,
                )  # fmt: skip
