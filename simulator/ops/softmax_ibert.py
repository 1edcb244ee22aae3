# SPDX-License-Identifier: Apache-2.0
"""I-BERT's softmax: see :class:`simulator.graph.ops.SoftmaxIBert`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from simulator.gemm import Gemm
from simulator.graph.graph import IntGraph
from simulator.graph.ops import SoftmaxIBert
from simulator.numerics.integer_type import IntArray
from simulator.numerics.jit import kernel as compiled
from simulator.ops.behaviour import Behaviour, Kernel, OpResult
from simulator.ops.rows import kernel_by_row, largest_kernel, reference_by_row

LARGEST_SHIFT = 31


def exponential(op: SoftmaxIBert, difference: int) -> int:
    """Return exp of a difference of codes, not positive."""
    octaves = min(-difference // op.log2, LARGEST_SHIFT)
    rest = difference + octaves * op.log2
    polynomial = op.coefficient_a * (rest + op.coefficient_b) ** 2 + op.coefficient_c
    return polynomial >> octaves


def softmax(op: SoftmaxIBert, largest_code: int, row: Sequence[int]) -> list[int]:
    """Return the probabilities of one row in units of ``1 / largest_code``."""
    largest = max(row)
    exponentials = [exponential(op, code - largest) for code in row]
    total = sum(exponentials)
    return [value * largest_code // total for value in exponentials]


def reference(op: SoftmaxIBert, graph: IntGraph, operands: Sequence[IntArray]) -> OpResult:
    """One image in plain Python integers."""
    result = graph.result(op)
    largest_code = (1 << result.code_type.bits) - 1
    return reference_by_row(lambda row: softmax(op, largest_code, row), result, operands[0])


def build(op: SoftmaxIBert, graph: IntGraph, _: Gemm) -> Kernel:
    """Kernel for batches."""
    result = graph.result(op)
    exponentials = np.empty(1 << graph.tensors[op.a].code_type.bits, np.int64)
    fill_exponentials(op.coefficient_a, op.coefficient_b, op.coefficient_c, op.log2, exponentials)
    return kernel_by_row(softmax_rows, result, exponentials, (1 << result.code_type.bits) - 1)


@compiled
def fill_exponentials(a, b, c, log2, out):  # type: ignore[no-untyped-def]
    """Write exp of every distance 0, 1, … below the largest code."""
    for distance in range(out.shape[0]):
        octaves = min(distance // log2, LARGEST_SHIFT)
        shifted = octaves * log2 - distance + b
        out[distance] = (a * shifted * shifted + c) >> octaves


@compiled
def softmax_rows(  # type: ignore[no-untyped-def]
    rows, exponentials, largest_code, zero_point, low, high, out
):
    """Softmax of each row of codes into ``out``; return how many were clipped."""
    saturated = 0
    for i in range(rows.shape[0]):
        largest = largest_kernel(rows, i)
        total = np.int64(0)
        for j in range(rows.shape[1]):
            total += exponentials[largest - np.int64(rows[i, j])]
        for j in range(rows.shape[1]):
            exponential = exponentials[largest - np.int64(rows[i, j])]
            code = exponential * largest_code // total + zero_point
            fitted = min(max(code, low), high)
            saturated += fitted != code
            out[i, j] = fitted
    return saturated


BEHAVIOUR = Behaviour(reference, build)
