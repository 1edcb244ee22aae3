# SPDX-License-Identifier: Apache-2.0
"""Mul of 8-bit codes in vector registers: the same codes as :mod:`simulator.ops.mul`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from simulator.gemm import Gemm
from simulator.graph.graph import IntGraph
from simulator.graph.ops import Mul
from simulator.numerics.integer_type import IntArray
from simulator.numerics.jit import kernel as compiled
from simulator.ops.behaviour import Kernel, OpResult
from simulator.ops.broadcasting import rows_repeat
from simulator.simd.lanes.padded_codes import PaddedCodes
from simulator.simd.lanes.requantize_row import requantize_row
from simulator.simd.lanes.vectors import LANES
from simulator.simd.ops.requantizing import simd_requantizer


def simd_kernel(op: Mul, graph: IntGraph, _: Gemm) -> Kernel | None:
    """Return a kernel for batches in vector registers, or none where numbers are too wide."""
    result = graph.result(op)
    a, b = (graph.tensors[name] for name in op.operands)
    bytes_only = all(tensor.type.dtype.itemsize == 1 for tensor in (a, b))
    repeated = rows_repeat(b.shape, result.shape, constant=graph.is_constant(op.b))
    requantizer = simd_requantizer(graph, op.requantize, result)
    if not (bytes_only and repeated and a.shape == result.shape) or requantizer is None:
        return None
    channels = result.shape[-1]

    def kernel(operands: Sequence[IntArray]) -> OpResult:
        left, right = (np.ascontiguousarray(operand) for operand in operands)
        out = PaddedCodes.empty(left.shape, result.type.dtype)
        saturated = multiply_rows_simd(
            left.reshape(-1, channels),
            right.reshape(-1, right.shape[-1]),
            a.zero_point,
            b.zero_point,
            requantizer.arguments,
            out.flat,
        )
        return OpResult(out.codes, int(saturated))

    return kernel


@compiled
def multiply_rows_simd(a, b, zero_a, zero_b, requantizer, out):
    """Multiply rows [channels] of ``a`` by those of ``b`` into ``out``, flat; count what saturates.

    Rows of ``b`` repeat, and may be one code each.
    """
    channels = a.shape[1]
    products = np.zeros(requantizer[0].shape[0], np.int32)
    extremes = np.zeros(2 * LANES, np.int32)
    first, second = np.int32(zero_a), np.int32(zero_b)
    saturated = 0
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
        saturated += requantize_row(products, 0, out, i * channels, requantizer, extremes)
    return saturated
