# SPDX-License-Identifier: Apache-2.0
"""A table of 256 bytes in vector registers.

A CPU that permutes the bytes of two registers of 512 bits (AVX-512 VBMI) looks up 64 codes in each
half of the table at once. Shuffles of AVX2 choose from 16 bytes, 32 times at once: there the table
comes in 16 parts.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from simulator.numerics.jit import cpu_features
from simulator.simd.lanes.vectors import (
    I8X32,
    INT8,
    Values,
    address_of,
    call,
    constant,
    element,
    intrinsic,
    load,
    loop_if_any,
    splat,
    store,
)

ENTRIES = 256
PART = 16  # entries that one shuffle chooses from
# Added to a distance below 16 it leaves bit 7 clear; to any other, it sets it, and the shuffle
# gives 0 there.
BELOW_THE_SIGN = 128 - PART
I8X64 = ir.VectorType(INT8, 64)


def permutes_bytes() -> bool:
    """Tell whether this CPU permutes the bytes of two registers of 512 bits (AVX-512 VBMI)."""
    return bool(cpu_features().get("avx512vbmi"))


@intrinsic
def look_up_bytes(typing, patterns, parts, table, out):
    """``out[i] = table[patterns[i]]`` for as many whole registers as there are.

    ``parts`` is the table with each 16 entries twice, as registers of AVX2 hold them. All arrays
    are flat bytes, one pattern or more; ``out`` may be ``patterns``. Returns how many were looked
    up.
    """
    return types.intp(patterns, parts, table, out), _generate


def _generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    source, parts, table, target = (
        address_of(context, builder, kind, argument, INT8)
        for kind, argument in zip(signature.args, arguments, strict=True)
    )
    size = context.make_array(signature.args[0])(context, builder, arguments[0]).nitems
    tables = None if permutes_bytes() else parts, table
    return looked_up(builder, source, size, tables, target)


def looked_up(builder: Any, source: Any, size: Any, tables: tuple[Any, Any], target: Any) -> Any:
    """Generate :func:`look_up_bytes`: by shuffles of parts, or by permutations where None are."""
    parts, table = tables
    vector = I8X64 if parts is None else I8X32
    quarters = quarters_of(builder, table) if parts is None else []
    whole = builder.and_(size, constant(-vector.count))

    def register(first: Any, _: Any) -> list[Any]:
        patterns = load(builder, element(builder, source, (first, 1)), vector)
        if parts is None:
            found = permuted(builder, quarters, patterns)
        else:
            found = _shuffled(builder, parts, patterns)
        store(builder, found, element(builder, target, (first, 1)))
        return []

    loop_if_any(builder, constant(0), whole, vector.count, [], register)
    return whole


def quarters_of(builder: Any, table: Any) -> list[Any]:
    """Load a table of 256 bytes into four registers."""
    return [
        load(builder, element(builder, table, (constant(I8X64.count), i)), I8X64)
        for i in range(ENTRIES // I8X64.count)
    ]


def permuted(builder: Any, quarters: Values, patterns: Any) -> Any:
    """Look up 64 bytes: bit 7 of a pattern chooses the half of the table, the others the entry."""
    low, high = (
        call(builder, "llvm.x86.avx512.vpermi2var.qi.512", I8X64, first, patterns, second)
        for first, second in (quarters[:2], quarters[2:])
    )
    return builder.select(builder.icmp_signed("<", patterns, splat(I8X64, 0)), high, low)


def _shuffled(builder: Any, parts: Any, patterns: Any) -> Any:
    """Look up 32 bytes in every part; where it is not theirs they find 0."""
    found = splat(I8X32, 0)
    for part in range(ENTRIES // PART):
        entries = load(builder, element(builder, parts, (constant(I8X32.count), part)), I8X32)
        distance = builder.xor(patterns, splat(I8X32, part * PART))
        chosen = call(builder, "llvm.uadd.sat.v32i8", I8X32, distance, splat(I8X32, BELOW_THE_SIGN))
        shuffled = call(builder, "llvm.x86.avx2.pshuf.b", I8X32, entries, chosen)
        found = builder.or_(found, shuffled)
    return found
