# SPDX-License-Identifier: Apache-2.0
"""Narrow accumulators in vector registers: which sums may overflow, and those sums step by step.

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
from numba.extending import intrinsic

from simulator.numerics.jit import kernel
from simulator.simd.lanes.vectors import (
    HALVES,
    INT8,
    INT16,
    INT32,
    INT64,
    WORDS,
    Values,
    address_of,
    broadcast,
    call,
    constant,
    element,
    fill,
    larger,
    load,
    loop,
    smaller,
    splat,
    store,
)

WALK_ROWS = 2
WALK_COLUMNS = 32  # of 16-bit registers; as 32-bit registers, half as many at a time
LANES: int = WORDS.count
BITS = ir.IntType(LANES)


@intrinsic
def flag_row(  # type: ignore[no-untyped-def]
    typing, sums, at, norms, below, above, block_at, norm, low, high, flags, flags_at
):
    """Flag each 16 columns of a row in which some sum may leave ``low`` to ``high``.

    Parameters
    ----------
    sums
        int32, flat: partial sums from ``at`` on, as many as there are norms in a row
    norms, norm
        int32 [blocks, columns]: lengths of the columns' next terms, rounded up, a row of them from
        ``block_at`` on; ``norm`` is that of the row. No partial sum of the next terms is farther
        away than the product of both (Cauchy-Schwarz).
    below, above
        the same shape: the least and the largest of what else partial sums of the next terms hold
    flags
        uint8, flat, from ``flags_at`` on: 1 is put in
    """
    index = types.intp
    signature = types.void(
        sums, index, norms, below, above, index, index, index, index, flags, index
    )
    return signature, _flag_row


def _flag_row(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    _, at, norms, _, _, block_at, norm, low, high, _, flags_at = arguments
    kinds = signature.args

    def place(position: int, lane: Any, start: Any) -> Any:
        address = address_of(context, builder, kinds[position], arguments[position], lane)
        return element(builder, address, (start, 1))

    sums, flags = place(0, INT32, at), place(9, INT8, flags_at)
    lengths, down, up = (place(position, INT32, block_at) for position in (2, 3, 4))
    columns = builder.extract_value(context.make_array(kinds[2])(context, builder, norms).shape, 1)
    row, bottom, top = (fill(builder, builder.trunc(n, INT32), WORDS) for n in (norm, low, high))

    def sixteen(first: Any, _: Values) -> list[Any]:
        outside = splat(ir.VectorType(ir.IntType(1), LANES), 0)
        for part in range(2):
            offset = (first, 1), (constant(LANES), part)
            total = load(builder, element(builder, sums, *offset), WORDS)
            length, low_drift, high_drift = (
                load(builder, element(builder, vector, *offset), WORDS)
                for vector in (lengths, down, up)
            )
            reach = builder.mul(length, row)
            highest = builder.add(builder.add(total, high_drift), reach)
            lowest = builder.sub(builder.add(total, low_drift), reach)
            outside = builder.or_(outside, builder.icmp_signed(">", highest, top))
            outside = builder.or_(outside, builder.icmp_signed("<", lowest, bottom))
        some = builder.icmp_unsigned("!=", builder.bitcast(outside, BITS), ir.Constant(BITS, 0))
        flag = builder.gep(flags, [builder.lshr(first, constant(4))])
        builder.store(builder.or_(builder.load(flag), builder.zext(some, INT8)), flag)
        return []

    loop(builder, constant(0), columns, 2 * LANES, [], sixteen)
    return context.get_dummy_value()


class Lanes(NamedTuple):
    """How registers are held.

    halves : in lanes of 16 bits, not of 32
    full : they fill their lanes
    per_check : terms after which the unclipped sum is compared
    """

    halves: bool
    full: bool
    per_check: int


def _walk(lanes: Lanes) -> Any:
    """Return the kernel of a tile."""
    held = lanes

    @intrinsic
    def walk_tile(  # type: ignore[no-untyped-def]
        typing, codes, codes_at, codes_stride, lanes, lanes_at, terms, start, flagged, bias,
         column, columns, count, low, high, wraps, apply, sums, sums_at, sums_stride, counts,
    ):  # fmt: skip
        """Walk 2 rows and 32 (or 16) columns of a product through their registers.

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

    return walk_tile


_full_halves_2, _full_halves_8 = (_walk(Lanes(True, True, terms)) for terms in (2, 8))
_halves_1, _halves_8 = (_walk(Lanes(True, False, terms)) for terms in (1, 8))
_words_2, _words_8 = (_walk(Lanes(False, False, terms)) for terms in (2, 8))


# Each in a function of its own, which is never inlined: all registers are needed.


@kernel
def walk_full_halves_2(*arguments):  # type: ignore[no-untyped-def]
    """Registers of 16 bits, looked at after 2 terms."""
    _full_halves_2(*arguments)


@kernel
def walk_full_halves_8(*arguments):  # type: ignore[no-untyped-def]
    """Registers of 16 bits, looked at after 8 terms."""
    _full_halves_8(*arguments)


@kernel
def walk_halves_1(*arguments):  # type: ignore[no-untyped-def]
    """Registers of less than 16 bits, looked at after every term."""
    _halves_1(*arguments)


@kernel
def walk_halves_8(*arguments):  # type: ignore[no-untyped-def]
    """Registers of less than 16 bits, looked at after 8 terms."""
    _halves_8(*arguments)


@kernel
def walk_words_2(*arguments):  # type: ignore[no-untyped-def]
    """Registers of more than 16 bits, looked at after 2 terms."""
    _words_2(*arguments)


@kernel
def walk_words_8(*arguments):  # type: ignore[no-untyped-def]
    """Registers of more than 16 bits, looked at after 8 terms."""
    _words_8(*arguments)


def _generate(context: Any, builder: Any, signature: Any, arguments: Any, lanes: Lanes) -> Any:
    (
        _, codes_at, codes_stride, _, lanes_at, terms, _, _, _, column, columns,
        count, low, high, wraps, apply, _, sums_at, sums_stride, _,
    ) = arguments  # fmt: skip
    kinds = signature.args
    halves = lanes.halves
    builder.function.attributes.add("noinline")

    def place(position: int, lane: Any, *steps: tuple[Any, int]) -> Any:
        address = address_of(context, builder, kinds[position], arguments[position], lane)
        return element(builder, address, *steps)

    rows = [place(0, INT32, (codes_at, 1), (codes_stride, row)) for row in range(WALK_ROWS)]
    packed = place(3, INT16, (lanes_at, 1))
    start, flagged, bias = (place(position, INT32, (column, 1)) for position in (6, 7, 8))
    bottom, top = builder.trunc(low, INT32), builder.trunc(high, INT32)
    view = HALVES if halves else WORDS
    parts = WALK_COLUMNS // HALVES.count if halves else 2
    ends = [fill(builder, builder.trunc(end, view.element), view) for end in (bottom, top)]

    def initial(vector: Any, part: int) -> Any:
        words = [
            load(builder, element(builder, vector, (constant(1), offset)), WORDS)
            for offset in range(part * view.count, (part + 1) * view.count, LANES)
        ]
        if not halves:
            return words[0]
        wide = _joined(builder, words)
        return builder.trunc(wide, HALVES)

    registers = [initial(start, part) for _ in rows for part in range(parts)]
    clipped = [initial(flagged, part) for _ in rows for part in range(parts)]

    def some_terms(first: Any, carried: Values) -> list[Any]:
        held, flags = list(carried[: len(registers)]), list(carried[len(registers) :])
        ahead = [builder.add(first, constant(step)) for step in range(lanes.per_check)]
        columns = [_columns(builder, packed, term, halves) for term in ahead]
        spot = 0
        # One register after the other: only its unclipped sum is needed beside it.
        for row in rows:
            codes = [
                broadcast(builder, element(builder, row, (term, 1)), INT32, HALVES)
                for term in ahead
            ]
            for part in range(0, parts, 1 if halves else 2):
                width = 1 if halves else 2
                exact = held[spot : spot + width]
                for code, vectors in zip(codes, columns, strict=True):
                    product = builder.mul(code, vectors[part // width])
                    for i, addend in enumerate(
                        [product] if halves else _in_words(builder, product)
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
    limits = [fill(builder, end, WORDS) for end in (bottom, top)]
    spot = 0
    for row in range(WALK_ROWS):
        for part in range(parts):
            values = _in_words(builder, held[spot]) if halves else [held[spot]]
            marks = _in_words(builder, flags[spot]) if halves else [flags[spot]]
            for index, (value, mark) in enumerate(zip(values, marks, strict=True)):
                offset = part * view.count + index * LANES
                where = place(16, INT32, (sums_at, 1), (sums_stride, row), (constant(1), offset))
                last = load(builder, element(builder, bias, (constant(1), offset)), WORDS)
                present = _present(builder, column, offset, columns, (row, count))
                _finish(
                    builder, (value, mark, last, present), limits, (wraps, apply), where, counters
                )
            spot += 1
    return context.get_dummy_value()


def _joined(builder: Any, words: Values) -> Any:
    order = ir.Constant(ir.VectorType(INT32, 2 * LANES), list(range(2 * LANES)))
    return builder.shuffle_vector(*words, order)


def _in_words(builder: Any, register: Any) -> list[Any]:
    """Return the 16 lanes of a register as two registers of words, in order."""
    wide = builder.sext(register, ir.VectorType(INT32, HALVES.count))
    undefined = ir.Constant(wide.type, ir.Undefined)
    found = []
    for first in (0, LANES):
        order = ir.Constant(ir.VectorType(INT32, LANES), list(range(first, first + LANES)))
        found.append(builder.shuffle_vector(wide, undefined, order))
    return found


def _columns(builder: Any, packed: Any, term: Any, halves: bool) -> list[Any]:
    """Return the codes of one term's columns. Products of 8-bit codes fit 16 bits, too."""
    parts = range(WALK_COLUMNS // HALVES.count if halves else 1)
    places = [
        element(builder, packed, (term, WALK_COLUMNS), (constant(HALVES.count), part))
        for part in parts
    ]
    return [load(builder, place, HALVES) for place in places]


def _clipped_sum(builder: Any, held: Any, product: Any, ends: Values, lanes: Lanes) -> Any:
    """Add a product to a register, which saturates."""
    if lanes.halves:
        total = call(builder, "llvm.sadd.sat.v16i16", HALVES, held, product)
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
    lanes = ir.Constant(WORDS, list(range(LANES)))
    return builder.icmp_signed("<", lanes, fill(builder, builder.trunc(rest, INT32), WORDS))


def _finish(
    builder: Any, found: Values, limits: Values, flags: Values, where: Any, counters: Values
) -> None:
    """Compare 8 registers with the exact sums: count what happened, and replace the sums."""
    value, mark, last, present = found
    wraps, apply = flags
    low, high = limits
    exact = load(builder, where, WORDS)
    total = smaller(builder, larger(builder, builder.add(value, last), low), high)
    # high - low is 2^bits - 1: a mask.
    mask = builder.sub(high, low)
    kept = builder.add(builder.and_(builder.sub(exact, low), mask), low)
    total = builder.select(wraps, kept, total)
    persistent = builder.or_(
        builder.icmp_signed("<", exact, low), builder.icmp_signed(">", exact, high)
    )
    clipped = builder.icmp_signed("!=", mark, splat(WORDS, 0))
    transient = builder.and_(clipped, builder.not_(persistent))
    changed = builder.icmp_signed("!=", total, exact)
    for counter, event in zip(counters, (changed, transient, persistent), strict=True):
        bits = builder.zext(builder.bitcast(builder.and_(event, present), BITS), INT64)
        count = call(builder, "llvm.ctpop.i64", INT64, bits)
        builder.store(builder.add(builder.load(counter), count), counter)
    store(builder, builder.select(apply, total, exact), where)
