# SPDX-License-Identifier: Apache-2.0
"""A product of levels, divided by their sums: :class:`simulator.graph.ops.NormalizedMatMul`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np

from simulator.gemm import Gemm
from simulator.graph.bounds import bounds
from simulator.graph.graph import IntGraph
from simulator.graph.ops import MatMul, NormalizedMatMul
from simulator.numerics.accumulator import accumulate
from simulator.numerics.integer_type import IntArray
from simulator.numerics.jit import kernel as compiled
from simulator.ops.behaviour import Behaviour, Kernel, OpResult, SumCounts, one_sum
from simulator.ops.matmul import sums_of_activations
from simulator.ops.requantizing import requantize_reference, requantizer


def reference(op: NormalizedMatMul, graph: IntGraph, operands: Sequence[IntArray]) -> OpResult:
    """One image in plain Python integers."""
    a, b = (operand.astype(object) for operand in operands)
    b = np.swapaxes(b, -1, -2) if op.transpose_b else b
    levels = graph.constants[op.levels].tolist()
    result = graph.result(op)
    normalized = np.empty(result.shape, object)
    found = []
    for index in np.ndindex(*result.shape[:-1]):
        row = [levels[code] for code in a[index]]
        inverse = reciprocal(sum(row), op.reciprocal_bits)
        for n, column in enumerate(b[index[:-1]].T.tolist()):
            products = [level * code for level, code in zip(row, column, strict=True)]
            total, event = accumulate(products, 0, op.accumulator)
            normalized[(*index, n)] = total * inverse
            found.append(one_sum(sum(products), event))
    codes, saturated = requantize_reference(normalized, graph, op.requantize, result)
    return OpResult(codes, saturated, reduce(SumCounts.merged, found))


def reciprocal(total: int, bits: int) -> int:
    """Return ``2^bits`` over the sum of a row's levels, rounded half up; 0 counts as 1."""
    divisor = max(total, 1)
    return ((1 << bits) + divisor // 2) // divisor


def build(op: NormalizedMatMul, graph: IntGraph, gemm: Gemm) -> Kernel:
    """Kernel for batches."""
    requantize = requantizer(graph, op.requantize, graph.result(op))
    sums_of = sums_of_activations(_of_levels(op), graph, gemm, bounds(graph, op))
    table = graph.constants[op.levels].astype(np.uint8)

    def kernel(operands: Sequence[IntArray]) -> OpResult:
        a, b = operands
        levels = np.empty(a.shape, np.uint8)
        inverses = np.empty(a.shape[:-1], np.int64)
        rows = np.ascontiguousarray(a).reshape(-1, a.shape[-1])
        decode_rows(
            rows, table, op.reciprocal_bits, levels.reshape(rows.shape), inverses.reshape(-1)
        )
        sums, counts, in_order = sums_of(levels, b)
        normalized = sums * inverses.reshape(*sums.shape[:2], 1)
        codes, saturated = requantize(normalized)
        return OpResult(codes.reshape(*a.shape[:-1], -1), saturated, counts, in_order)

    return kernel


def _of_levels(op: NormalizedMatMul) -> MatMul:
    """Return the product alone, as one of levels that are already decoded."""
    return MatMul(
        name=op.name,
        a=op.a,
        b=op.b,
        transpose_b=op.transpose_b,
        bias=None,
        accumulator=op.accumulator,
        requantize=op.requantize,
    )


@compiled
def decode_rows(codes, table, reciprocal_bits, levels, inverses):  # type: ignore[no-untyped-def]
    """Write the level of every code, and the reciprocal of the sum of each row's levels."""
    for i in range(codes.shape[0]):
        total = np.int64(0)
        for j in range(codes.shape[1]):
            level = table[codes[i, j]]
            levels[i, j] = level
            total += np.int64(level)
        total = max(total, np.int64(1))
        inverses[i] = ((np.int64(1) << reciprocal_bits) + (total >> 1)) // total


BEHAVIOUR = Behaviour(reference, build)
