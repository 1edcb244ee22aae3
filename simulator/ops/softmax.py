# SPDX-License-Identifier: Apache-2.0
"""Softmax: see :class:`simulator.graph.ops.Softmax`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from simulator.gemm import Gemm
from simulator.graph.graph import IntGraph
from simulator.graph.ops import Softmax
from simulator.numerics.integer_type import IntArray
from simulator.numerics.jit import kernel as compiled
from simulator.numerics.output_stage import fit_kernel, stored
from simulator.numerics.rounding import (
    ROUNDING_MODES,
    divide,
    divide_kernel,
    shift_right,
    shift_right_kernel,
)
from simulator.numerics.softmax_normalisation import Normalisation
from simulator.ops.behaviour import Behaviour, Kernel, OpResult
from simulator.ops.requantizing import output_stage


def reference(op: Softmax, graph: IntGraph, operands: Sequence[IntArray]) -> OpResult:
    """One image in plain Python integers."""
    result = graph.result(op)
    table = graph.constants[op.table].tolist()
    rows = []
    saturated = 0
    for row in operands[0].reshape(-1, result.shape[-1]).tolist():
        exponentials = [table[max(row) - code] for code in row]
        total = sum(exponentials)
        codes = []
        for exponential in exponentials:
            unfitted = normalized(op, exponential, total) + result.zero_point
            code, misfit = stored(unfitted, result.code_type, op.overflow)
            codes.append(code)
            saturated += misfit
        rows.append(codes)
    return OpResult(np.array(rows, result.type.dtype).reshape(result.shape), saturated)


def normalized(op: Softmax, exponential: int, total: int) -> int:
    """Return the probability of one element, rounded to the fraction bits of the result."""
    if op.normalisation is Normalisation.DIVISION:
        return divide(exponential << op.reciprocal_bits - op.shift, total, op.rounding)
    inverse = ((1 << op.reciprocal_bits) + total // 2) // total
    return shift_right(exponential * inverse, op.shift, op.rounding)


def build(op: Softmax, graph: IntGraph, _: Gemm) -> Kernel:
    """Kernel for batches."""
    result = graph.result(op)
    columns = result.shape[-1]
    stage = output_stage(op, result).arguments
    table = graph.constants[op.table].astype(np.int64)

    def kernel(operands: Sequence[IntArray]) -> OpResult:
        rows = np.ascontiguousarray(operands[0]).reshape(-1, columns)
        out = np.empty(rows.shape, result.type.dtype)
        saturated = softmax_rows(
            rows,
            table,
            op.reciprocal_bits,
            op.normalisation is Normalisation.DIVISION,
            ROUNDING_MODES[op.rounding].arguments,
            stage,
            out,
        )
        return OpResult(out.reshape(operands[0].shape), int(saturated))

    return kernel


@compiled
def softmax_rows(  # type: ignore[no-untyped-def]
    rows, table, reciprocal_bits, divides, mode, stage, out
):
    """Softmax of each row of codes into ``out``; return how many did not fit."""
    shift, bias, if_negative, if_odd, zero_point, low, high, wrap = stage
    columns = rows.shape[1]
    by_difference = np.empty(table.shape[0], np.int64)
    saturated = 0
    for i in range(rows.shape[0]):
        largest = np.int64(rows[i, 0])
        for j in range(1, columns):
            largest = max(largest, np.int64(rows[i, j]))
        total = np.int64(0)
        for j in range(columns):
            total += table[largest - np.int64(rows[i, j])]
        inverse = ((np.int64(1) << reciprocal_bits) + (total >> 1)) // total
        # A row has at most table-many different codes: requantize each difference once.
        for d in range(table.shape[0]):
            if divides:
                code = divide_kernel(table[d] << (reciprocal_bits - shift), total, mode)
            else:
                code = shift_right_kernel(table[d] * inverse, shift, bias, if_negative, if_odd)
            by_difference[d] = code + zero_point
        for j in range(columns):
            code = by_difference[largest - np.int64(rows[i, j])]
            fitted = fit_kernel(code, low, high, wrap)
            saturated += fitted != code
            out[i, j] = fitted
    return saturated


BEHAVIOUR = Behaviour(reference, build)
