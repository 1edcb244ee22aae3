# SPDX-License-Identifier: Apache-2.0
"""Sums of four products of bytes, added to 32 bits: VNNI's instructions, and what they compute.

``vpdpbusd`` takes unsigned left bytes and signed right ones (AVX-VNNI, AVX512-VNNI), ``vpdpbssd``
signed left ones (AVX-VNNI-INT8); Intel 64 and IA-32 Architectures Software Developer's Manual,
volume 2. Neither saturates: a sum beyond 32 bits wraps.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from simulator.numerics.jit import cpu_features, has_vnni
from simulator.simd.lanes.vectors import INT8, INT32, call

QUAD_TERMS = 4
PLAIN = "plain"  # additions and multiplications of vectors: on any CPU
VPDPBUSD = "llvm.x86.avx512.vpdpbusd"  # of AVX-VNNI and of AVX512-VNNI
VPDPBSSD = "llvm.x86.avx2.vpdpbssd"


def instruction_for(*, signed_left: bool) -> str:
    """Return what this CPU adds four products with, left bytes being signed or not."""
    if signed_left:
        return VPDPBSSD if multiplies_signed_bytes() else PLAIN
    return VPDPBUSD if has_vnni() else PLAIN


def multiplies_signed_bytes() -> bool:
    """Tell whether left codes are multiplied as signed bytes.

    The instruction has 256 bits: on a CPU that has the unsigned one of 512, that is preferred.
    """
    return bool(cpu_features().get("avxvnniint8")) and not has_wide_vnni()


def has_wide_vnni() -> bool:
    """Tell whether registers of 512 bits are multiplied."""
    return bool(cpu_features().get("avx512vnni"))


def add_quads(
    builder: Any, total: Any, left: Any, right: Any, instruction: str, signed_left: bool
) -> Any:
    """Return ``total`` with the four products of each 32-bit lane added.

    Parameters
    ----------
    total, left, right
        registers of int32; of left and right each lane holds four bytes, the right ones signed
    instruction
        :data:`VPDPBUSD`, :data:`VPDPBSSD` or :data:`PLAIN`
    signed_left
        whether left bytes are signed; only :data:`PLAIN` asks
    """
    if instruction != PLAIN:
        bits = total.type.count * total.type.element.width
        return call(builder, f"{instruction}.{bits}", total.type, total, left, right)
    bytes_of = ir.VectorType(INT8, QUAD_TERMS * total.type.count)
    wide = ir.VectorType(INT32, bytes_of.count)
    extend = builder.sext if signed_left else builder.zext
    a = extend(builder.bitcast(left, bytes_of), wide)
    products = builder.mul(a, builder.sext(builder.bitcast(right, bytes_of), wide))
    for term in range(QUAD_TERMS):
        order = list(range(term, bytes_of.count, QUAD_TERMS))
        picked = ir.Constant(ir.VectorType(INT32, total.type.count), order)
        total = builder.add(total, builder.shuffle_vector(products, products, picked))
    return total
