# SPDX-License-Identifier: Apache-2.0
"""ShiftGelu: see :class:`simulator.graph.ops.ShiftGelu`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from simulator.gemm import Gemm
from simulator.graph.graph import IntGraph
from simulator.graph.ops import ShiftGelu
from simulator.numerics.integer_type import IntArray
from simulator.numerics.jit import kernel as compiled
from simulator.ops.behaviour import Behaviour, Kernel, OpResult
from simulator.ops.requantizing import requantize_reference, requantizer

LARGEST_SUM = (1 << 31) - 1


def shift_exponential(value: int, octave: int, fraction_bits: int) -> int:
    """``exp(value)`` by shifts, in plain Python integers."""
    in_octaves = max(value + value // 2 - value // 16, -fraction_bits * octave)
    whole, rest = divmod(-in_octaves, octave)
    # The half of the source's r / 2 + octave is kept until the end.
    return ((2 * octave - rest) << (fraction_bits - whole)) >> 1


def reference(op: ShiftGelu, graph: IntGraph, operands: Sequence[IntArray]) -> OpResult:
    """One image in plain Python integers."""
    result = graph.result(op)
    zero_point = graph.tensors[op.a].zero_point
    products = []
    for row in operands[0].reshape(-1, result.shape[-1]).tolist():
        values = [code - zero_point for code in row]
        largest = max(values)
        of_zero = shift_exponential(-largest, op.octave, op.fraction_bits)
        for value in values:
            power = shift_exponential(value - largest, op.octave, op.fraction_bits)
            factor = LARGEST_SUM // min(power + of_zero, LARGEST_SUM)
            products.append(value * (power * factor >> (32 - op.output_bits)))
    sums = np.array(products, object).reshape(result.shape)
    return OpResult(*requantize_reference(sums, graph, op.requantize, result))


def build(op: ShiftGelu, graph: IntGraph, _: Gemm) -> Kernel:
    """Kernel for batches."""
    result = graph.result(op)
    requantize = requantizer(graph, op.requantize, result)
    zero_point = graph.tensors[op.a].zero_point

    def kernel(operands: Sequence[IntArray]) -> OpResult:
        rows = np.ascontiguousarray(operands[0]).reshape(-1, result.shape[-1])
        products = np.empty(rows.shape, np.int64)
        shift_gelu_rows(
            rows, zero_point, op.octave, op.fraction_bits, 32 - op.output_bits, products
        )
        codes, saturated = requantize(products)
        return OpResult(codes.reshape(operands[0].shape), saturated)

    return kernel


@compiled
def shift_exponential_kernel(value, octave, fraction_bits):  # type: ignore[no-untyped-def]
    """``exp(value)`` by shifts; exact below 2^32, and some value above that where it is above."""
    in_octaves = max(value + (value >> 1) - (value >> 4), -fraction_bits * octave)
    whole = (-in_octaves) // octave
    rest = -in_octaves - whole * octave
    # Only a sum that is cut at 2^31 - 1 takes powers so large.
    left = min(fraction_bits - whole, max(fraction_bits, np.int64(32)))
    return ((2 * octave - rest) << left) >> 1


@compiled
def shift_gelu_rows(rows, zero_point, octave, fraction_bits, drop, products):  # type: ignore[no-untyped-def]
    """Write ``x * σ`` of each row [columns] of codes."""
    columns = rows.shape[1]
    octave = np.int64(octave)
    largest_sum = (np.int64(1) << 31) - 1
    for i in range(rows.shape[0]):
        largest = np.int64(rows[i, 0])
        for j in range(1, columns):
            largest = max(largest, np.int64(rows[i, j]))
        of_zero = shift_exponential_kernel(zero_point - largest, octave, fraction_bits)
        for j in range(columns):
            value = np.int64(rows[i, j])
            power = shift_exponential_kernel(value - largest, octave, fraction_bits)
            factor = largest_sum // min(power + of_zero, largest_sum)
            products[i, j] = (value - zero_point) * ((power * factor) >> drop)


BEHAVIOUR = Behaviour(reference, build)
