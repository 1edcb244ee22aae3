# SPDX-License-Identifier: Apache-2.0
"""Rotation by a Hadamard matrix: see :class:`simulator.graph.ops.Hadamard`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from simulator.gemm import Gemm
from simulator.graph.graph import IntGraph
from simulator.graph.ops import Hadamard
from simulator.numerics.hadamard import factors, hadamard_matrix, subtracted_pairs
from simulator.numerics.integer_type import IntArray
from simulator.numerics.jit import kernel as compiled
from simulator.ops.behaviour import Behaviour, Kernel, OpResult
from simulator.ops.requantizing import requantize_reference, requantizer


def reference(op: Hadamard, graph: IntGraph, operands: Sequence[IntArray]) -> OpResult:
    """One image in plain Python integers: a product with the matrix, without butterflies."""
    result = graph.result(op)
    rows = operands[0].reshape(-1, op.order).astype(object) - graph.tensors[op.a].zero_point
    matrix = hadamard_matrix(op.order).tolist()
    sums = np.array(
        [
            [sum(sign * value for sign, value in zip(signs, row, strict=True)) for signs in matrix]
            for row in rows.tolist()
        ],
        object,
    )
    shaped = sums.reshape(result.shape)
    return OpResult(*requantize_reference(shaped, graph, op.requantize, result))


def build(op: Hadamard, graph: IntGraph, _: Gemm) -> Kernel:
    """Kernel for batches."""
    requantize = requantizer(graph, op.requantize, graph.result(op))
    zero_point = graph.tensors[op.a].zero_point
    paley, sylvester = factors(op.order)
    subtracted = subtracted_pairs(paley)

    def kernel(operands: Sequence[IntArray]) -> OpResult:
        blocks = np.ascontiguousarray(operands[0]).reshape(-1, op.order)
        sums = np.empty(blocks.shape, np.int32)
        rotate_blocks(blocks, zero_point, paley, sylvester, subtracted, sums)
        return OpResult(*requantize(sums.reshape(operands[0].shape)))

    return kernel


@compiled
def rotate_blocks(  # type: ignore[no-untyped-def]
    blocks, zero_point, paley, sylvester, subtracted, sums
):
    """Multiply each block [order] of codes with H into int32 ``sums``."""
    order = blocks.shape[1]
    one, other = np.empty(order, np.int32), np.empty(order, np.int32)
    zero = np.int32(zero_point)
    for i in range(blocks.shape[0]):
        for c in range(order):
            one[c] = np.int32(np.int32(blocks[i, c]) - zero)
        if paley > 1:
            paley_kernel(one, paley, sylvester, subtracted, other)
            one, other = other, one
        # Each step adds neighbours and takes them from one another; after log2(sylvester) of
        # them, the shuffles in between have brought every result to its place.
        half = sylvester // 2
        stride = 1
        while stride < sylvester:
            for start in range(0, order, sylvester):
                for c in range(half):
                    a, b = one[start + 2 * c], one[start + 2 * c + 1]
                    other[start + c] = a + b
                    other[start + half + c] = a - b
            one, other = other, one
            stride *= 2
        for c in range(order):
            sums[i, c] = one[c]


@compiled
def paley_kernel(values, paley, sylvester, subtracted, out):  # type: ignore[no-untyped-def]
    """Multiply with Paley's factor, on all ``sylvester`` columns of ``values`` at once.

    ``values`` int32 [paley * sylvester] is destroyed; see
    :func:`simulator.numerics.hadamard.subtracted_pairs`.
    """
    m = sylvester
    # The sums P and Q of p and q over all pairs but the first go to the places of y_0.
    for c in range(2 * m):
        out[c] = 0
    for pair in range(1, paley // 2):
        for c in range(m):
            a, b = values[2 * pair * m + c], values[(2 * pair + 1) * m + c]
            out[c] += a + b
            out[m + c] += a - b
    for i in range(subtracted.shape[0]):
        row = 2 * (i + 1) * m
        for c in range(m):
            # 2 (Σ p + b) and 2 (Σ q + a) are taken from P + p_0 and Q + q_0.
            out[row + c] = values[row + m + c]
            out[row + m + c] = values[row + c]
        for j in range(subtracted.shape[1]):
            pair = 2 * (subtracted[i, j] + 1) * m
            for c in range(m):
                a, b = values[pair + c], values[pair + m + c]
                out[row + c] += a + b
                out[row + m + c] += a - b
        for c in range(m):
            a, b = values[c], values[m + c]
            out[row + c] = out[c] + (a + b) - 2 * out[row + c]
            out[row + m + c] = out[m + c] + (a - b) - 2 * out[row + m + c]
    for c in range(m):
        a, b = values[c], values[m + c]
        out[c] += a - b
        out[m + c] -= a + b


BEHAVIOUR = Behaviour(reference, build)
