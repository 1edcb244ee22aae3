# SPDX-License-Identifier: Apache-2.0
"""Softmax in gemmlowp's fixed point: see :class:`simulator.graph.ops.SoftmaxGemmlowp`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from simulator.gemm import Gemm
from simulator.graph.graph import IntGraph
from simulator.graph.ops import SoftmaxGemmlowp
from simulator.numerics.gemmlowp import (
    SUM_FRACTION_BITS,
    SUM_INTEGER_BITS,
    exp_on_negative_values,
    exp_on_negative_values_kernel,
    reciprocal,
    reciprocal_kernel,
    rounding_divide_by_pot,
    saturating_rounding_doubling_high_mul,
    saturating_rounding_doubling_high_mul_kernel,
)
from simulator.numerics.integer_type import IntArray
from simulator.numerics.jit import kernel as compiled
from simulator.ops.behaviour import Behaviour, Kernel, OpResult
from simulator.ops.rows import kernel_by_row, largest_kernel, reference_by_row

# Exponentials have 31 fraction bits, their sums 19.
_TO_SUM = 31 - SUM_FRACTION_BITS
_HALF_OF_SUM = 1 << (_TO_SUM - 1)


def exponential(op: SoftmaxGemmlowp, difference: int) -> int:
    """Return exp of a difference of codes, not positive, in Q0.31."""
    if difference < op.smallest_difference:
        return 0
    argument = saturating_rounding_doubling_high_mul(
        difference << op.input_left_shift, op.input_multiplier
    )
    return exp_on_negative_values(argument)


def softmax(op: SoftmaxGemmlowp, bits: int, row: Sequence[int]) -> list[int]:
    """Return the probabilities of one row with ``bits`` fraction bits."""
    largest = max(row)
    by_code = {code: exponential(op, code - largest) for code in set(row)}
    total = sum(rounding_divide_by_pot(by_code[code], _TO_SUM) for code in row)
    scale, exponent = reciprocal(total)
    return [
        rounding_divide_by_pot(
            saturating_rounding_doubling_high_mul(scale, by_code[code]), exponent + 31 - bits
        )
        for code in row
    ]


def reference(op: SoftmaxGemmlowp, graph: IntGraph, operands: Sequence[IntArray]) -> OpResult:
    """One image in plain Python integers."""
    result = graph.result(op)
    return reference_by_row(
        lambda row: softmax(op, result.code_type.bits, row), result, operands[0]
    )


def build(op: SoftmaxGemmlowp, graph: IntGraph, _: Gemm) -> Kernel:
    """Kernel for batches."""
    result = graph.result(op)
    exponentials = np.empty(1 << graph.tensors[op.a].code_type.bits, np.uint32)
    fill_exponentials(
        op.input_multiplier, op.input_left_shift, op.smallest_difference, exponentials
    )
    return kernel_by_row(softmax_rows, result, exponentials, result.code_type.bits)


@compiled
def fill_exponentials(multiplier, left_shift, smallest, out):  # type: ignore[no-untyped-def]
    """Write exp of every distance 0, 1, … below the largest code."""
    for distance in range(out.shape[0]):
        out[distance] = 0
        if -distance >= smallest:
            argument = saturating_rounding_doubling_high_mul_kernel(
                -(np.int64(distance) << left_shift), multiplier
            )
            out[distance] = exp_on_negative_values_kernel(argument)


@compiled
def softmax_rows(  # type: ignore[no-untyped-def]
    rows, exponentials, bits, zero_point, low, high, out
):
    """Softmax of each row of codes into ``out``; return how many were clipped."""
    saturated = 0
    row = np.empty(rows.shape[1], np.uint32)
    for i in range(rows.shape[0]):
        largest = np.int64(largest_kernel(rows, i))
        for j in range(rows.shape[1]):
            # Unsigned: an index that cannot be negative needs no check.
            row[j] = exponentials[np.uint64(largest - np.int64(rows[i, j]))]
        total = np.int64(0)
        for j in range(rows.shape[1]):
            total += np.int64((row[j] + np.uint32(_HALF_OF_SUM)) >> np.uint32(_TO_SUM))
        scale, leading_zeros = reciprocal_kernel(total)
        # The product's two roundings, at bit 31 and at what is left, are one where it is positive.
        # It has 62 bits: from 32 more places on nothing is left of it.
        left = min(SUM_INTEGER_BITS - leading_zeros + 31 - bits, 32)
        factor, shift = np.uint64(np.uint32(scale)), np.uint64(31 + left)
        half = np.uint64((1 << 30) + ((1 << 30 + left) if left else 0))
        clipped = 0
        for j in range(rows.shape[1]):
            code = np.int32((np.uint64(row[j]) * factor + half) >> shift) + np.int32(zero_point)
            fitted = min(max(code, np.int32(low)), np.int32(high))
            clipped += fitted != code
            out[i, j] = fitted
        saturated += clipped
    return saturated


BEHAVIOUR = Behaviour(reference, build)
