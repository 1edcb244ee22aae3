# SPDX-License-Identifier: Apache-2.0
"""Rows of sums become codes in vector registers, in fixed point or in float."""

from __future__ import annotations

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
from simulator.simd.lanes.vectors import (
    I32X8,
    I32X16,
    INT32,
    INT64,
    LANES,
    Values,
    address_of,
    call,
    constant,
    element,
    intrinsic,
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
        :class:`simulator.simd.lanes.float_requantization.SimdFloatRequantizer`
    extremes
        int32 [16]: lane by lane the least and the largest sum so far
    """
    index = types.intp

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        none, one = constant(0), constant(1)
        sums_kind, _, out_kind, *kinds = signature.args
        sums, sums_at, out, out_at, *others = arguments
        return _generate(
            context, builder, (sums_kind, out_kind, *kinds[1:]),
            ((sums, sums_at, none), (out, out_at, none), *others), one,
        )  # fmt: skip

    return types.int64(sums, index, out, index, requantizer, extremes), generate


@intrinsic
def requantize_rows(
    typing, sums, sums_at, sums_stride, out, out_at, out_stride, count, requantizer, extremes
):
    """As :func:`requantize_row`, ``count`` rows, ``sums_stride`` and ``out_stride`` apart."""
    index = types.intp

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kinds = signature.args
        count, *others = arguments[6:]
        return _generate(
            context, builder, (kinds[0], kinds[3], *kinds[7:]),
            (arguments[:3], arguments[3:6], *others), count,
        )  # fmt: skip

    signature = types.int64(
        sums, index, index, out, index, index, index, requantizer, extremes
    )
    return signature, generate


def _generate(context: Any, builder: Any, all_kinds: Values, arguments: Values, count: Any) -> Any:
    """Requantize rows: memory, first element and stride of sums and codes come as threes."""
    sums_kind, out_kind, constants_kind, extremes_kind = all_kinds
    (sums, sums_at, sums_stride), (out, out_at, out_stride), requantizer, extremes = arguments
    kinds = list(constants_kind.types)
    parts = [builder.extract_value(requantizer, i) for i in range(len(kinds))]
    columns = context.make_array(kinds[0])(context, builder, parts[0]).nitems
    code = ir.IntType(out_kind.dtype.bitwidth)
    source = element(builder, address_of(context, builder, sums_kind, sums, INT32), (sums_at, 1))
    target = element(builder, address_of(context, builder, out_kind, out, code), (out_at, 1))
    extreme = address_of(context, builder, extremes_kind, extremes, INT32)
    with builder.goto_entry_block():  # a place per kernel, not per row
        total = builder.alloca(INT64)

    def by(rule: Rule, vector: Any = I32X8) -> None:
        rows = _Rows(columns, (source, sums_stride), (target, out_stride), parts[-ENDS:])
        builder.store(_all_rows(builder, count, rows, rule, extreme, vector), total)

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
    elif all(kinds[i].dtype == types.int32 for i in before_ends):
        by(upper_rule(builder, [part(i) for i in before_ends]), widest_lanes())
    else:
        by(fixed_point_rule(builder, [part(i) for i in before_ends]))
    return builder.load(total)


def widest_lanes() -> Any:
    """Return the widest register of 32-bit lanes that this CPU has."""
    return I32X16 if cpu_features().get("avx512f") else I32X8


class _Rows(NamedTuple):
    """Rows of ``columns`` sums and of codes: the first of each, how far they are apart; the ends."""

    columns: Any
    sums: Values
    codes: Values
    ends: Values


def _all_rows(
    builder: Any, count: Any, rows: _Rows, rule: Rule, extremes: Any, vector: Any
) -> Any:
    """Requantize ``count`` rows, a register at a time; return how many codes did not fit."""
    narrow = vector == I32X8
    ends = {kind: broadcast_each(builder, rows.ends, kind) for kind in {vector, I32X8}}
    whole = rows.columns if narrow else builder.and_(rows.columns, constant(-vector.count))

    def one_row(row: Any, carried: list[Any]) -> list[Any]:
        source, target = (
            builder.gep(start, [builder.mul(row, stride)]) for start, stride in rows[1:3]
        )

        def some(first: Any, carried: list[Any], kind: Any = vector) -> list[Any]:
            saturated, least, most = carried
            values = load(builder, element(builder, source, (first, 1)), kind)
            place = element(builder, target, (first, 1))
            saturated = store_fitted(builder, rule(values, first), ends[kind], place, saturated)
            return [saturated, smaller(builder, least, values), larger(builder, most, values)]

        if narrow:
            return loop(builder, constant(0), whole, vector.count, carried, some)
        carried = loop_if_any(builder, constant(0), whole, vector.count, carried, some)

        def last_eight(first: Any, carried: list[Any]) -> list[Any]:
            halves = [_half(builder, value, 0) for value in carried]
            left = some(first, halves, I32X8)
            return [
                _joined(builder, half, _half(builder, value, 1))
                for half, value in zip(left, carried, strict=True)
            ]

        return loop_if_any(builder, whole, rows.columns, LANES, carried, last_eight)

    places = [element(builder, extremes, (constant(LANES), i)) for i in (0, 1)]
    start = [splat(I32X8, 0), *(load(builder, place, I32X8) for place in places)]
    if not narrow:
        start = [_joined(builder, start[0], start[0]), *(_joined(builder, v, v) for v in start[1:])]
    saturated, least, most = loop(builder, constant(0), count, 1, start, one_row)
    if not narrow:
        least = smaller(builder, _half(builder, least, 0), _half(builder, least, 1))
        most = larger(builder, _half(builder, most, 0), _half(builder, most, 1))
    for value, place in zip((least, most), places, strict=True):
        store(builder, value, place)
    added = call(builder, f"llvm.vector.reduce.add.v{vector.count}i32", INT32, saturated)
    return builder.sext(added, INT64)


def _half(builder: Any, values: Any, number: int) -> Any:
    """Return the lower or the upper 8 of 16 lanes."""
    lanes = ir.Constant(I32X8, list(range(LANES * number, LANES * (number + 1))))
    return builder.shuffle_vector(values, values, lanes)


def _joined(builder: Any, lower: Any, upper: Any) -> Any:
    """Return 8 lanes and 8 more as one register."""
    return builder.shuffle_vector(lower, upper, ir.Constant(I32X16, list(range(2 * LANES))))
