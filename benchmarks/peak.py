# SPDX-License-Identifier: Apache-2.0
"""Peak of one core: multiply-adds that never leave its registers, and its clock.

The loops are written in LLVM's own language, as many independent sums as registers hold: from
Python's, a compiler would have to guess that. They are ceilings for products of float32, of int16
pairs, the widest exact product of bytes on CPUs without VNNI, and of quads of bytes by VNNI.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from benchmarks.pairs import cpu_seconds
from simulator.numerics.jit import cpu_features, has_vnni, kernel

# More than the latency of a multiply-add times the units that do it; with two operands, they fit
# into 16 registers.
SUMS = 12
ROUNDS = 4_000_000


def _features() -> Any:
    return cpu_features()


# float32 values in a register: AVX-512 has 16, AVX 8, all others 4.
LANES = 16 if _features().get("avx512f") else 8 if _features().get("avx") else 4
HAS_PAIRS = bool(_features().get("avx2"))
HAS_QUADS = has_vnni()
# int32 sums in a register of VNNI: 512 bits where AVX-512 has the instruction, else 256.
QUAD_LANES = 16 if _features().get("avx512vnni") else 8


def _loop(builder: Any, count: Any, vector: Any, step: Any) -> Any:
    """Run ``step(sum)`` on :data:`SUMS` vectors ``count`` times; return the sum of all of them."""
    start = builder.trunc(count, ir.IntType(32))
    is_float = isinstance(vector.element, ir.FloatType)
    first = builder.sitofp(start, vector.element) if is_float else start
    kept = []
    for _ in range(SUMS):
        filled = ir.Constant(vector, ir.Undefined)
        for lane in range(vector.count):
            filled = builder.insert_element(filled, first, ir.Constant(ir.IntType(32), lane))
        place = cgutils.alloca_once(builder, vector)
        builder.store(filled, place)
        kept.append(place)
    with cgutils.for_range(builder, count):
        for place in kept:
            builder.store(step(builder.load(place)), place)
    add = builder.fadd if is_float else builder.add
    total = builder.load(kept[0])
    for place in kept[1:]:
        total = add(total, builder.load(place))
    result = builder.extract_element(total, ir.Constant(ir.IntType(32), 0))
    for lane in range(1, vector.count):
        part = builder.extract_element(total, ir.Constant(ir.IntType(32), lane))
        result = add(result, part)
    return result


@intrinsic
def _float_loop(_typing: Any, _count: Any) -> Any:
    """Sum float32 products: sum = sum * x + y on every register."""
    vector = ir.VectorType(ir.FloatType(), LANES)

    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        kind = ir.FunctionType(vector, [vector] * 3)
        multiply_add = cgutils.get_or_insert_function(
            builder.module, kind, f"llvm.fmuladd.v{LANES}f32"
        )
        x, y = (ir.Constant(vector, [value] * LANES) for value in (0.5, 1.0))
        return _loop(
            builder, arguments[0], vector, lambda total: builder.call(multiply_add, [total, x, y])
        )

    return types.float32(types.int64), generate


@intrinsic
def _pair_loop(_typing: Any, _count: Any) -> Any:
    """Sum int16 products in pairs: sum = sum + pairs(sum * x), 8 int32 sums a register."""
    wide, narrow = ir.VectorType(ir.IntType(32), 8), ir.VectorType(ir.IntType(16), 16)

    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        kind = ir.FunctionType(wide, [narrow, narrow])
        pairs = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.avx2.pmadd.wd")
        x = ir.Constant(narrow, list(range(3, 19)))

        def step(total: Any) -> Any:
            return builder.add(total, builder.call(pairs, [builder.bitcast(total, narrow), x]))

        return _loop(builder, arguments[0], wide, step)

    return types.int32(types.int64), generate


@intrinsic
def _quad_loop(_typing: Any, _count: Any) -> Any:
    """Sum products of bytes in quads, by VNNI: sum = sum + quads(x * y)."""
    vector = ir.VectorType(ir.IntType(32), QUAD_LANES)

    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        name = f"llvm.x86.avx512.vpdpbusd.{32 * QUAD_LANES}"
        kind = ir.FunctionType(vector, [vector] * 3)
        quads = cgutils.get_or_insert_function(builder.module, kind, name)
        x, y = (ir.Constant(vector, [value] * QUAD_LANES) for value in (0x01020304, 0x05060708))
        return _loop(
            builder, arguments[0], vector, lambda total: builder.call(quads, [total, x, y])
        )

    return types.int32(types.int64), generate


@kernel
def _run_float(count):  # type: ignore[no-untyped-def]
    return _float_loop(count)


@kernel
def _run_pairs(count):  # type: ignore[no-untyped-def]
    return _pair_loop(count)


@kernel
def _run_quads(count):  # type: ignore[no-untyped-def]
    return _quad_loop(count)


@kernel
def _chain(count):  # type: ignore[no-untyped-def]
    """Six operations of one cycle each a round, none of which can begin before the last."""
    x = np.uint64(88172645463325252)
    for _ in range(count):
        x ^= x << np.uint64(13)
        x ^= x >> np.uint64(7)
        x ^= x << np.uint64(17)
    return x


def clock() -> float:
    """Return the cycles per second of now, by a chain of shifts that take a cycle each."""
    return 6 * ROUNDS / _seconds(_chain)


def float_peak() -> float:
    """Return float32 operations per second of one core; a multiply-add is two."""
    return 2 * SUMS * LANES * ROUNDS / _seconds(_run_float)


def pair_peak() -> float:
    """Return int16 operations per second of one core; only where :data:`HAS_PAIRS`."""
    return 2 * SUMS * 16 * ROUNDS / _seconds(_run_pairs)


def quad_peak() -> float:
    """Return operations on bytes per second of one core; only where :data:`HAS_QUADS`."""
    return 2 * SUMS * 4 * QUAD_LANES * ROUNDS / _seconds(_run_quads)


def _seconds(loop: Any) -> float:
    loop(1)  # compiles
    return cpu_seconds(lambda: loop(ROUNDS))
