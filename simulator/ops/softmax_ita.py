# SPDX-License-Identifier: Apache-2.0
"""The accelerator ITA's softmax: see :class:`simulator.graph.ops.SoftmaxIta`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from simulator.gemm import Gemm
from simulator.graph.graph import IntGraph
from simulator.graph.ops import SoftmaxIta
from simulator.numerics.integer_type import IntArray
from simulator.numerics.jit import kernel as compiled
from simulator.numerics.rounding import Rounding, shift_right
from simulator.ops.behaviour import Behaviour, Kernel, OpResult
from simulator.ops.rows import kernel_by_row, reference_by_row

ONE = 256
# Further right nothing is left of any sum; Python's and C's shifts agree up to here.
_EVERYTHING = 63


def softmax(op: SoftmaxIta, lowest: int, row: Sequence[int]) -> list[int]:
    """Return the probabilities of one row; ``lowest`` is the first running maximum."""

    def octaves(distance: int) -> int:
        return shift_right(distance, op.octave_bits, Rounding.HALF_UP)

    largest, total = lowest, 0
    for start in range(0, len(row), op.group):
        group = row[start : start + op.group]
        before, largest = largest, max(largest, *group)
        total >>= octaves(largest - before)
        total += sum(ONE >> octaves(largest - code) for code in group)
    inverse = ONE * op.largest // total
    return [inverse >> octaves(largest - code) for code in row]


def reference(op: SoftmaxIta, graph: IntGraph, operands: Sequence[IntArray]) -> OpResult:
    """One image in plain Python integers."""
    lowest = graph.tensors[op.a].code_type.low
    return reference_by_row(lambda row: softmax(op, lowest, row), graph.result(op), operands[0])


def build(op: SoftmaxIta, graph: IntGraph, _: Gemm) -> Kernel:
    """Kernel for batches."""
    kind = graph.tensors[op.a].code_type
    octaves = np.empty(1 << kind.bits, np.int64)
    fill_octaves(op.octave_bits, octaves)
    return kernel_by_row(softmax_rows, graph.result(op), octaves, kind.low, op.group, op.largest)


@compiled
def fill_octaves(octave_bits, out):  # type: ignore[no-untyped-def]
    """Write the shift that belongs to every distance 0, 1, … from the maximum."""
    for distance in range(out.shape[0]):
        shift = distance >> octave_bits
        if octave_bits > 0:
            shift += (distance >> (octave_bits - 1)) & 1
        out[distance] = min(shift, _EVERYTHING)


@compiled
def softmax_rows(  # type: ignore[no-untyped-def]
    rows, octaves, lowest, group, numerator, zero_point, low, high, out
):
    """Softmax of each row of codes into ``out``; return how many were clipped."""
    columns = rows.shape[1]
    saturated = 0
    for i in range(rows.shape[0]):
        largest = np.int64(lowest)
        total = np.int64(0)
        start = 0
        while start < columns:
            stop = min(start + group, columns)
            before = largest
            for j in range(start, stop):
                largest = max(largest, np.int64(rows[i, j]))
            total >>= octaves[largest - before]
            for j in range(start, stop):
                total += ONE >> octaves[largest - np.int64(rows[i, j])]
            start = stop
        inverse = ONE * numerator // total
        for j in range(columns):
            code = (inverse >> octaves[largest - np.int64(rows[i, j])]) + zero_point
            fitted = min(max(code, low), high)
            saturated += fitted != code
            out[i, j] = fitted
    return saturated


BEHAVIOUR = Behaviour(reference, build)
