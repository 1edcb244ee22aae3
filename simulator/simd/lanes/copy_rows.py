# SPDX-License-Identifier: Apache-2.0
"""Rows of bytes that are apart in memory, brought together."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from simulator.simd.lanes.vectors import (
    INT8,
    address_of,
    constant,
    element,
    fill,
    intrinsic,
    load,
    loop,
    loop_if_any,
    store,
)

BYTES = 16  # that are taken at a time


@intrinsic
def copy_rows(typing, codes, begin, step, count, columns, shifted, out, width):
    """``out[i * width + k] = codes[begin + i * step + k] + shifted`` for rows and columns.

    ``codes`` are flat bytes, ``out`` is flat, of bytes or wider. ``count`` and ``columns`` are 1 or
    more. Nothing else is read or written.
    """
    index = types.intp
    return types.void(codes, index, index, index, index, index, out, index), _generate


def _generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    codes, begin, step, count, columns, shifted, out, width = arguments
    kind, out_kind = signature.args[0], signature.args[6]
    lane = ir.IntType(out_kind.dtype.bitwidth)
    source = element(builder, address_of(context, builder, kind, codes, INT8), (begin, 1))
    target = address_of(context, builder, out_kind, out, lane)
    added = builder.trunc(shifted, lane)
    whole = builder.and_(columns, constant(-BYTES))

    def widened(values: Any, to: Any) -> Any:
        if lane == INT8:
            return values
        return builder.sext(values, to) if kind.dtype.signed else builder.zext(values, to)

    def row(number: Any, _: Any) -> list[Any]:
        here, there = (
            builder.gep(start, [builder.mul(number, stride)])
            for start, stride in ((source, step), (target, width))
        )

        def register(first: Any, _: Any) -> list[Any]:
            vector = ir.VectorType(lane, BYTES)
            values = load(builder, builder.gep(here, [first]), ir.VectorType(INT8, BYTES))
            moved = builder.add(widened(values, vector), fill(builder, added, vector))
            store(builder, moved, builder.gep(there, [first]))
            return []

        def one(k: Any, _: Any) -> list[Any]:
            value = widened(builder.load(builder.gep(here, [k])), lane)
            builder.store(builder.add(value, added), builder.gep(there, [k]))
            return []

        loop_if_any(builder, constant(0), whole, BYTES, [], register)
        loop_if_any(builder, whole, columns, 1, [], one)
        return []

    loop(builder, constant(0), count, 1, [], row)
    return context.get_dummy_value()
