# SPDX-License-Identifier: Apache-2.0
"""I-ViT's softmax by shifts: see :class:`simulator.graph.ops.Shiftmax`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from simulator.gemm import Gemm
from simulator.graph.graph import IntGraph
from simulator.graph.ops import Shiftmax
from simulator.numerics.jit import kernel as compiled
from simulator.ops.behaviour import Behaviour, Kernel
from simulator.ops.rows import kernel_by_row, largest_kernel, reference_of_rows

LARGEST = (1 << 31) - 1


def exponential(op: Shiftmax, difference: int) -> int:
    """Return exp of a difference of codes, not positive, in units of ``2^-n / -x0``."""
    octaves_in_codes = max(difference + (difference >> 1) - (difference >> 4), op.n * op.x0)
    octaves, rest = divmod(-octaves_in_codes, -op.x0)
    return ((-rest - 2 * op.x0) << op.n - octaves) >> 1


def softmax(op: Shiftmax, row: Sequence[int]) -> list[int]:
    """Return the probabilities of one row with ``output_bits - 1`` fraction bits."""
    largest = max(row)
    exponentials = [exponential(op, code - largest) for code in row]
    factor = LARGEST // min(sum(exponentials), LARGEST)
    return [value * factor >> 32 - op.output_bits for value in exponentials]


def build(op: Shiftmax, graph: IntGraph, _: Gemm) -> Kernel:
    """Kernel for batches."""
    exponentials = np.empty(1 << graph.tensors[op.a].code_type.bits, np.int64)
    fill_exponentials(op.x0, op.n, exponentials)
    return kernel_by_row(softmax_rows, graph.result(op), exponentials, 32 - op.output_bits)


@compiled
def fill_exponentials(x0, n, out):  # type: ignore[no-untyped-def]
    """Write exp of every distance 0, 1, … below the largest code."""
    for distance in range(out.shape[0]):
        difference = -np.int64(distance)
        v = max(difference + (difference >> 1) - (difference >> 4), n * x0)
        q = v // x0
        out[distance] = (((v - q * x0) - 2 * x0) << (n - q)) >> 1


@compiled
def softmax_rows(  # type: ignore[no-untyped-def]
    rows, exponentials, shift, zero_point, low, high, out
):
    """Softmax of each row of codes into ``out``; return how many were clipped."""
    saturated = 0
    for i in range(rows.shape[0]):
        largest = largest_kernel(rows, i)
        total = np.int64(0)
        for j in range(rows.shape[1]):
            total += exponentials[largest - np.int64(rows[i, j])]
        factor = np.int64(1)
        if total < LARGEST:
            factor = LARGEST // total
        for j in range(rows.shape[1]):
            exponential = exponentials[largest - np.int64(rows[i, j])]
            code = (exponential * factor >> shift) + zero_point
            fitted = min(max(code, low), high)
            saturated += fitted != code
            out[i, j] = fitted
    return saturated


BEHAVIOUR = Behaviour(reference_of_rows(softmax), build)
