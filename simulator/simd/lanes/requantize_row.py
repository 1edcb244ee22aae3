# SPDX-License-Identifier: Apache-2.0
"""Rows of sums become codes in vector registers, in fixed point or in float."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types

from simulator.numerics.jit import cpu_features
from simulator.simd.lanes.float_requantization import float_rules
from simulator.simd.lanes.requantization import (
    Rule,
    broadcast_each,
    fixed_point_rule,
    store_fitted,
    upper_rule,
)
from simulator.simd.lanes.residual_term import is_residual, residual_terms
from simulator.simd.lanes.vectors import (
    I32X8,
    I32X16,
    INT32,
    INT64,
    LANES,
    address_of,
    call,
    constant,
    element,
    intrinsic,
    joined,
    larger,
    load,
    loop,
    loop_if_any,
    smaller,
    splat,
    store,
)

ENDS = 3  # zero point, lowest and highest code: the last of ``requantizer``


@intrinsic
def requantize_row(typing, sums, sums_at, out, out_at, requantizer, extremes):
    """Requantize int32 ``sums`` from ``sums_at`` on into ``out`` from ``out_at`` on, both flat.

    As many as there are multipliers, a multiple of 8; returns how many codes did not fit.

    Parameters
    ----------
    requantizer
        ``arguments`` of a :class:`simulator.simd.lanes.requantization.SimdRequantizer` or of a
        :class:`simulator.simd.lanes.float_requantization.SimdFloatRequantizer`; last, where sums go
        onto a residual, ``arguments`` of a
        :class:`simulator.simd.lanes.residual_term.ResidualTerm` as a tuple. The residual's codes
        lie as those of ``out`` do
    extremes
        int32 [16]: lane by lane the least and the largest sum so far
    """
    index = types.intp

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        def place(number: int, lane: Any) -> Any:
            return address_of(context, builder, signature.args[number], arguments[number], lane)

        rows = Rows(
            count=constant(1),
            sums=(place(0, INT32), arguments[1], constant(0)),
            codes=(place(2, _code(signature.args[2])), arguments[3], constant(0)),
        )
        constants = signature.args[4], arguments[4]
        return requantized(context, builder, rows, constants, place(5, INT32))

    return types.int64(sums, index, out, index, requantizer, extremes), generate


@intrinsic
def requantize_rows(
    typing, sums, sums_at, sums_stride, out, out_at, out_stride, count, requantizer, extremes
):
    """As :func:`requantize_row`, ``count`` rows, ``sums_stride`` and ``out_stride`` apart."""
    index = types.intp

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        def place(number: int, lane: Any) -> Any:
            return address_of(context, builder, signature.args[number], arguments[number], lane)

        rows = Rows(
            count=arguments[6],
            sums=(place(0, INT32), arguments[1], arguments[2]),
            codes=(place(3, _code(signature.args[3])), arguments[4], arguments[5]),
        )
        constants = signature.args[7], arguments[7]
        return requantized(context, builder, rows, constants, place(8, INT32))

    signature = types.int64(sums, index, index, out, index, index, index, requantizer, extremes)
    return signature, generate


def _code(kind: Any) -> Any:
    return ir.IntType(kind.dtype.bitwidth)


class Rows(NamedTuple):
    """Rows of sums and of codes: how many; address, where the first begins, how far they are apart.

    ``from_sum`` makes of lanes of ``sums`` what is requantized.
    """

    count: Any
    sums: tuple[Any, Any, Any]
    codes: tuple[Any, Any, Any]
    from_sum: Callable[[Any], Any] = lambda values: values


def requantized(
    context: Any, builder: Any, rows: Rows, constants: tuple[Any, Any], extremes: Any
) -> Any:
    """Generate the requantization of rows; return how many codes did not fit.

    ``constants`` are type and value of a requantizer, ``extremes`` where those of the sums are, or
    None.
    """
    kinds = list(constants[0].types)
    parts = [builder.extract_value(constants[1], i) for i in range(len(kinds))]
    terms = None
    if is_residual(kinds[-1]):
        terms = residual_terms(context, builder, kinds.pop(), parts.pop())
    columns = context.make_array(kinds[0])(context, builder, parts[0]).nitems
    with builder.goto_entry_block():  # a place per kernel, not per row
        total = builder.alloca(INT64)

    def by(rule: Rule, vector: Any = I32X8) -> None:
        ends = {kind: broadcast_each(builder, parts[-ENDS:], kind) for kind in (vector, I32X8)}
        form = (rule, ends, vector, terms)
        builder.store(_all_rows(builder, rows, columns, form, extremes), total)

    def part(position: int) -> Any:
        return lambda lane: address_of(context, builder, kinds[position], parts[position], lane)

    before_ends = range(len(kinds) - ENDS)
    if isinstance(kinds[0].dtype, types.Float):
        *arrays, mode = before_ends
        rules = float_rules(builder, kinds[0].dtype.bitwidth, [part(i) for i in arrays])
        for index, rule in rules.items():
            chosen = builder.icmp_signed("==", parts[mode], constant(index))
            with builder.if_then(chosen):
                by(rule)
    else:
        upper = all(kinds[i].dtype == types.int32 for i in before_ends)
        rule = upper_rule if upper else fixed_point_rule
        by(rule(builder, [part(i) for i in before_ends]), widest_lanes())
    return builder.load(total)


def widest_lanes() -> Any:
    """Return the widest register of 32-bit lanes that this CPU has."""
    return I32X16 if cpu_features().get("avx512f") else I32X8


def _all_rows(builder: Any, rows: Rows, columns: Any, form: Any, extremes: Any) -> Any:
    """Requantize rows, a register at a time; return how many codes did not fit."""
    rule, ends, vector, terms = form
    wide = vector.count > LANES
    whole = builder.and_(columns, constant(-vector.count)) if wide else columns

    def one_row(number: Any, carried: list[Any]) -> list[Any]:
        (sums, source), (codes, target) = (
            (start, builder.add(begin, builder.mul(number, stride)))
            for start, begin, stride in rows[1:3]
        )

        def some(first: Any, carried: list[Any], kind: Any = vector) -> list[Any]:
            where = element(builder, sums, (source, 1), (first, 1))
            values = rows.from_sum(load(builder, where, kind))
            added = [] if terms is None else [terms(target, first, kind)]
            place = element(builder, codes, (target, 1), (first, 1))
            rounded = rule(values, first, *added)
            saturated = store_fitted(builder, rounded, ends[kind], place, carried[0])
            nearer = (smaller, larger)[: len(carried) - 1]
            found = zip(nearer, carried[1:], strict=True)
            return [saturated, *(choose(builder, value, values) for choose, value in found)]

        def last_eight(first: Any, carried: list[Any]) -> list[Any]:
            left = some(first, [_half(builder, value, 0) for value in carried], I32X8)
            kept = (_half(builder, value, 1) for value in carried)
            return [joined(builder, *halves) for halves in zip(left, kept, strict=True)]

        if not wide:
            return loop(builder, constant(0), whole, vector.count, carried, some)
        carried = loop_if_any(builder, constant(0), whole, vector.count, carried, some)
        return loop_if_any(builder, whole, columns, LANES, carried, last_eight)

    places = []
    if extremes is not None:
        places = [element(builder, extremes, (constant(LANES), i)) for i in (0, 1)]
    start = [splat(I32X8, 0), *(load(builder, place, I32X8) for place in places)]
    if wide:
        start = [joined(builder, value, value) for value in start]
    saturated, *found = loop(builder, constant(0), rows.count, 1, start, one_row)
    for value, place, nearer in zip(found, places, (smaller, larger), strict=False):
        halves = [_half(builder, value, i) for i in (0, 1)] if wide else [value, value]
        store(builder, nearer(builder, *halves), place)
    added = call(builder, f"llvm.vector.reduce.add.v{vector.count}i32", INT32, saturated)
    return builder.sext(added, INT64)


def _half(builder: Any, values: Any, number: int) -> Any:
    """Return the lower or the upper 8 of 16 lanes."""
    lanes = ir.Constant(I32X8, list(range(LANES * number, LANES * (number + 1))))
    return builder.shuffle_vector(values, values, lanes)
