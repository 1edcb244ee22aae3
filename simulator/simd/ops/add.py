# SPDX-License-Identifier: Apache-2.0
"""Add of 8-bit codes in vector registers: the same codes as :mod:`simulator.ops.add`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from simulator.graph.bounds import bounds
from simulator.graph.graph import IntGraph
from simulator.graph.ops import Add
from simulator.numerics.integer_type import IntArray, Overflow, limits
from simulator.numerics.jit import is_compiling
from simulator.numerics.jit import kernel as compiled
from simulator.numerics.rounding import offsets, shift_right_kernel
from simulator.ops.behaviour import Kernel, OpResult
from simulator.simd.lanes.requantization import (
    LANES,
    WORD_BITS,
    even_and_odd,
    rounded,
    store_fitted,
    sum_of_lanes,
    widened,
    words_filled,
)
from simulator.simd.lanes.vectors import (
    DOUBLES,
    INT8,
    INT32,
    INT64,
    WORDS,
    Values,
    address_of,
    constant,
    element,
    fill,
    load,
    loop,
    splat,
)

EVEN_LOWER = [0, 8, 2, 10, 4, 12, 6, 14]  # the lower words of even and odd sums, in turns
LONGEST_SHIFT = 32  # up to here the lower word holds the shifted sum, sign and all


def words_kernel(
    op: Add,
    graph: IntGraph,
    factors: Sequence[NDArray[np.int64]],
    zero_points: Sequence[int],
    repeats_after: int,
) -> Kernel | None:
    """Return a kernel for batches in vector registers, or none where numbers are too wide.

    ``factors`` are int64 [channels], of both operands, as are the zero points. Codes of b repeat
    after so many.
    """
    if not _fits_words(op, graph, factors):
        return None
    result = graph.result(op)
    low, high = limits(result.code_type, op.overflow)
    uniform = all((factor == factor[0]).all() for factor in factors)
    # Where all channels are alike, a row may be as long as b.
    columns = repeats_after if uniform else result.shape[-1]
    if columns < LANES:
        return None
    held = LANES if uniform else columns // LANES * LANES  # channels whose constants are held
    inside = -sum(
        zero * factor[:1].repeat(held) if uniform else zero * factor[:held]
        for zero, factor in zip(zero_points, factors, strict=True)
    )
    parts = offsets(np.full(held, op.shift), op.rounding)
    plain = not parts[1:].any()
    added = [inside + parts[0]] if plain else [inside, *parts]
    constants = np.concatenate([even_and_odd(part).reshape(-1) for part in added])
    multipliers = [
        (factor[:1].repeat(LANES) if uniform else factor).astype(np.int32) for factor in factors
    ]

    def kernel(operands: Sequence[IntArray]) -> OpResult:
        a, b = (np.ascontiguousarray(operand) for operand in operands)
        out = np.empty(a.shape, result.type.dtype)
        misfits = add_words(
            a.reshape(-1),
            b.reshape(-1),
            *multipliers,
            *zero_points,
            plain,
            constants,
            parts[:, 0],
            op.shift,
            result.zero_point,
            low,
            high,
            columns,
            out.reshape(-1),
        )
        return OpResult(out, int(misfits))

    return kernel


def _fits_words(op: Add, graph: IntGraph, factors: Sequence[NDArray[np.int64]]) -> bool:
    """Tell whether 32-bit lanes can hold what the vector kernel keeps in them."""
    bytes_only = all(
        graph.tensors[name].type.dtype.itemsize == 1 for name in (*op.operands, op.name)
    )
    return (
        is_compiling()
        and bytes_only
        and op.shift <= LONGEST_SHIFT
        and bounds(graph, op).widest_bits - op.shift < WORD_BITS
        and op.overflow is not Overflow.WRAP
        and all(int(np.abs(factor).max()) < 1 << 31 for factor in factors)
    )


@compiled
def add_words(  # type: ignore[no-untyped-def]
    a, b, factor_a, factor_b, zero_a, zero_b, plain, constants, parts, shift, zero_y, low, high,
    columns, out,
):  # fmt: skip
    """Add ``a`` and ``b``, flat rows of ``columns`` codes, into ``out``; count the misfits.

    Rows of ``b`` repeat. ``columns`` is 8 or more.

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
    misfits = 0
    for i in range(a.shape[0] // columns):
        start = i % rows_of_b * columns
        at = i * columns
        if plain:
            misfits += _add_plain_row(
                a, at, b, start, whole, step, factor_a, factor_b, constants, shift, zero_y, low,
                high, out,
            )  # fmt: skip
        else:
            misfits += _add_any_row(
                a, at, b, start, whole, step, factor_a, factor_b, constants, shift, zero_y, low,
                high, out,
            )  # fmt: skip
        for c in range(whole, columns):
            total = (np.int64(a[at + c]) - zero_a) * factor_a[c * step]
            total += (np.int64(b[start + c]) - zero_b) * factor_b[c * step]
            code = shift_right_kernel(total, shift, parts[0], parts[1], parts[2]) + zero_y
            fitted = min(max(code, low), high)
            misfits += fitted != code
            out[at + c] = fitted
    return misfits


def _row_kernel(parts: int) -> Any:
    """Return the kernel of one row, with so many rows of constants."""

    @intrinsic
    def add_row(  # type: ignore[no-untyped-def]
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
    distance = fill(builder, arguments[9], DOUBLES)
    ends = words_filled(builder, arguments[10:13])

    def eight(first: Any, carried: Values) -> list[Any]:
        channel = builder.mul(first, step)
        operands = []
        for kind, start, at in codes:
            where = element(builder, start, (at, 1), (first, 1))
            narrow = load(builder, where, ir.VectorType(INT8, LANES))
            extend = builder.sext if kind.dtype.signed else builder.zext
            operands.append(extend(narrow, WORDS))
        multipliers = [load(builder, element(builder, f, (channel, 1)), WORDS) for f in factors]
        words = []
        for odd in (False, True):
            total = splat(DOUBLES, 0)
            for operand, multiplier in zip(operands, multipliers, strict=True):
                product = builder.mul(
                    widened(builder, operand, odd), widened(builder, multiplier, odd)
                )
                total = builder.add(total, product)
            added = []
            for part in range(parts):
                half = constant(LANES // 2), int(odd)
                where = element(builder, constants, (channels, part), (channel, 1), half)
                added.append(load(builder, where, DOUBLES))
            total = rounded(builder, total, added if parts == 1 else [*added, distance])
            words.append(builder.bitcast(builder.lshr(total, distance), WORDS))
        order = ir.Constant(ir.VectorType(INT32, LANES), EVEN_LOWER)
        lower = builder.shuffle_vector(*words, order)
        where = element(builder, out, (arguments[1], 1), (first, 1))
        return [store_fitted(builder, lower, ends, where, carried[0])]

    (misfits,) = loop(builder, constant(0), count, LANES, [splat(WORDS, 0)], eight)
    return sum_of_lanes(builder, misfits)
