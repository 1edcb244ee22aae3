# SPDX-License-Identifier: Apache-2.0
"""InterpolatedLookup: see :class:`simulator.graph.ops.InterpolatedLookup`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from simulator.gemm import Gemm
from simulator.graph.graph import IntGraph
from simulator.graph.ops import InterpolatedLookup
from simulator.numerics.integer_type import IntArray, Overflow, fit, limits
from simulator.numerics.jit import kernel as compiled
from simulator.numerics.requantization import fit_kernel
from simulator.numerics.rounding import offsets, shift_right, shift_right_kernel
from simulator.ops.behaviour import Behaviour, Kernel, OpResult


def reference(op: InterpolatedLookup, graph: IntGraph, operands: Sequence[IntArray]) -> OpResult:
    """One image in plain Python integers."""
    result = graph.result(op)
    low, high = limits(result.code_type, op.overflow)
    table = graph.constants[op.table].tolist()
    lowest = graph.tensors[op.a].code_type.low
    codes = []
    saturated = 0
    for operand in operands[0].reshape(-1).tolist():
        interval, place = divmod(operand - lowest, 1 << op.fraction_bits)
        rise = table[interval + 1] - table[interval]
        value = (table[interval] << op.fraction_bits) + rise * place
        code = shift_right(value, op.shift, op.rounding)
        codes.append(fit(code, result.code_type, op.overflow))
        saturated += not low <= code <= high
    return OpResult(np.array(codes, result.type.dtype).reshape(result.shape), saturated)


def build(op: InterpolatedLookup, graph: IntGraph, _: Gemm) -> Kernel:
    """Kernel for batches."""
    result = graph.result(op)
    low, high = limits(result.code_type, op.overflow)
    always, negative, odd = (int(part[0]) for part in offsets(np.array([op.shift]), op.rounding))
    table = graph.constants[op.table].astype(np.int64)
    lowest = graph.tensors[op.a].code_type.low

    def kernel(operands: Sequence[IntArray]) -> OpResult:
        codes = np.ascontiguousarray(operands[0])
        out = np.empty(codes.shape, result.type.dtype)
        saturated = interpolate(
            codes.reshape(-1),
            lowest,
            table,
            op.fraction_bits,
            op.shift,
            always,
            negative,
            odd,
            low,
            high,
            op.overflow is Overflow.WRAP,
            out.reshape(-1),
        )
        return OpResult(out, int(saturated))

    return kernel


@compiled
def interpolate(  # type: ignore[no-untyped-def]
    codes, lowest, table, fraction_bits, shift, always, negative, odd, low, high, wrap, out
):
    """Look up each code between two samples of ``table``; return how many did not fit."""
    saturated = 0
    mask = (np.int64(1) << fraction_bits) - 1
    for i in range(codes.shape[0]):
        distance = np.int64(codes[i]) - lowest
        interval = distance >> fraction_bits
        rise = table[interval + 1] - table[interval]
        value = (table[interval] << fraction_bits) + rise * (distance & mask)
        code = shift_right_kernel(value, shift, always, negative, odd)
        fitted = fit_kernel(code, low, high, wrap)
        saturated += fitted != code
        out[i] = fitted
    return saturated


BEHAVIOUR = Behaviour(reference, build)
