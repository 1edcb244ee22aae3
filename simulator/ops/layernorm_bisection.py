# SPDX-License-Identifier: Apache-2.0
"""LayerNormBisection: see :class:`simulator.graph.ops.LayerNormBisection`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from simulator.gemm import Gemm
from simulator.graph.graph import IntGraph
from simulator.graph.ops import LayerNormBisection
from simulator.numerics.division import divide_toward_zero, divide_toward_zero_kernel
from simulator.numerics.integer_type import IntArray, Overflow, fit, limits
from simulator.numerics.jit import kernel as compiled
from simulator.numerics.requantization import fit_kernel
from simulator.numerics.rounding import offsets, shift_right, shift_right_kernel
from simulator.numerics.square_root import bisect_root, bisect_root_kernel
from simulator.ops.behaviour import Behaviour, Kernel, OpResult


def reference(op: LayerNormBisection, graph: IntGraph, operands: Sequence[IntArray]) -> OpResult:
    """One image in plain Python integers."""
    result = graph.result(op)
    channels = result.shape[-1]
    zero_point = graph.tensors[op.a].zero_point
    weight, bias = graph.constants[op.weight].tolist(), graph.constants[op.bias].tolist()
    low, high = limits(result.code_type, op.overflow)
    rows = []
    saturated = 0
    for row in operands[0].reshape(-1, channels).tolist():
        mean = divide_toward_zero(sum(code - zero_point for code in row), channels)
        deviations = [code - zero_point - mean for code in row]
        root = bisect_root(sum(value * value for value in deviations) // channels + 1)
        codes = []
        for c, deviation in enumerate(deviations):
            affine = divide_toward_zero(deviation * weight[c], root) + bias[c]
            code = shift_right(affine, op.shift, op.rounding) + result.zero_point
            codes.append(fit(code, result.code_type, op.overflow))
            saturated += not low <= code <= high
        rows.append(codes)
    return OpResult(np.array(rows, result.type.dtype).reshape(result.shape), saturated)


def build(op: LayerNormBisection, graph: IntGraph, _: Gemm) -> Kernel:
    """Kernel for batches."""
    result = graph.result(op)
    channels = result.shape[-1]
    low, high = limits(result.code_type, op.overflow)
    always, negative, odd = (int(part[0]) for part in offsets(np.array([op.shift]), op.rounding))
    weight, bias = (graph.constants[name].astype(np.int64) for name in (op.weight, op.bias))
    zero_point = graph.tensors[op.a].zero_point

    def kernel(operands: Sequence[IntArray]) -> OpResult:
        rows = np.ascontiguousarray(operands[0]).reshape(-1, channels)
        out = np.empty(rows.shape, result.type.dtype)
        saturated = normalize_rows(
            rows,
            zero_point,
            weight,
            bias,
            op.shift,
            always,
            negative,
            odd,
            result.zero_point,
            low,
            high,
            op.overflow is Overflow.WRAP,
            out,
        )
        return OpResult(out.reshape(operands[0].shape), int(saturated))

    return kernel


@compiled
def normalize_rows(  # type: ignore[no-untyped-def]
    rows, zero_point, weight, bias, shift, always, negative, odd, zero_y, low, high, wrap, out
):
    """Normalize each row [channels] of codes into ``out``; return how many did not fit."""
    channels = rows.shape[1]
    saturated = 0
    for i in range(rows.shape[0]):
        total = np.int64(0)
        for c in range(channels):
            total += np.int64(rows[i, c]) - zero_point
        mean = divide_toward_zero_kernel(total, channels)
        squares = np.int64(0)
        for c in range(channels):
            deviation = np.int64(rows[i, c]) - zero_point - mean
            squares += deviation * deviation
        root = bisect_root_kernel(squares // channels + 1)
        for c in range(channels):
            deviation = np.int64(rows[i, c]) - zero_point - mean
            affine = divide_toward_zero_kernel(deviation * weight[c], root) + bias[c]
            code = shift_right_kernel(affine, shift, always, negative, odd) + zero_y
            fitted = fit_kernel(code, low, high, wrap)
            saturated += fitted != code
            out[i, c] = fitted
    return saturated


BEHAVIOUR = Behaviour(reference, build)
