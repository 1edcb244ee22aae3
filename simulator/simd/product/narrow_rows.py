# SPDX-License-Identifier: Apache-2.0
"""Rows of left codes: their lengths, and a strip of them turned, so that rows lie side by side."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from simulator.numerics.jit import kernel
from simulator.simd.lanes.vectors import (
    I16X16,
    I32X8,
    INT8,
    INT16,
    INT32,
    LANES,
    Values,
    address_of,
    call,
    constant,
    element,
    fill,
    intrinsic,
    load,
    loop,
    splat,
    store,
)
from simulator.simd.product.narrow_bounds import CHECKED_TERMS, whole_root
from simulator.simd.product.narrow_tile import NARROW_COLUMNS

SIDE: int = I16X16.count  # rows and terms that are turned at once
I8X16 = ir.VectorType(INT8, SIDE)


@intrinsic
def squared_length(typing, codes, at, count, centre):
    """Return the sum of ``(codes - centre) ** 2`` as int32.

    Parameters
    ----------
    codes
        int8 or uint8, flat: taken from ``at`` on
    count
        how many: a positive multiple of 16
    centre
        a code
    """
    index = types.intp
    return types.int32(codes, index, index, index), _squared_length


def _squared_length(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    codes, at, count, centre = arguments
    kind = signature.args[0]
    start = element(builder, address_of(context, builder, kind, codes, INT8), (at, 1))
    middle = fill(builder, builder.trunc(centre, INT16), I16X16)

    def sixteen(first: Any, carried: Values) -> list[Any]:
        wide = _widened(builder, load(builder, element(builder, start, (first, 1)), I8X16), kind)
        apart = builder.sub(wide, middle)
        squares = call(builder, "llvm.x86.avx2.pmadd.wd", I32X8, apart, apart)
        return [builder.add(carried[0], squares)]

    (lanes,) = loop(builder, constant(0), count, SIDE, [splat(I32X8, 0)], sixteen)
    total = ir.Constant(INT32, 0)
    for lane in range(LANES):
        total = builder.add(total, builder.extract_element(lanes, ir.Constant(INT32, lane)))
    return total


def _widened(builder: Any, codes: Any, kind: Any) -> Any:
    """Return 16 bytes as 16-bit numbers."""
    extend = builder.sext if kind.dtype.signed else builder.zext
    return extend(codes, I16X16)


@kernel
def measure_rows(a, start, count, centre, lengths):
    """Write lengths of rows of ``a - centre``, int32 [48, 1 + blocks]: all terms, each block."""
    terms = a.shape[1]
    middle = np.int32(centre)
    flat = a.reshape(-1)
    for i in range(count):
        row = a[start + i]
        whole = np.int32(0)
        for block in range(1, lengths.shape[1]):
            squares = np.int32(0)
            first = (block - 1) * CHECKED_TERMS
            last = min(first + CHECKED_TERMS, terms)
            together = (last - first) // SIDE * SIDE
            if together:
                squares = squared_length(flat, (start + i) * terms + first, together, centre)
            for k in range(first + together, last):
                code = np.int32(np.int32(row[k]) - middle)
                squares = np.int32(squares + np.int32(code * code))
            lengths[i, block] = whole_root(squares)
            whole = np.int32(whole + squares)
        lengths[i, 0] = whole_root(whole)


@kernel
def measure_turned(b, lengths, norms):
    """Write the lengths of the columns of a right operand that is [N, K].

    Parameters
    ----------
    lengths
        int32 [48, 1 + blocks]: scratch
    norms
        of :class:`simulator.simd.product.narrow_bounds.Reach`
    """
    columns = b.shape[0]
    for start in range(0, columns, lengths.shape[0]):
        count = min(lengths.shape[0], columns - start)
        measure_rows(b, start, count, 0, lengths)
        for i in range(count):
            for block in range(lengths.shape[1]):
                norms[block, start + i] = lengths[i, block]
    for block in range(lengths.shape[1]):
        norms[block, columns:] = norms[block, columns - 1]


@intrinsic
def turn_sixteen(typing, codes, at, stride, rows, terms, turned, turned_at):
    """Write up to 16 rows so that for each term the rows' codes lie side by side.

    Parameters
    ----------
    codes
        int8 or uint8, flat: rows from ``at`` on, ``stride`` apart
    rows
        how many there are; missing ones repeat the last
    terms
        how many: a positive multiple of 16
    turned
        int16, flat: from ``turned_at`` on, 16 of 32 codes of each term
    """
    index = types.intp
    return types.void(codes, index, index, index, index, turned, index), _turn_sixteen


def _turn_sixteen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    codes, at, stride, count, terms, turned, turned_at = arguments
    kind = signature.args[0]
    start = element(builder, address_of(context, builder, kind, codes, INT8), (at, 1))
    out = address_of(context, builder, signature.args[5], turned, INT16)
    out = element(builder, out, (turned_at, 1))
    last = builder.sub(count, constant(1))
    rows = []
    for row in range(SIDE):
        there = builder.icmp_signed("<", constant(row), last)
        index = builder.select(there, constant(row), last)
        rows.append(builder.gep(start, [builder.mul(index, stride)]))

    def square(first: Any, _: Values) -> list[Any]:
        lines = [load(builder, element(builder, row, (first, 1)), I8X16) for row in rows]
        for term, line in enumerate(_transposed(builder, lines)):
            place = element(builder, out, (builder.add(first, constant(term)), NARROW_COLUMNS))
            store(builder, _widened(builder, line, kind), place)
        return []

    loop(builder, constant(0), terms, SIDE, [], square)
    return context.get_dummy_value()


def _transposed(builder: Any, lines: Values) -> Values:
    """Transpose 16 x 16 bytes: four times, each line of the first half meets one of the second."""
    half = SIDE // 2
    kind = ir.VectorType(INT32, SIDE)
    orders = [
        ir.Constant(kind, [lane for i in range(begin, begin + half) for lane in (i, i + SIDE)])
        for begin in (0, half)
    ]
    for _ in range(SIDE.bit_length() - 1):
        lines = [
            builder.shuffle_vector(lines[i], lines[i + half], order)
            for i in range(half)
            for order in orders
        ]
    return lines


@kernel
def turn_rows(a, start, count, turned):
    """Write a strip of ``a`` [M, K] into int16 [groups, terms * 32]: for each term, 32 rows.

    What is beyond the last term stays as it is: zeros.
    """
    terms = a.shape[1]
    together = terms // SIDE * SIDE
    flat, flat_turned = a.reshape(-1), turned.reshape(-1)
    for first in range(0, count, SIDE):
        rows = min(SIDE, count - first)
        place = first // NARROW_COLUMNS * turned.shape[1] + first % NARROW_COLUMNS
        if together:
            turn_sixteen(flat, (start + first) * terms, terms, rows, together, flat_turned, place)
        for k in range(together, terms):
            for row in range(rows):
                flat_turned[place + k * NARROW_COLUMNS + row] = a[start + first + row, k]
