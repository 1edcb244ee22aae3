# SPDX-License-Identifier: Apache-2.0
"""A tile of a product accumulated in order in narrow registers, many of them side by side.

A register that saturates equals the exact partial sum until that leaves the register's range: its
first clipping tells that a partial sum was out of range. One comparison with the unclipped sum
finds all clipping of a few terms, on two conditions: the terms cannot carry a sum round all of the
lane's values, so that what was clipped leaves a trace in its low bits, and they cannot carry a
clipped register to its other end, where the same amount could be clipped off again.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from llvmlite import ir
from numba import types

from simulator.numerics.jit import cpu_features, kernel
from simulator.simd.lanes.vectors import (
    I16X16,
    I32X8,
    INT16,
    INT32,
    INT64,
    LANES,
    Values,
    address_of,
    broadcast,
    call,
    constant,
    element,
    fill,
    intrinsic,
    larger,
    load,
    loop,
    smaller,
    splat,
    store,
)

# Registers, their unclipped sums and the traces of clipping fill 12 of 16 registers, or 24 of 32.
NARROW_ROWS = 4 if cpu_features().get("avx512vl") else 2
NARROW_COLUMNS = 32  # of 16-bit registers; as 32-bit registers, half as many at a time
BITS = ir.IntType(LANES)


class Lanes(NamedTuple):
    """Layout of registers in lanes.

    of_16_bits : in lanes of 16 bits, not of 32
    full : they fill their lanes
    per_check : terms after which the unclipped sum is compared; products below 2^15 allow two, or
        one where registers have less than 16 bits, always
    """

    of_16_bits: bool
    full: bool
    per_check: int


def _kernel_of(lanes: Lanes) -> Any:
    """Return the kernel of a tile."""
    held = lanes

    @intrinsic
    def accumulate_tile(
        typing, codes, codes_at, codes_stride, lanes, lanes_at, terms, start, flagged, bias,
        bias_stride, column, columns, count, low, high, wraps, apply, sums, sums_at, sums_stride,
        counts,
    ):  # fmt: skip
        """Accumulate 2 or 4 rows and 32 (or 16) columns of a product in order in their registers.

        Parameters
        ----------
        codes
            int32, flat: left rows from ``codes_at`` on, ``codes_stride`` apart; each code twice, in
            the lower and in the upper half
        lanes
            int16, flat: from ``lanes_at`` on, the 32 columns' codes of each term
        terms
            how many there are, a multiple of those after which the unclipped sum is compared
        start, flagged
            int32, flat: what the registers hold first, and -1 where that is not the exact bias
        bias
            int32, flat: what is added last
        bias_stride
            from one row's ``start``, ``flagged``, ``bias`` to the next one's; 0: all rows' alike
        column, columns, count
            the first column, how many there are, and how many of the rows: others are not counted
        sums
            int32, flat: the exact sums, bias included; replaced by the registers' where ``apply``
        counts
            int64 [3]: sums that changed, that overflowed transiently, persistently; added to
        """
        index = types.intp
        signature = types.void(
            codes, index, index, lanes, index, index, start, flagged, bias, index, index,
            index, index, index, index, types.boolean, types.boolean, sums, index, index, counts,
        )  # fmt: skip

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return _generate(context, builder, signature, arguments, held)

        return signature, generate

    return accumulate_tile


_full_i16_2, _full_i16_8 = (_kernel_of(Lanes(True, True, terms)) for terms in (2, 8))
_i16_1 = _kernel_of(Lanes(True, False, 1))
_i32_2 = _kernel_of(Lanes(False, False, 2))


# Each in a function of its own, which is never inlined: all registers are needed. Each takes all
# tiles of a group at once: handing over the arrays takes as long as tens of terms.
# They are written out: made by a function, each would enclose an intrinsic, whose pickle differs in
# every process, and no kernel would be found in the cache again.
# ``tiles`` is int64 [tiles, 5]: where codes and lanes begin, the first column, how many rows, where
# sums begin.


@kernel
def accumulate_full_i16_2(
    tiles, number, codes, lanes, terms, start, flagged, last, bias_stride, columns, low, high,
    wraps, apply, sums, sums_stride, counts,
):  # fmt: skip
    """Registers of 16 bits, looked at after 2 terms."""
    for tile in range(number):
        codes_at, lanes_at, column, rows, sums_at = tiles[tile]
        _full_i16_2(
            codes, codes_at, terms, lanes, lanes_at, terms, start, flagged, last, bias_stride,
            column, columns, rows, low, high, wraps, apply, sums, sums_at, sums_stride, counts,
        )  # fmt: skip


@kernel
def accumulate_full_i16_8(
    tiles, number, codes, lanes, terms, start, flagged, last, bias_stride, columns, low, high,
    wraps, apply, sums, sums_stride, counts,
):  # fmt: skip
    """Registers of 16 bits, looked at after 8 terms."""
    for tile in range(number):
        codes_at, lanes_at, column, rows, sums_at = tiles[tile]
        _full_i16_8(
            codes, codes_at, terms, lanes, lanes_at, terms, start, flagged, last, bias_stride,
            column, columns, rows, low, high, wraps, apply, sums, sums_at, sums_stride, counts,
        )  # fmt: skip


@kernel
def accumulate_i16_1(
    tiles, number, codes, lanes, terms, start, flagged, last, bias_stride, columns, low, high,
    wraps, apply, sums, sums_stride, counts,
):  # fmt: skip
    """Registers of less than 16 bits, looked at after every term."""
    for tile in range(number):
        codes_at, lanes_at, column, rows, sums_at = tiles[tile]
        _i16_1(
            codes, codes_at, terms, lanes, lanes_at, terms, start, flagged, last, bias_stride,
            column, columns, rows, low, high, wraps, apply, sums, sums_at, sums_stride, counts,
        )  # fmt: skip


@kernel
def accumulate_i32_2(
    tiles, number, codes, lanes, terms, start, flagged, last, bias_stride, columns, low, high,
    wraps, apply, sums, sums_stride, counts,
):  # fmt: skip
    """Registers of more than 16 bits, looked at after 2 terms."""
    for tile in range(number):
        codes_at, lanes_at, column, rows, sums_at = tiles[tile]
        _i32_2(
            codes, codes_at, terms, lanes, lanes_at, terms, start, flagged, last, bias_stride,
            column, columns, rows, low, high, wraps, apply, sums, sums_at, sums_stride, counts,
        )  # fmt: skip


def _generate(context: Any, builder: Any, signature: Any, arguments: Any, lanes: Lanes) -> Any:
    (
        _, codes_at, codes_stride, _, lanes_at, terms, _, _, _, bias_stride, column, columns,
        count, low, high, wraps, apply, _, sums_at, sums_stride, _,
    ) = arguments  # fmt: skip
    kinds = signature.args
    of_16_bits = lanes.of_16_bits
    builder.function.attributes.add("noinline")

    def place(position: int, lane: Any, *steps: tuple[Any, int]) -> Any:
        address = address_of(context, builder, kinds[position], arguments[position], lane)
        return element(builder, address, *steps)

    rows = [place(0, INT32, (codes_at, 1), (codes_stride, row)) for row in range(NARROW_ROWS)]
    packed = place(3, INT16, (lanes_at, 1))
    start, flagged, bias = (place(position, INT32, (column, 1)) for position in (6, 7, 8))
    bottom, top = builder.trunc(low, INT32), builder.trunc(high, INT32)
    view = I16X16 if of_16_bits else I32X8
    ends = [fill(builder, builder.trunc(end, view.element), view) for end in (bottom, top)]

    def initial(vector: Any, row: int) -> list[Any]:
        found = []
        for first in range(0, _width(lanes), 2 * LANES):
            two = [
                load(
                    builder,
                    element(builder, vector, (bias_stride, row), (constant(1), first + more)),
                    I32X8,
                )
                for more in (0, LANES)
            ]
            found += _held(builder, two, of_16_bits)
        return found

    registers = [register for row in range(NARROW_ROWS) for register in initial(start, row)]
    clipped = [register for row in range(NARROW_ROWS) for register in initial(flagged, row)]

    def some_terms(first: Any, carried: Values) -> list[Any]:
        held, flags = list(carried[: len(registers)]), list(carried[len(registers) :])
        exact = list(held)
        # A term of all registers, then the next: their chains of additions run side by side.
        for step in range(lanes.per_check):
            term = builder.add(first, constant(step))
            columns = _columns(builder, packed, term, of_16_bits)
            spot = 0
            for row in rows:
                code = broadcast(builder, element(builder, row, (term, 1)), INT32, I16X16)
                for vector in columns:
                    product = _product(builder, code, vector, of_16_bits)
                    exact[spot] = builder.add(exact[spot], product)
                    held[spot] = _clipped_sum(builder, held[spot], product, ends, lanes)
                    spot += 1
        for spot, (register, total) in enumerate(zip(held, exact, strict=True)):
            flags[spot] = builder.or_(flags[spot], builder.xor(register, total))
        return [*held, *flags]

    begin = [*registers, *clipped]
    final = loop(builder, constant(0), terms, lanes.per_check, begin, some_terms)
    held, flags = final[: len(registers)], final[len(registers) :]
    counters = [place(20, INT64, (constant(1), kind)) for kind in range(3)]
    limits = [fill(builder, end, I32X8) for end in (bottom, top)]
    per_row = len(held) // NARROW_ROWS
    for row in range(NARROW_ROWS):
        own = slice(row * per_row, (row + 1) * per_row)
        values, marks = (_in_order(builder, found[own], of_16_bits) for found in (held, flags))
        for index, (value, mark) in enumerate(zip(values, marks, strict=True)):
            offset = index * LANES
            where = place(17, INT32, (sums_at, 1), (sums_stride, row), (constant(1), offset))
            addend = element(builder, bias, (bias_stride, row), (constant(1), offset))
            last = load(builder, addend, I32X8)
            present = _present(builder, column, offset, columns, (row, count))
            _finish(builder, (value, mark, last, present), limits, (wraps, apply), where, counters)
    return context.get_dummy_value()


def _width(lanes: Lanes) -> int:
    """Return the columns of a tile."""
    return NARROW_COLUMNS if lanes.of_16_bits else 2 * LANES


def _held(builder: Any, two: Values, of_16_bits: bool) -> list[Any]:
    """Return 16 numbers as registers hold them: in one of 16-bit lanes, or even and odd ones."""
    order = ir.Constant(ir.VectorType(INT32, 2 * LANES), list(range(2 * LANES)))
    if of_16_bits:
        return [builder.trunc(builder.shuffle_vector(*two, order), I16X16)]
    return [_every_second(builder, two, first) for first in (0, 1)]


def _every_second(builder: Any, two: Values, first: int) -> Any:
    order = ir.Constant(I32X8, list(range(first, 2 * LANES, 2)))
    return builder.shuffle_vector(*two, order)


def _in_order(builder: Any, registers: Values, of_16_bits: bool) -> list[Any]:
    """Return registers of a row as 8 numbers of 32 bits each, in the columns' order."""
    if of_16_bits:
        return [half for register in registers for half in _in_i32(builder, register)]
    even, odd = registers
    found = []
    for first in (0, LANES // 2):
        turns = [(lane + first, lane + first + LANES) for lane in range(LANES // 2)]
        order = ir.Constant(I32X8, [lane for turn in turns for lane in turn])
        found.append(builder.shuffle_vector(even, odd, order))
    return found


def _in_i32(builder: Any, register: Any) -> list[Any]:
    """Return the 16 lanes of a register as two registers of 32-bit lanes, in order."""
    wide = builder.sext(register, ir.VectorType(INT32, I16X16.count))
    undefined = ir.Constant(wide.type, ir.Undefined)
    found = []
    for first in (0, LANES):
        order = ir.Constant(ir.VectorType(INT32, LANES), list(range(first, first + LANES)))
        found.append(builder.shuffle_vector(wide, undefined, order))
    return found


def _columns(builder: Any, packed: Any, term: Any, of_16_bits: bool) -> list[Any]:
    """Return the codes of one term's columns; for 32 bits the even and the odd ones, and zeros."""
    parts = range(NARROW_COLUMNS // I16X16.count if of_16_bits else 1)
    places = [
        element(builder, packed, (term, NARROW_COLUMNS), (constant(I16X16.count), part))
        for part in parts
    ]
    found = [load(builder, place, I16X16) for place in places]
    if of_16_bits:
        return found
    pairs = builder.bitcast(found[0], I32X8)
    halves = (splat(I32X8, 0xFFFF), splat(I32X8, -0x10000))
    return [builder.bitcast(builder.and_(pairs, half), I16X16) for half in halves]


def _product(builder: Any, code: Any, columns: Any, of_16_bits: bool) -> Any:
    """Return products. Those of 8-bit codes fit 16 bits; beside a zero they become 32 bits wide."""
    if of_16_bits:
        return builder.mul(code, columns)
    return call(builder, "llvm.x86.avx2.pmadd.wd", I32X8, code, columns)


def _clipped_sum(builder: Any, held: Any, product: Any, ends: Values, lanes: Lanes) -> Any:
    """Add a product to a register, which saturates."""
    if lanes.of_16_bits:
        total = call(builder, "llvm.sadd.sat.v16i16", I16X16, held, product)
    else:
        total = builder.add(held, product)
    if lanes.full:
        return total
    return smaller(builder, larger(builder, total, ends[0]), ends[1])


def _present(builder: Any, column: Any, offset: int, columns: Any, row: tuple[int, Any]) -> Any:
    """Return which of 8 columns of a row there are; none where the row is beyond the last."""
    exists = builder.icmp_signed("<", constant(row[0]), row[1])
    columns = builder.select(exists, columns, constant(0))
    rest = builder.sub(builder.sub(columns, column), constant(offset))
    lanes = ir.Constant(I32X8, list(range(LANES)))
    return builder.icmp_signed("<", lanes, fill(builder, builder.trunc(rest, INT32), I32X8))


def _finish(
    builder: Any, found: Values, limits: Values, flags: Values, where: Any, counters: Values
) -> None:
    """Compare 8 registers with the exact sums: count what happened, and replace the sums."""
    value, mark, last, present = found
    wraps, apply = flags
    low, high = limits
    exact = load(builder, where, I32X8)
    total = smaller(builder, larger(builder, builder.add(value, last), low), high)
    # high - low is 2^bits - 1: a mask.
    mask = builder.sub(high, low)
    kept = builder.add(builder.and_(builder.sub(exact, low), mask), low)
    total = builder.select(wraps, kept, total)
    persistent = builder.or_(
        builder.icmp_signed("<", exact, low), builder.icmp_signed(">", exact, high)
    )
    clipped = builder.icmp_signed("!=", mark, splat(I32X8, 0))
    transient = builder.and_(clipped, builder.not_(persistent))
    changed = builder.icmp_signed("!=", total, exact)
    for counter, event in zip(counters, (changed, transient, persistent), strict=True):
        bits = builder.zext(builder.bitcast(builder.and_(event, present), BITS), INT64)
        count = call(builder, "llvm.ctpop.i64", INT64, bits)
        builder.store(builder.add(builder.load(counter), count), counter)
    store(builder, builder.select(apply, total, exact), where)
