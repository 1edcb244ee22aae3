# SPDX-License-Identifier: Apache-2.0
"""LayerNormBisection: see :class:`simulator.graph.ops.LayerNormBisection`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from simulator.gemm import Gemm
from simulator.graph.graph import IntGraph
from simulator.graph.ops import LayerNormBisection
from simulator.numerics.division import divide_toward_zero, divide_toward_zero_kernel
from simulator.numerics.integer_type import IntArray
from simulator.numerics.jit import kernel as compiled
from simulator.numerics.output_stage import output_stage_kernel
from simulator.numerics.square_root import bisect_root, bisect_root_kernel
from simulator.ops.behaviour import Behaviour, Kernel, OpResult
from simulator.ops.requantizing import output_stage


def reference(op: LayerNormBisection, graph: IntGraph, operands: Sequence[IntArray]) -> OpResult:
    """One image in plain Python integers."""
    result = graph.result(op)
    channels = result.shape[-1]
    zero_point = graph.tensors[op.a].zero_point
    weight, bias = graph.constants[op.weight].tolist(), graph.constants[op.bias].tolist()
    stage = output_stage(op, result)
    rows = []
    saturated = 0
    for row in operands[0].reshape(-1, channels).tolist():
        mean = divide_toward_zero(sum(code - zero_point for code in row), channels)
        deviations = [code - zero_point - mean for code in row]
        root = bisect_root(sum(value * value for value in deviations) // channels + 1)
        codes = []
        for c, deviation in enumerate(deviations):
            affine = divide_toward_zero(deviation * weight[c], root) + bias[c]
            code, misfit = stage(affine)
            codes.append(code)
            saturated += misfit
        rows.append(codes)
    return OpResult(np.array(rows, result.type.dtype).reshape(result.shape), saturated)


def build(op: LayerNormBisection, graph: IntGraph, _: Gemm) -> Kernel:
    """Kernel for batches."""
    result = graph.result(op)
    channels = result.shape[-1]
    stage = output_stage(op, result).arguments
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
            stage,
            out,
        )
        return OpResult(out.reshape(operands[0].shape), int(saturated))

    return kernel


@compiled
def normalize_rows(rows, zero_point, weight, bias, stage, out):  # type: ignore[no-untyped-def]
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
            out[i, c], misfit = output_stage_kernel(affine, stage)
            saturated += misfit
    return saturated


BEHAVIOUR = Behaviour(reference, build)
