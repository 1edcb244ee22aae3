# SPDX-License-Identifier: Apache-2.0
"""A table of 256 bytes by shuffles of AVX2: 32 codes at a time, in 16 parts of 16 entries."""

from __future__ import annotations

from typing import Any

from numba import types

from simulator.simd.lanes.vectors import (
    I8X32,
    INT8,
    address_of,
    call,
    constant,
    element,
    intrinsic,
    load,
    loop,
    splat,
    store,
)

PART = 16  # entries that one shuffle chooses from
# Added to a distance below 16 it leaves bit 7 clear; to any other, it sets it, and the shuffle
# gives 0 there.
BELOW_THE_SIGN = 128 - PART


@intrinsic
def look_up_bytes(typing, patterns, parts, out):
    """``out[i] = table[patterns[i]]`` for as many whole registers of 32 bytes as there are.

    ``parts`` is the table with each 16 entries twice, as registers hold them. All arrays are flat
    bytes, one pattern or more. Returns how many were looked up.
    """
    return types.intp(patterns, parts, out), _generate


def _generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    source, table, target = (
        address_of(context, builder, kind, argument, INT8)
        for kind, argument in zip(signature.args, arguments, strict=True)
    )
    size = context.make_array(signature.args[0])(context, builder, arguments[0]).nitems
    whole = builder.and_(size, constant(-I8X32.count))

    def register(first: Any, _: Any) -> list[Any]:
        patterns = load(builder, element(builder, source, (first, 1)), I8X32)
        found = splat(I8X32, 0)
        for part in range(256 // PART):
            entries = load(builder, element(builder, table, (constant(I8X32.count), part)), I8X32)
            distance = builder.xor(patterns, splat(I8X32, part * PART))
            chosen = call(
                builder, "llvm.uadd.sat.v32i8", I8X32, distance, splat(I8X32, BELOW_THE_SIGN)
            )
            shuffled = call(builder, "llvm.x86.avx2.pshuf.b", I8X32, entries, chosen)
            found = builder.or_(found, shuffled)
        store(builder, found, element(builder, target, (first, 1)))
        return []

    some = builder.icmp_signed(">", whole, constant(0))
    with builder.if_then(some):
        loop(builder, constant(0), whole, I8X32.count, [], register)
    return whole
