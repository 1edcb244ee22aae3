# SPDX-License-Identifier: Apache-2.0
"""Mul of 8-bit codes in vector registers: the same codes as :mod:`simulator.ops.mul`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from simulator.graph.graph import IntGraph
from simulator.graph.ops import Mul
from simulator.numerics.integer_type import IntArray
from simulator.numerics.jit import has_avx2
from simulator.numerics.jit import kernel as compiled
from simulator.ops.behaviour import Kernel, OpResult
from simulator.ops.broadcasting import rows_repeat
from simulator.ops.codes import Codes
from simulator.ops.requantizing import word_requantizer
from simulator.simd.lanes.requantization import LANES
from simulator.simd.lanes.requantize_row import requantize_row


def words_kernel(op: Mul, graph: IntGraph) -> Kernel | None:
    """Return a kernel for batches in vector registers, or none where numbers are too wide."""
    result = graph.result(op)
    a, b = (graph.tensors[name] for name in op.operands)
    bytes_only = all(tensor.type.dtype.itemsize == 1 for tensor in (a, b))
    repeated = rows_repeat(b.shape, result.shape, constant=graph.is_constant(op.b))
    words = word_requantizer(graph, op.requantize, result)
    if not (has_avx2() and bytes_only and repeated and a.shape == result.shape) or words is None:
        return None
    channels = result.shape[-1]

    def kernel(operands: Sequence[IntArray]) -> OpResult:
        left, right = (np.ascontiguousarray(operand) for operand in operands)
        out = Codes.empty(left.shape, result.type.dtype)
        misfits = multiply_word_rows(
            left.reshape(-1, channels),
            right.reshape(-1, right.shape[-1]),
            a.zero_point,
            b.zero_point,
            words.arguments,
            out.flat,
        )
        return OpResult(out.codes, int(misfits))

    return kernel


@compiled
def multiply_word_rows(a, b, zero_a, zero_b, words, out):  # type: ignore[no-untyped-def]
    """Multiply each row [channels] of ``a`` by one of ``b`` into ``out``, flat; count the misfits.

    Rows of ``b`` repeat, and may be one code each.
    """
    channels = a.shape[1]
    products = np.zeros(words[0].shape[0], np.int32)
    extremes = np.zeros(2 * LANES, np.int32)
    first, second = np.int32(zero_a), np.int32(zero_b)
    misfits = 0
    for i in range(a.shape[0]):
        row = b[i % b.shape[0]]
        if b.shape[1] == 1:
            factor = np.int32(np.int32(row[0]) - second)
            for c in range(channels):
                products[c] = np.int32(np.int32(np.int32(a[i, c]) - first) * factor)
        else:
            for c in range(channels):
                factor = np.int32(np.int32(row[c]) - second)
                products[c] = np.int32(np.int32(np.int32(a[i, c]) - first) * factor)
        misfits += requantize_row(products, 0, out, i * channels, words, extremes)
    return misfits
