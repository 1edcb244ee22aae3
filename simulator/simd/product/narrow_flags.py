# SPDX-License-Identifier: Apache-2.0
"""Flags of sums that may leave a narrow register, by a bound on all their partial sums."""

from __future__ import annotations

from typing import Any

from numba import types

from simulator.simd.lanes.vectors import (
    I32X8,
    INT8,
    INT32,
    LANES,
    Values,
    address_of,
    constant,
    element,
    fill,
    intrinsic,
    larger,
    load,
    loop,
    smaller,
)

FLAGGED_ROWS = 8  # of a strip that have their flags together


@intrinsic
def flag_rows(
    typing, sums, at, stride, rows, norms, below, above, block_at, norm, low, high, flags, flags_at
):
    """Flag each column in which some sum of a few rows may leave ``low`` to ``high``.

    Parameters
    ----------
    sums
        int32, flat: partial sums from ``at`` on, rows of them ``stride`` apart, as many in a row as
        there are norms
    norms, norm
        int32 [blocks, columns]: lengths of the columns' next terms, rounded up, a row of them from
        ``block_at`` on; ``norm`` is that of the longest row. No partial sum of the next terms is
        farther away than the product of both (Cauchy-Schwarz).
    below, above
        the same shape: the least and the largest of what else partial sums of the next terms hold
    flags
        uint8, flat, from ``flags_at`` on: a bit for each column, put in
    """
    index = types.intp
    signature = types.void(
        sums, index, index, index, norms, below, above, index, index, index, index, flags, index
    )
    return signature, _flag_rows


def _flag_rows(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    _, at, stride, rows, norms, _, _, block_at, norm, low, high, _, flags_at = arguments
    kinds = signature.args

    def place(position: int, lane: Any, start: Any) -> Any:
        address = address_of(context, builder, kinds[position], arguments[position], lane)
        return element(builder, address, (start, 1))

    sums, flags = place(0, INT32, at), place(11, INT8, flags_at)
    lengths, down, up = (place(position, INT32, block_at) for position in (4, 5, 6))
    columns = builder.extract_value(context.make_array(kinds[4])(context, builder, norms).shape, 1)
    longest, bottom, top = (
        fill(builder, builder.trunc(n, INT32), I32X8) for n in (norm, low, high)
    )

    def eight(first: Any, _: Values) -> list[Any]:
        column = element(builder, sums, (first, 1))
        one = load(builder, column, I32X8)

        def row(begin: Any, ends: Values) -> list[Any]:
            total = load(builder, builder.gep(column, [begin]), I32X8)
            return [smaller(builder, ends[0], total), larger(builder, ends[1], total)]

        # The first row twice, instead of a loop that may have no round.
        least, most = loop(builder, constant(0), builder.mul(rows, stride), stride, [one, one], row)
        length, low_drift, high_drift = (
            load(builder, element(builder, vector, (first, 1)), I32X8)
            for vector in (lengths, down, up)
        )
        reach = builder.mul(length, longest)
        highest = builder.add(builder.add(most, high_drift), reach)
        lowest = builder.sub(builder.add(least, low_drift), reach)
        outside = builder.or_(
            builder.icmp_signed(">", highest, top), builder.icmp_signed("<", lowest, bottom)
        )
        flag = builder.gep(flags, [builder.lshr(first, constant(3))])
        found = builder.bitcast(outside, INT8)
        builder.store(builder.or_(builder.load(flag), found), flag)
        return []

    loop(builder, constant(0), columns, LANES, [], eight)
    return context.get_dummy_value()
