# SPDX-License-Identifier: Apache-2.0
"""Logarithms of exponentials: see :class:`simulator.graph.ops.DeferredSoftmax`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from simulator.gemm import Gemm
from simulator.graph.graph import IntGraph
from simulator.graph.ops import DeferredSoftmax
from simulator.numerics.integer_type import IntArray
from simulator.numerics.jit import kernel as compiled
from simulator.numerics.rounding import Rounding, shift_right
from simulator.ops.behaviour import Behaviour, Kernel, OpResult
from simulator.ops.rows import largest_kernel


def logarithm(op: DeferredSoftmax, distance: int, highest: int) -> int:
    """Return the code of a score so many codes below the largest of its row."""
    return min(shift_right(distance * op.multiplier, op.shift, Rounding.HALF_UP), highest)


def reference(op: DeferredSoftmax, graph: IntGraph, operands: Sequence[IntArray]) -> OpResult:
    """One image in plain Python integers."""
    result = graph.result(op)
    highest = result.code_type.high
    rows = operands[0].reshape(-1, result.shape[-1]).tolist()
    codes = [[logarithm(op, max(row) - code, highest) for code in row] for row in rows]
    return OpResult(np.array(codes, result.type.dtype).reshape(result.shape))


def build(op: DeferredSoftmax, graph: IntGraph, _: Gemm) -> Kernel:
    """Kernel for batches."""
    result = graph.result(op)
    highest = result.code_type.high
    differences = 1 << graph.tensors[op.a].code_type.bits
    table = np.array([logarithm(op, d, highest) for d in range(differences)], result.type.dtype)

    def kernel(operands: Sequence[IntArray]) -> OpResult:
        rows = np.ascontiguousarray(operands[0]).reshape(-1, result.shape[-1])
        out = np.empty(rows.shape, result.type.dtype)
        logarithms_of_rows(rows, table, out)
        return OpResult(out.reshape(operands[0].shape))

    return kernel


@compiled
def logarithms_of_rows(rows, table, out):  # type: ignore[no-untyped-def]
    """Write the entry that belongs to every code's distance from the largest of its row."""
    for i in range(rows.shape[0]):
        largest = largest_kernel(rows, i)
        for j in range(rows.shape[1]):
            out[i, j] = table[largest - np.int64(rows[i, j])]


BEHAVIOUR = Behaviour(reference, build)
