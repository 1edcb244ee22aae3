# SPDX-License-Identifier: Apache-2.0
"""One row of scores becomes probabilities in vector registers, by one reciprocal per row.

Two passes over a row that stays in the first cache: :func:`exponentiate_row` finds its largest
code, looks up the exponential of every distance from it and adds them up; :func:`normalize_row`
multiplies them by the reciprocal of that sum and rounds. In between stands one division.

Exponentials have 31 bits. A table of 256 of them is looked up in four tables of bytes, one for each
byte of an entry, where the CPU permutes bytes of two registers (AVX-512 VBMI), and with loads
elsewhere: a shuffle of AVX2 chooses from 16 bytes only, and 64 of them would be needed.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numpy.typing import NDArray

from simulator.numerics.integer_type import IntArray
from simulator.simd.lanes.lookup import ENTRIES, I8X64, permuted, permutes_bytes, quarters_of
from simulator.simd.lanes.vectors import (
    I32X16,
    I64X8,
    INT1,
    INT8,
    INT32,
    INT64,
    Values,
    address_of,
    call,
    constant,
    element,
    fill,
    intrinsic,
    load,
    loop,
    loop_if_any,
    splat,
    store,
)

BLOCK = 64  # codes that are looked up at a time: as many may be read behind a row
NARROW = 16  # exponentials of one register
WORD_BYTES = 4  # of an exponential
HALF_BITS = 32
LOWER_HALF = (1 << HALF_BITS) - 1
# A dword of codes moves to where interleaving bytes within quarters of a register takes its words
# in the order of the codes.
BEFORE_INTERLEAVING = [4 * (i % 4) + i // 4 for i in range(16)]


def table_in_bytes(table: IntArray) -> NDArray[np.uint8]:
    """Return a table of exponentials as :func:`exponentiate_row` reads it, uint8 [4 * 256].

    First the lowest bytes of all entries, then the next.
    """
    words = np.ascontiguousarray(table, "<u4")
    return np.ascontiguousarray(words.view(np.uint8).reshape(ENTRIES, WORD_BYTES).T).reshape(-1)


@intrinsic
def exponentiate_row(typing, codes, codes_at, columns, words, planes, exponentials, written_at):
    """Write the exponentials of a row; return their sum.

    Parameters
    ----------
    codes
        int8 or uint8, flat: the row from ``codes_at`` on, and 64 more that may be read
    columns
        how many codes the row has: 1 or more
    words
        int32 [256], the table by distance from the largest code
    planes
        the same as :func:`table_in_bytes` gives it
    exponentials
        int32, flat: the row's from ``written_at`` on, up to a multiple of 64 with zeros
    """
    index = types.intp
    signature = types.int64(codes, index, index, words, planes, exponentials, index)
    return signature, _exponentiate


def _exponentiate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    kinds = signature.args
    row, words, planes, target = (
        address_of(context, builder, kinds[i], arguments[i], lane)
        for i, lane in ((0, INT8), (3, INT32), (4, INT8), (5, INT32))
    )
    places = RowPlaces(
        codes=element(builder, row, (arguments[1], 1)),
        words=words,
        planes=planes,
        exponentials=element(builder, target, (arguments[6], 1)),
    )
    signed = kinds[0].dtype.signed
    return exponentiated(builder, places, arguments[2], signed=signed, permutes=permutes_bytes())


class RowPlaces(NamedTuple):
    """Where a row and its exponentials are, and the table in both forms."""

    codes: Any
    words: Any
    planes: Any
    exponentials: Any


def exponentiated(
    builder: Any, places: RowPlaces, columns: Any, *, signed: bool, permutes: bool
) -> Any:
    """Generate :func:`exponentiate_row`; ``permutes``: by permutations, else by loads."""
    largest = _largest(builder, places.codes, columns, signed)
    look_up, size = (_by_permutation, BLOCK) if permutes else (_by_loads, NARROW)
    many = fill(builder, largest, ir.VectorType(INT8, size))

    def block(first: Any, totals: list[Any], inside: Any) -> list[Any]:
        codes = load(builder, element(builder, places.codes, (first, 1)), many.type)
        distances = builder.sub(many, codes)  # of bytes: exact, as unsigned ones
        place = element(builder, places.exponentials, (first, 1))
        table = (places.words, places.planes)
        return look_up(builder, distances, inside, table, place, totals)

    start = [ir.Constant(I64X8, None)] * WORD_BYTES
    return _sum_of_planes(builder, _blocks(builder, columns, size, start, block))


def _largest(builder: Any, row: Any, columns: Any, signed: bool) -> Any:
    name, end = ("smax", -128) if signed else ("umax", 0)
    least = splat(I8X64, end)

    def block(first: Any, carried: list[Any], inside: Any) -> list[Any]:
        codes = load(builder, element(builder, row, (first, 1)), I8X64)
        if inside is not None:
            codes = builder.select(inside, codes, least)
        return [call(builder, f"llvm.{name}.v64i8", I8X64, carried[0], codes)]

    (found,) = _blocks(builder, columns, BLOCK, [least], block)
    return call(builder, f"llvm.vector.reduce.{name}.v64i8", INT8, found)


def _blocks(builder: Any, columns: Any, size: int, start: Values, body: Any) -> list[Any]:
    """Run ``body(first, carried, inside)`` on all blocks of a row.

    ``inside`` tells, of the last block, which of its places belong to the row; it is None before.
    """
    last = builder.and_(builder.sub(columns, constant(1)), constant(-size))
    carried = loop_if_any(
        builder, constant(0), last, size, start, lambda first, kept: body(first, kept, None)
    )
    missing = builder.sub(constant(size), builder.sub(columns, last))
    ones = builder.lshr(constant(-1), builder.add(missing, constant(64 - size)))
    inside = builder.bitcast(builder.trunc(ones, ir.IntType(size)), ir.VectorType(INT1, size))
    left: list[Any] = body(last, carried, inside)
    return left


def _by_permutation(
    builder: Any, distances: Any, inside: Any, table: Values, place: Any, totals: Values
) -> list[Any]:
    """Look up each byte of 64 exponentials in two registers of two; add up bytes of one place."""
    nothing = splat(I8X64, 0)

    def moved(vector: Any) -> Any:
        words = builder.bitcast(vector, I32X16)
        order = ir.Constant(ir.VectorType(INT32, 16), BEFORE_INTERLEAVING)
        return builder.bitcast(builder.shuffle_vector(words, words, order), I8X64)

    distances = moved(distances)
    if inside is not None:
        inside = builder.icmp_signed("<", moved(builder.sext(inside, I8X64)), nothing)
    planes, sums = [], []
    for plane, total in enumerate(totals):
        start = element(builder, table[1], (constant(ENTRIES), plane))
        found = permuted(builder, quarters_of(builder, start), distances)
        if inside is not None:
            found = builder.select(inside, found, nothing)
        planes.append(found)
        added = call(builder, "llvm.x86.avx512.psad.bw.512", I64X8, found, nothing)
        sums.append(builder.add(total, added))
    twos = [
        [_interleaved(builder, low, high, upper_half, 1) for upper_half in (False, True)]
        for low, high in (planes[:2], planes[2:])
    ]
    words = [
        _interleaved(builder, low, high, upper_half, 2)
        for low, high in zip(*twos, strict=True)
        for upper_half in (False, True)
    ]
    for number, word in enumerate(words):
        where = element(builder, place, (constant(NARROW), number))
        store(builder, builder.bitcast(word, I32X16), where)
    return sums


def _interleaved(builder: Any, a: Any, b: Any, upper_half: bool, size: int) -> Any:
    """Interleave units of ``size`` bytes of the lower or the upper halves of all quarters."""
    count = BLOCK // size
    half = count // 8
    vector = ir.VectorType(ir.IntType(8 * size), count)
    order = []
    for quarter in range(4):
        first = (2 * quarter + upper_half) * half
        for i in range(first, first + half):
            order += [i, count + i]
    mask = ir.Constant(ir.VectorType(INT32, count), order)
    mixed = builder.shuffle_vector(builder.bitcast(a, vector), builder.bitcast(b, vector), mask)
    return builder.bitcast(mixed, I8X64)


def _by_loads(
    builder: Any, distances: Any, inside: Any, table: Values, place: Any, totals: Values
) -> list[Any]:
    """Load 16 exponentials one by one, or by a gathering load where LLVM finds that quicker."""
    places = ir.VectorType(INT64, NARROW)
    start = fill(builder, builder.ptrtoint(table[0], INT64), places)
    offsets = builder.mul(builder.zext(distances, places), splat(places, WORD_BYTES))
    pointers = ir.VectorType(INT32.as_pointer(), NARROW)
    words = call(
        builder,
        "llvm.masked.gather.v16i32.v16p0",
        I32X16,
        builder.inttoptr(builder.add(start, offsets), pointers),
        ir.Constant(INT32, WORD_BYTES),
        ir.Constant(ir.VectorType(INT1, NARROW), [1] * NARROW),
        ir.Constant(I32X16, None),
    )
    if inside is not None:
        words = builder.select(inside, words, ir.Constant(I32X16, None))
    store(builder, words, place)
    total = totals[0]
    for half in _halves(builder, words):
        total = builder.add(total, half)
    return [total, *totals[1:]]


def _halves(builder: Any, words: Any) -> list[Any]:
    """Return the even and the odd ones of 16 words of 31 bits, as numbers of 64 bits."""
    wide = builder.bitcast(words, I64X8)
    even = builder.and_(wide, splat(I64X8, LOWER_HALF))
    return [even, builder.lshr(wide, splat(I64X8, HALF_BITS))]


def _sum_of_planes(builder: Any, totals: Values) -> Any:
    """Return the sum of all lanes, each plane's times the place of its byte."""
    total = ir.Constant(I64X8, None)
    for plane, added in enumerate(totals):
        total = builder.add(total, builder.shl(added, splat(I64X8, 8 * plane)))
    return call(builder, "llvm.vector.reduce.add.v8i64", INT64, total)


@intrinsic
def normalize_row(typing, exponentials, read_at, columns, inverse, stage, out, out_at):
    """Write ``(exponential * inverse + offset >> shift) + zero point`` of a row, rounded.

    Returns how many did not fit and became the highest code.

    Parameters
    ----------
    exponentials
        int32, flat: the row from ``read_at`` on, padded to a multiple of 16 with zeros
    inverse
        the row's reciprocal, below 2^31
    stage
        shift less 32, offset, what is added where the last bit that stays is set (0 or 1; left out
        where it is 0), what is added to the upper half of the sum, highest code
    out
        flat, of a type that holds the codes; up to 16 are stored behind the row, where padding
        yields the zero point
    """
    index = types.intp
    return types.int64(exponentials, index, index, types.int64, stage, out, index), _normalize


def _normalize(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    kinds = signature.args
    exponentials, read_at, columns, inverse, stage, out, out_at = arguments
    lane = ir.IntType(kinds[5].dtype.bitwidth)
    source = address_of(context, builder, kinds[0], exponentials, INT32)
    source = element(builder, source, (read_at, 1))
    target = element(builder, address_of(context, builder, kinds[5], out, lane), (out_at, 1))
    numbers = [builder.extract_value(stage, i) for i in range(len(kinds[4]))]
    distance, upper, high = (
        fill(builder, builder.trunc(number, INT32), I32X16)
        for number in (numbers[0], *numbers[-2:])
    )
    wide = [fill(builder, number, I64X8) for number in numbers[:-2]]
    factor = builder.and_(fill(builder, inverse, I64X8), splat(I64X8, LOWER_HALF))
    # The upper halves of even and odd products, in turns.
    order = ir.Constant(I32X16, [i + 16 * (i % 2) + 1 - i % 2 for i in range(NARROW)])

    def product(half: Any) -> Any:
        total = builder.mul(half, factor)
        if len(wide) > 1:
            shift = builder.add(wide[0], splat(I64X8, HALF_BITS))
            odd = builder.and_(builder.lshr(total, shift), wide[2])
            total = builder.add(builder.add(total, wide[1]), odd)
        return builder.bitcast(total, I32X16)

    def sixteen(first: Any, carried: list[Any]) -> list[Any]:
        words = load(builder, element(builder, source, (first, 1)), I32X16)
        halves = [product(half) for half in _halves(builder, words)]
        sums = builder.add(builder.shuffle_vector(*halves, order), upper)
        codes = builder.ashr(sums, distance)
        over = builder.icmp_signed(">", codes, high)
        fitted = builder.select(over, high, codes)
        place = element(builder, target, (first, 1))
        store(builder, builder.trunc(fitted, ir.VectorType(lane, NARROW)), place)
        return [builder.sub(carried[0], builder.sext(over, I32X16))]

    (misfits,) = loop(builder, constant(0), columns, NARROW, [ir.Constant(I32X16, None)], sixteen)
    total = call(builder, "llvm.vector.reduce.add.v16i32", INT32, misfits)
    return builder.sext(total, INT64)
