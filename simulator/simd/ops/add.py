# SPDX-License-Identifier: Apache-2.0
"""Add of 8-bit codes in vector registers: the same codes as :mod:`simulator.ops.add`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numpy.typing import NDArray

from simulator.gemm import Gemm
from simulator.graph.bounds import bounds
from simulator.graph.graph import IntGraph
from simulator.graph.ops import Add
from simulator.numerics.integer_type import IntArray, Overflow, limits
from simulator.numerics.jit import kernel as compiled
from simulator.numerics.rounding import offsets, shift_right_kernel
from simulator.ops.add import channel_multipliers, second_operand
from simulator.ops.behaviour import Kernel, OpResult
from simulator.simd.lanes.requantization import (
    LANE_BITS,
    broadcast_each,
    even_and_odd,
    is_bit_mask,
    rounded,
    store_fitted,
    sum_of_lanes,
    widened,
)
from simulator.simd.lanes.vectors import (
    I32X8,
    I64X4,
    INT8,
    INT32,
    INT64,
    LANES,
    Values,
    address_of,
    constant,
    element,
    fill,
    intrinsic,
    load,
    loop,
    splat,
)

EVEN_LOWER = [0, 8, 2, 10, 4, 12, 6, 14]  # the lower halves of even and odd sums, in turns
LONGEST_SHIFT = 62


@dataclass(frozen=True, slots=True, kw_only=True)
class AddConstants:
    """The constants of an Add as :func:`add_rows_simd` takes them.

    Attributes
    ----------
    arguments
        from the factors on, up to the columns
    uniform
        whether all channels have the same factors: a row may then be as long as b
    """

    arguments: tuple[object, ...]
    uniform: bool


def simd_kernel(op: Add, graph: IntGraph, _: Gemm) -> Kernel | None:
    """Return a kernel for batches in vector registers, or none where numbers are too wide."""
    constants = add_constants(op, graph)
    if constants is None:
        return None
    result = graph.result(op)
    channels = result.shape[-1]
    if channels < LANES and not (constants.uniform and prod(graph.tensors[op.b].shape) >= LANES):
        return None

    def kernel(operands: Sequence[IntArray]) -> OpResult:
        a = np.ascontiguousarray(operands[0])
        b = second_operand(operands)
        out = np.empty(a.shape, result.type.dtype)
        flat = out.reshape(-1)
        # Where all channels are alike, a row may be as long as b.
        columns = b.size if constants.uniform else channels
        saturated = add_rows_simd(a.reshape(-1), b.reshape(-1), *constants.arguments, columns, flat)
        return OpResult(out, int(saturated))

    return kernel


def add_constants(op: Add, graph: IntGraph) -> AddConstants | None:
    """Return the constants of an Add in vector registers, or none where numbers are too wide."""
    factors = channel_multipliers(op, graph)
    if not _fits_lanes(op, graph, factors):
        return None
    result = graph.result(op)
    low, high = limits(result.code_type, op.overflow)
    zero_points = [graph.tensors[operand].zero_point for operand in op.operands]
    uniform = all((factor == factor[0]).all() for factor in factors)
    # Channels whose constants are held.
    held = LANES if uniform else result.shape[-1] // LANES * LANES
    pre_shift_offset = -sum(
        zero * factor[:1].repeat(held) if uniform else zero * factor[:held]
        for zero, factor in zip(zero_points, factors, strict=True)
    )
    parts = offsets(np.full(held or 1, op.shift), op.rounding)
    plain = not parts[1:].any()
    added = [pre_shift_offset + parts[0]] if plain else [pre_shift_offset, *parts]
    constants = np.concatenate([even_and_odd(part[:held]).reshape(-1) for part in added])
    multipliers = [
        (factor[:1].repeat(LANES) if uniform else factor).astype(np.int32) for factor in factors
    ]
    return AddConstants(
        arguments=(
            *multipliers,
            *zero_points,
            plain,
            constants,
            parts[:, 0],
            op.shift,
            result.zero_point,
            low,
            high,
        ),
        uniform=uniform,
    )


def _fits_lanes(op: Add, graph: IntGraph, factors: Sequence[NDArray[np.int64]]) -> bool:
    """Tell whether 32-bit lanes can hold what the vector kernel keeps in them."""
    bytes_only = all(
        graph.tensors[name].type.dtype.itemsize == 1 for name in (*op.operands, op.name)
    )
    return (
        bytes_only
        and op.shift <= LONGEST_SHIFT
        and is_bit_mask(offsets(np.array([op.shift]), op.rounding)[2])
        and bounds(graph, op).widest_bits - op.shift < LANE_BITS
        and op.overflow is not Overflow.WRAP
        and all(int(np.abs(factor).max()) < 1 << 31 for factor in factors)
    )


@compiled
def add_rows_simd(
    a, b, factor_a, factor_b, zero_a, zero_b, plain, constants, parts, shift, zero_y, low, high,
    columns, out,
):  # fmt: skip
    """Add ``a`` and ``b``, flat rows of ``columns`` codes, into ``out``; count what saturates.

    Rows of ``b`` repeat.

    Parameters
    ----------
    factor_a, factor_b
        int32 [columns], or [8] where all columns have the same
    plain, constants
        int64 [4, columns or 8], even and odd channels of each 8 apart: what belongs to the sum, and
        the parts of its rounding; one row with what is always added where nothing else is
        (``plain``). Columns behind the last whole 8 are not in it
    parts
        int64 [3]: the parts of the rounding
    """
    rows_of_b = b.shape[0] // columns
    whole = columns // LANES * LANES
    step = 0 if factor_a.shape[0] < columns else 1
    saturated = 0
    for i in range(a.shape[0] // columns):
        start = i % rows_of_b * columns
        at = i * columns
        if whole and plain:  # rows of registers are of one at least
            saturated += _add_plain_row(
                a, at, b, start, whole, step, factor_a, factor_b, constants, shift, zero_y, low,
                high, out,
            )  # fmt: skip
        elif whole:
            saturated += _add_any_row(
                a, at, b, start, whole, step, factor_a, factor_b, constants, shift, zero_y, low,
                high, out,
            )  # fmt: skip
        for c in range(whole, columns):
            total = (np.int64(a[at + c]) - zero_a) * factor_a[c * step]
            total += (np.int64(b[start + c]) - zero_b) * factor_b[c * step]
            code = shift_right_kernel(total, shift, parts[0], parts[1], parts[2]) + zero_y
            fitted = min(max(code, low), high)
            saturated += fitted != code
            out[at + c] = fitted
    return saturated


def _row_kernel(parts: int) -> Any:
    """Return the kernel of one row, with so many rows of constants."""

    @intrinsic
    def add_row(
        typing, a, a_at, b, b_at, count, step, factor_a, factor_b, constants, shift, zero_y, low,
        high, out,
    ):  # fmt: skip
        """Add ``count`` codes of a row, a multiple of 8; the place in ``out`` is that in ``a``.

        Factors and constants go ``step`` channels further with each.
        """
        index = types.intp
        signature = types.int64(
            a, index, b, index, index, index, factor_a, factor_b, constants, index, index, index,
            index, out,
        )  # fmt: skip

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return _generate(context, builder, signature, arguments, parts)

        return signature, generate

    return add_row


_add_plain_row = _row_kernel(1)
_add_any_row = _row_kernel(4)


def _generate(context: Any, builder: Any, signature: Any, arguments: Any, parts: int) -> Any:
    kinds = signature.args

    def place(position: int, lane: Any) -> Any:
        return address_of(context, builder, kinds[position], arguments[position], lane)

    codes = [(kinds[0], place(0, INT8), arguments[1]), (kinds[2], place(2, INT8), arguments[3])]
    count, step = arguments[4:6]
    factors = [place(6, INT32), place(7, INT32)]
    constants = place(8, INT64)
    out = place(13, INT8)
    channels = builder.udiv(
        context.make_array(kinds[8])(context, builder, arguments[8]).nitems, constant(parts)
    )
    # Shifted by 32 at most the lower half holds what is left, sign and all; then by the rest.
    shift, most = arguments[9], constant(LANE_BITS)
    first_shift = builder.select(builder.icmp_signed("<", shift, most), shift, most)
    distance, first_distance = (fill(builder, number, I64X4) for number in (shift, first_shift))
    rest = fill(builder, builder.trunc(builder.sub(shift, first_shift), INT32), I32X8)
    ends = broadcast_each(builder, arguments[10:13])

    def eight(first: Any, carried: Values) -> list[Any]:
        channel = builder.mul(first, step)
        operands = []
        for kind, start, at in codes:
            where = element(builder, start, (at, 1), (first, 1))
            narrow = load(builder, where, ir.VectorType(INT8, LANES))
            extend = builder.sext if kind.dtype.signed else builder.zext
            operands.append(extend(narrow, I32X8))
        multipliers = [load(builder, element(builder, f, (channel, 1)), I32X8) for f in factors]
        halves = []
        for odd in (False, True):
            total = splat(I64X4, 0)
            for operand, multiplier in zip(operands, multipliers, strict=True):
                product = builder.mul(
                    widened(builder, operand, odd), widened(builder, multiplier, odd)
                )
                total = builder.add(total, product)
            added = []
            for part in range(parts):
                half = constant(LANES // 2), int(odd)
                where = element(builder, constants, (channels, part), (channel, 1), half)
                added.append(load(builder, where, I64X4))
            total = rounded(builder, total, added if parts == 1 else [*added, distance])
            halves.append(builder.bitcast(builder.lshr(total, first_distance), I32X8))
        order = ir.Constant(ir.VectorType(INT32, LANES), EVEN_LOWER)
        lower = builder.ashr(builder.shuffle_vector(*halves, order), rest)
        where = element(builder, out, (arguments[1], 1), (first, 1))
        return [store_fitted(builder, lower, ends, where, carried[0])]

    (saturated,) = loop(builder, constant(0), count, LANES, [splat(I32X8, 0)], eight)
    return sum_of_lanes(builder, saturated)
