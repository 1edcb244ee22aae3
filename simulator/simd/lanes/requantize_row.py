# SPDX-License-Identifier: Apache-2.0
"""One row of sums becomes codes in vector registers, in fixed point or in float."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from simulator.simd.lanes.float_requantization import float_rules
from simulator.simd.lanes.requantization import (
    Rule,
    broadcast_each,
    fixed_point_rule,
    store_fitted,
    sum_of_lanes,
)
from simulator.simd.lanes.vectors import (
    I32X8,
    INT32,
    INT64,
    LANES,
    Values,
    address_of,
    constant,
    element,
    intrinsic,
    larger,
    load,
    loop,
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
    return types.int64(sums, index, out, index, requantizer, extremes), _generate


def _generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    sums_kind, _, out_kind, _, constants_kind, extremes_kind = signature.args
    sums, sums_at, out, out_at, requantizer, extremes = arguments
    kinds = list(constants_kind.types)
    parts = [builder.extract_value(requantizer, i) for i in range(len(kinds))]
    count = context.make_array(kinds[0])(context, builder, parts[0]).nitems
    code = ir.IntType(out_kind.dtype.bitwidth)
    source = element(builder, address_of(context, builder, sums_kind, sums, INT32), (sums_at, 1))
    target = element(builder, address_of(context, builder, out_kind, out, code), (out_at, 1))
    extreme = address_of(context, builder, extremes_kind, extremes, INT32)
    ends = broadcast_each(builder, parts[-ENDS:])
    with builder.goto_entry_block():  # a place per kernel, not per row
        total = builder.alloca(INT64)

    def by(rule: Rule) -> None:
        saturated = _loop(builder, count, rule, (source, target, extreme), ends)
        builder.store(saturated, total)

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
        by(fixed_point_rule(builder, [part(i) for i in before_ends]))
    return builder.load(total)


def _loop(builder: Any, count: Any, rule: Rule, places: Values, ends: Values) -> Any:
    """Requantize the row, 8 sums at a time; return how many codes did not fit."""
    source, target, extremes = places

    def eight(first: Any, carried: Values) -> list[Any]:
        saturated, least, most = carried
        values = load(builder, element(builder, source, (first, 1)), I32X8)
        codes = rule(values, first)
        place = element(builder, target, (first, 1))
        return [
            store_fitted(builder, codes, ends, place, saturated),
            smaller(builder, least, values),
            larger(builder, most, values),
        ]

    ends_so_far = [element(builder, extremes, (constant(LANES), i)) for i in (0, 1)]
    start = [splat(I32X8, 0), *(load(builder, place, I32X8) for place in ends_so_far)]
    saturated, *found = loop(builder, constant(0), count, LANES, start, eight)
    for value, place in zip(found, ends_so_far, strict=True):
        store(builder, value, place)
    return sum_of_lanes(builder, saturated)
