# SPDX-License-Identifier: Apache-2.0
"""FQ-ViT's log-int-softmax: see :class:`simulator.graph.ops.SoftmaxLog2`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from simulator.gemm import Gemm
from simulator.graph.graph import IntGraph
from simulator.graph.ops import SoftmaxLog2
from simulator.numerics.jit import kernel as compiled
from simulator.numerics.rounding import ROUNDING_MODES, Rounding, divide, divide_kernel
from simulator.ops.behaviour import Behaviour, Kernel
from simulator.ops.rows import kernel_by_row, largest_kernel, reference_of_rows

# What an exponential of 0 gives before it is clipped to the highest code: more than any type has.
_NOTHING = 1 << 16
_HALF_EVEN = ROUNDING_MODES[Rounding.HALF_EVEN].arguments


def exponential(op: SoftmaxLog2, difference: int) -> int:
    """Return exp of a difference of codes, not positive, with n fraction bits."""
    clipped = max(difference, op.n * op.x0)
    octaves = clipped // op.x0
    rest = clipped - octaves * op.x0
    return max(rest * (rest + op.b) + op.c, 0) << op.n - octaves


def rounded_logarithm(ratio: int) -> int:
    """Return the binary logarithm of a positive integer, to the nearer power of two; up at 1.5."""
    below = ratio.bit_length() - 1
    return below + (2 * ratio >= 3 << below)


def softmax(op: SoftmaxLog2, row: Sequence[int]) -> list[int]:
    """Return the negated logarithms of one row's probabilities."""
    largest = max(row)
    exponentials = [exponential(op, code - largest) for code in row]
    total = sum(exponentials)
    return [
        rounded_logarithm(divide(total, value, Rounding.HALF_EVEN)) if value else _NOTHING
        for value in exponentials
    ]


def build(op: SoftmaxLog2, graph: IntGraph, _: Gemm) -> Kernel:
    """Kernel for batches."""
    exponentials = np.empty(1 << graph.tensors[op.a].code_type.bits, np.int64)
    fill_exponentials(op.x0, op.b, op.c, op.n, exponentials)
    return kernel_by_row(softmax_rows, graph.result(op), exponentials)


@compiled
def fill_exponentials(x0, b, c, n, out):  # type: ignore[no-untyped-def]
    """Write exp of every distance 0, 1, … below the largest code."""
    for distance in range(out.shape[0]):
        reached = min(np.int64(distance), -n * x0)
        octaves = reached // -x0
        rest = -octaves * x0 - reached
        out[distance] = max((rest + b) * rest + c, 0) << (n - octaves)


@compiled
def softmax_rows(  # type: ignore[no-untyped-def]
    rows, exponentials, zero_point, low, high, out
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
            code = np.int64(_NOTHING)
            if exponential > 0:
                ratio = divide_kernel(total, exponential, _HALF_EVEN)
                # Of 2^Q <= ratio < 2^(Q+1), the bit below the leading one decides.
                code = np.int64(0)
                while ratio > 3:
                    ratio >>= 1
                    code += 1
                code += ratio - 1
            code += zero_point
            fitted = min(max(code, low), high)
            saturated += fitted != code
            out[i, j] = fitted
    return saturated


BEHAVIOUR = Behaviour(reference_of_rows(softmax), build)
