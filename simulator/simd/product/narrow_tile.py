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

from simulator.numerics.jit import kernel
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

NARROW_ROWS = 2
NARROW_COLUMNS = 32  # of 16-bit registers; as 32-bit registers, half as many at a time
BITS = ir.IntType(LANES)


class Lanes(NamedTuple):
    """Layout of registers in lanes.

    of_16_bits : in lanes of 16 bits, not of 32
    full : they fill their lanes
    per_check : terms after which the unclipped sum is compared
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
         column, columns, count, low, high, wraps, apply, sums, sums_at, sums_stride, counts,
    ):  # fmt: skip
        """Accumulate 2 rows and 32 (or 16) columns of a product in order in their registers.

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
            index, index, index, types.boolean, types.boolean, sums, index, index, counts,
        )  # fmt: skip

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return _generate(context, builder, signature, arguments, held)

        return signature, generate

    return accumulate_tile


_full_i16_2, _full_i16_8 = (_kernel_of(Lanes(True, True, terms)) for terms in (2, 8))
_i16_1, _i16_8 = (_kernel_of(Lanes(True, False, terms)) for terms in (1, 8))
_i32_2, _i32_8 = (_kernel_of(Lanes(False, False, terms)) for terms in (2, 8))


# Each in a function of its own, which is never inlined: all registers are needed.


@kernel
def accumulate_full_i16_2(*arguments):
    """Registers of 16 bits, looked at after 2 terms."""
    _full_i16_2(*arguments)


@kernel
def accumulate_full_i16_8(*arguments):
    """Registers of 16 bits, looked at after 8 terms."""
    _full_i16_8(*arguments)


@kernel
def accumulate_i16_1(*arguments):
    """Registers of less than 16 bits, looked at after every term."""
    _i16_1(*arguments)


@kernel
def accumulate_i16_8(*arguments):
    """Registers of less than 16 bits, looked at after 8 terms."""
    _i16_8(*arguments)


@kernel
def accumulate_i32_2(*arguments):
    """Registers of more than 16 bits, looked at after 2 terms."""
    _i32_2(*arguments)


@kernel
def accumulate_i32_8(*arguments):
    """Registers of more than 16 bits, looked at after 8 terms."""
    _i32_8(*arguments)


def _generate(context: Any, builder: Any, signature: Any, arguments: Any, lanes: Lanes) -> Any:
    (
        _, codes_at, codes_stride, _, lanes_at, terms, _, _, _, column, columns,
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
    parts = NARROW_COLUMNS // I16X16.count if of_16_bits else 2
    ends = [fill(builder, builder.trunc(end, view.element), view) for end in (bottom, top)]

    def initial(vector: Any, part: int) -> Any:
        registers = [
            load(builder, element(builder, vector, (constant(1), offset)), I32X8)
            for offset in range(part * view.count, (part + 1) * view.count, LANES)
        ]
        if not of_16_bits:
            return registers[0]
        wide = _joined(builder, registers)
        return builder.trunc(wide, I16X16)

    registers = [initial(start, part) for _ in rows for part in range(parts)]
    clipped = [initial(flagged, part) for _ in rows for part in range(parts)]

    def some_terms(first: Any, carried: Values) -> list[Any]:
        held, flags = list(carried[: len(registers)]), list(carried[len(registers) :])
        ahead = [builder.add(first, constant(step)) for step in range(lanes.per_check)]
        columns = [_columns(builder, packed, term, of_16_bits) for term in ahead]
        spot = 0
        # One register after the other: only its unclipped sum is needed beside it.
        for row in rows:
            codes = [
                broadcast(builder, element(builder, row, (term, 1)), INT32, I16X16)
                for term in ahead
            ]
            for part in range(0, parts, 1 if of_16_bits else 2):
                width = 1 if of_16_bits else 2
                exact = held[spot : spot + width]
                for code, vectors in zip(codes, columns, strict=True):
                    product = builder.mul(code, vectors[part // width])
                    for i, addend in enumerate(
                        [product] if of_16_bits else _in_i32(builder, product)
                    ):
                        exact[i] = builder.add(exact[i], addend)
                        held[spot + i] = _clipped_sum(builder, held[spot + i], addend, ends, lanes)
                for i in range(width):
                    trace = builder.xor(held[spot + i], exact[i])
                    flags[spot + i] = builder.or_(flags[spot + i], trace)
                spot += width
        return [*held, *flags]

    begin = [*registers, *clipped]
    final = loop(builder, constant(0), terms, lanes.per_check, begin, some_terms)
    held, flags = final[: len(registers)], final[len(registers) :]
    counters = [place(19, INT64, (constant(1), kind)) for kind in range(3)]
    limits = [fill(builder, end, I32X8) for end in (bottom, top)]
    spot = 0
    for row in range(NARROW_ROWS):
        for part in range(parts):
            values = _in_i32(builder, held[spot]) if of_16_bits else [held[spot]]
            marks = _in_i32(builder, flags[spot]) if of_16_bits else [flags[spot]]
            for index, (value, mark) in enumerate(zip(values, marks, strict=True)):
                offset = part * view.count + index * LANES
                where = place(16, INT32, (sums_at, 1), (sums_stride, row), (constant(1), offset))
                last = load(builder, element(builder, bias, (constant(1), offset)), I32X8)
                present = _present(builder, column, offset, columns, (row, count))
                _finish(
                    builder, (value, mark, last, present), limits, (wraps, apply), where, counters
                )
            spot += 1
    return context.get_dummy_value()


def _joined(builder: Any, registers: Values) -> Any:
    order = ir.Constant(ir.VectorType(INT32, 2 * LANES), list(range(2 * LANES)))
    return builder.shuffle_vector(*registers, order)


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
    """Return the codes of one term's columns. Products of 8-bit codes fit 16 bits, too."""
    parts = range(NARROW_COLUMNS // I16X16.count if of_16_bits else 1)
    places = [
        element(builder, packed, (term, NARROW_COLUMNS), (constant(I16X16.count), part))
        for part in parts
    ]
    return [load(builder, place, I16X16) for place in places]


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
