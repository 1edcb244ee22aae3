# SPDX-License-Identifier: Apache-2.0
"""Softmax by float32 exponentials: see :class:`simulator.graph.ops.SoftmaxFloatTable`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from simulator.gemm import Gemm
from simulator.graph.graph import IntGraph
from simulator.graph.ops import SoftmaxFloatTable
from simulator.numerics.integer_type import IntArray
from simulator.numerics.jit import kernel as compiled
from simulator.numerics.rounding import ROUNDING_MODES, Rounding, round_real, round_real_kernel
from simulator.ops.behaviour import Behaviour, Kernel, OpResult
from simulator.ops.rows import kernel_by_row, largest_kernel, reference_by_row


def softmax(
    table: NDArray[np.float32], levels: np.float32, rounding: Rounding, row: Sequence[int]
) -> list[int]:
    """Return the probabilities of one row in units of ``1 / levels``."""
    largest = max(row)
    exponentials = [table[largest - code] for code in row]
    total = np.float32(0)
    for exponential in exponentials:
        total += exponential  # float32 and float32 is float32
    inverse = np.float32(1) / (total / levels)
    products = [exponential * inverse for exponential in exponentials]
    return [round_real(float(product), rounding) for product in products]


def reference(op: SoftmaxFloatTable, graph: IntGraph, operands: Sequence[IntArray]) -> OpResult:
    """One image in float32 numbers, one operation at a time."""
    result = graph.result(op)
    table, levels = graph.constants[op.table], np.float32(1 << result.code_type.bits)
    return reference_by_row(
        lambda row: softmax(table, levels, op.rounding, row), result, operands[0]
    )


def build(op: SoftmaxFloatTable, graph: IntGraph, _: Gemm) -> Kernel:
    """Kernel for batches."""
    result = graph.result(op)
    return kernel_by_row(
        softmax_rows,
        result,
        graph.constants[op.table],
        np.float32(1 << result.code_type.bits),
        ROUNDING_MODES[op.rounding].arguments,
    )


@compiled
def softmax_rows(  # type: ignore[no-untyped-def]
    rows, table, levels, mode, zero_point, low, high, out
):
    """Softmax of each row of codes into ``out``; return how many were clipped.

    All floats are float32, and compiled one operation at a time: without fast-math, neither order
    nor precision may change, and products are not fused into sums.
    """
    saturated = 0
    for i in range(rows.shape[0]):
        largest = largest_kernel(rows, i)
        total = np.float32(0)
        for j in range(rows.shape[1]):
            total += table[largest - np.int64(rows[i, j])]
        inverse = np.float32(1) / (total / levels)
        for j in range(rows.shape[1]):
            product = table[largest - np.int64(rows[i, j])] * inverse
            code = np.int64(round_real_kernel(np.float64(product), mode)) + zero_point
            fitted = min(max(code, low), high)
            saturated += fitted != code
            out[i, j] = fitted
    return saturated


BEHAVIOUR = Behaviour(reference, build)
