# SPDX-License-Identifier: Apache-2.0
"""Softmax by one reciprocal per row, in vector registers: as :mod:`simulator.ops.softmax`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from simulator.gemm import Gemm
from simulator.graph.graph import IntGraph
from simulator.graph.ops import Softmax
from simulator.numerics.integer_type import IntArray
from simulator.numerics.jit import kernel as compiled
from simulator.numerics.requantization import Requantizer
from simulator.numerics.rescaling import RescaleRule
from simulator.numerics.softmax_normalisation import Normalisation
from simulator.ops.behaviour import Kernel, OpResult
from simulator.simd.lanes.padded_codes import PaddedCodes
from simulator.simd.lanes.requantization import SimdRequantizer
from simulator.simd.lanes.requantize_row import requantize_row
from simulator.simd.lanes.vectors import LANES


def simd_kernel(op: Softmax, graph: IntGraph, _: Gemm) -> Kernel | None:
    """Return a kernel for batches in vector registers, or none where numbers are too wide."""
    if not _fits_lanes(op, graph):
        return None
    result = graph.result(op)
    columns = result.shape[-1]
    padded = -(-columns // LANES) * LANES
    requantizer = SimdRequantizer.of(_to_codes(op, graph, columns), padded)
    if requantizer is None:
        return None
    table = graph.constants[op.table].astype(np.int32)

    def kernel(operands: Sequence[IntArray]) -> OpResult:
        rows = np.ascontiguousarray(operands[0]).reshape(-1, columns)
        out = PaddedCodes.empty(operands[0].shape, result.type.dtype)
        saturated = softmax_rows_simd(
            rows, table, op.reciprocal_bits, requantizer.arguments, out.flat
        )
        return OpResult(out.codes, int(saturated))

    return kernel


def _fits_lanes(op: Softmax, graph: IntGraph) -> bool:
    """Tell whether exponentials and reciprocals are numbers of 31 bits."""
    table = graph.constants[op.table]
    # The largest score of a row is always there: no total is smaller than its exponential.
    least_total = max(int(table[0]), 1)
    largest_inverse = ((1 << op.reciprocal_bits) + least_total // 2) // least_total
    return (
        op.normalisation is Normalisation.RECIPROCAL
        and int(table.max()) < 1 << 31
        and largest_inverse < 1 << 31
    )


def _to_codes(op: Softmax, graph: IntGraph, channels: int) -> Requantizer:
    """Return the last step of a softmax as a requantization; its multiplier comes with the row."""
    result = graph.result(op)
    return Requantizer.build(
        RescaleRule(rounding=op.rounding, overflow=op.overflow),
        multiplier=np.ones(1, np.int64),
        shift=np.array([op.shift]),
        channels=channels,
        zero_point=result.zero_point,
        kind=result.code_type,
    )


@compiled
def softmax_rows_simd(rows, table, reciprocal_bits, requantizer, out):
    """Softmax of each row of codes into ``out``, flat; count what saturates.

    ``requantizer`` turns exponentials into codes; the row's reciprocal replaces its multiplier.
    """
    columns = rows.shape[1]
    padded = requantizer[0].shape[0]
    exponentials = np.zeros(padded, np.int32)
    inverses = np.empty(padded, np.int32)
    extremes = np.zeros(2 * LANES, np.int32)
    saturated = 0
    for i in range(rows.shape[0]):
        row = rows[i]
        largest = row[0]
        for j in range(columns):
            largest = max(largest, row[j])
        total = np.int64(0)
        for j in range(columns):
            # Unsigned: an index that cannot be negative needs no check.
            exponential = table[np.uint64(np.int64(largest) - np.int64(row[j]))]
            exponentials[j] = exponential
            total += exponential
        inverses[:] = np.int32(((np.int64(1) << reciprocal_bits) + (total >> 1)) // total)
        by_row = (inverses, *requantizer[1:])
        saturated += requantize_row(exponentials, 0, out, i * columns, by_row, extremes)
    return saturated
