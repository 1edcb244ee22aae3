# SPDX-License-Identifier: Apache-2.0
"""Softmax of 16-bit codes: see :class:`simulator.graph.ops.SoftmaxLut513`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from simulator.gemm import Gemm
from simulator.graph.graph import IntGraph, Tensor
from simulator.graph.ops import SoftmaxLut513
from simulator.numerics.gemmlowp import (
    rounding_divide_by_pot,
    rounding_divide_by_pot_kernel,
    saturating_rounding_doubling_high_mul,
    saturating_rounding_doubling_high_mul_kernel,
)
from simulator.numerics.integer_type import IntArray
from simulator.numerics.jit import kernel as compiled
from simulator.numerics.rounding import Rounding, shift_right
from simulator.ops.behaviour import Behaviour, Kernel, OpResult
from simulator.ops.rows import Limits, kernel_by_row, largest_kernel, reference_by_row

LARGEST = 32767


def interpolate(table: Sequence[int], x: int) -> int:
    """Read a table of 513 entries at x in -32768..32767, on a line between two entries."""
    index, fraction = divmod(x + 32768, 128)
    rise = (table[index + 1] - table[index]) * fraction
    return table[index] + shift_right(rise, 7, Rounding.HALF_UP)


def _clip(value: int) -> int:
    return min(max(value, -32768), 32767)


def exponential(op: SoftmaxLut513, table: Sequence[int], difference: int) -> int:
    """Return exp of a difference of codes, not positive, with 15 fraction bits."""
    left, right = max(op.input_left_shift, 0), max(-op.input_left_shift, 0)
    product = saturating_rounding_doubling_high_mul(difference << left, op.input_multiplier)
    return interpolate(table, _clip(rounding_divide_by_pot(product, right) + 32767))


def softmax(
    op: SoftmaxLut513, exp_table: Sequence[int], reciprocal_table: Sequence[int], row: Sequence[int]
) -> list[int]:
    """Return the probabilities of one row with 15 fraction bits, not yet clipped."""
    largest = max(row)
    by_code = {code: exponential(op, exp_table, code - largest) for code in set(row)}
    total = sum(by_code[code] for code in row)
    bits = total.bit_length()
    # The sum as a number in 1..2 with 16 fraction bits, of which 1..2 becomes -32768..32768.
    normalized = shift_right(total << 31 - bits, 14, Rounding.HALF_UP)
    inverse = interpolate(reciprocal_table, _clip(normalized - 3 * (1 << 15)))
    return [shift_right(by_code[code] * inverse, bits - 1, Rounding.HALF_UP) for code in row]


def limits_of(result: Tensor) -> Limits:
    """Return the codes of 0 and of the largest probability, 32767."""
    return result.zero_point, result.zero_point + LARGEST


def reference(op: SoftmaxLut513, graph: IntGraph, operands: Sequence[IntArray]) -> OpResult:
    """One image in plain Python integers."""
    result = graph.result(op)
    exp_table, reciprocal_table = (
        graph.constants[name].tolist() for name in (op.exp_table, op.reciprocal_table)
    )
    return reference_by_row(
        lambda row: softmax(op, exp_table, reciprocal_table, row),
        result,
        operands[0],
        limits_of(result),
    )


def build(op: SoftmaxLut513, graph: IntGraph, _: Gemm) -> Kernel:
    """Kernel for batches."""
    result = graph.result(op)
    exp_table, reciprocal_table = (
        graph.constants[name].astype(np.int64) for name in (op.exp_table, op.reciprocal_table)
    )
    exponentials = np.empty(1 << graph.tensors[op.a].code_type.bits, np.int64)
    fill_exponentials(op.input_multiplier, op.input_left_shift, exp_table, exponentials)
    return kernel_by_row(
        softmax_rows, result, exponentials, reciprocal_table, limits=limits_of(result)
    )


@compiled
def interpolate_kernel(table, x):  # type: ignore[no-untyped-def]
    """:func:`interpolate` at any x, which is clipped first."""
    x = min(max(x, -32768), 32767)
    index = (x >> 7) + 256
    slope = table[index + 1] - table[index]
    return table[index] + ((slope * (x & 127) + 64) >> 7)


@compiled
def fill_exponentials(multiplier, left_shift, table, out):  # type: ignore[no-untyped-def]
    """Write exp of every distance 0, 1, … below the largest code."""
    for distance in range(out.shape[0]):
        product = saturating_rounding_doubling_high_mul_kernel(
            -(np.int64(distance) << max(left_shift, 0)), multiplier
        )
        argument = rounding_divide_by_pot_kernel(product, max(-left_shift, 0))
        out[distance] = interpolate_kernel(table, argument + 32767)


@compiled
def softmax_rows(  # type: ignore[no-untyped-def]
    rows, exponentials, reciprocal_table, zero_point, low, high, out
):
    """Softmax of each row of codes into ``out``; return how many were clipped."""
    saturated = 0
    for i in range(rows.shape[0]):
        largest = largest_kernel(rows, i)
        total = np.int64(0)
        for j in range(rows.shape[1]):
            total += exponentials[largest - np.int64(rows[i, j])]
        normalized = total
        shift = 30  # one less than the bits of the sum
        while normalized < 1073741824:
            normalized <<= 1
            shift -= 1
        inverse = interpolate_kernel(reciprocal_table, ((normalized + 8192) >> 14) - 98304)
        half = (np.int64(1) << shift) >> 1
        for j in range(rows.shape[1]):
            exponential = exponentials[largest - np.int64(rows[i, j])]
            code = ((exponential * inverse + half) >> shift) + zero_point
            fitted = min(max(code, low), high)
            saturated += fitted != code
            out[i, j] = fitted
    return saturated


BEHAVIOUR = Behaviour(reference, build)
