# SPDX-License-Identifier: Apache-2.0
"""Codes by a reciprocal for each group: see :class:`simulator.graph.ops.GroupQuantize`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from simulator.gemm import Gemm
from simulator.graph.graph import IntGraph
from simulator.graph.ops import GroupQuantize
from simulator.numerics.integer_type import IntArray
from simulator.numerics.jit import kernel as compiled
from simulator.numerics.output_stage import output_stage_kernel
from simulator.ops.behaviour import Behaviour, Kernel, OpResult
from simulator.ops.requantizing import output_stage


def reference(op: GroupQuantize, graph: IntGraph, operands: Sequence[IntArray]) -> OpResult:
    """One image in plain Python integers."""
    result, zero_point = graph.result(op), graph.tensors[op.a].zero_point
    stage = output_stage(op, result)
    codes = []
    saturated = 0
    groups = operands[0].reshape(-1, op.group).tolist()
    for group, maximum in zip(groups, operands[1].reshape(-1).tolist(), strict=True):
        inverse = op.numerator // max(maximum, 1)
        for value in group:
            code, misfit = stage((value - zero_point) * inverse)
            codes.append(code)
            saturated += misfit
    return OpResult(np.array(codes, result.type.dtype).reshape(result.shape), saturated)


def build(op: GroupQuantize, graph: IntGraph, _: Gemm) -> Kernel:
    """Kernel for batches."""
    result, zero_point = graph.result(op), graph.tensors[op.a].zero_point
    stage = output_stage(op, result).arguments

    def kernel(operands: Sequence[IntArray]) -> OpResult:
        groups = np.ascontiguousarray(operands[0]).reshape(-1, op.group)
        maxima = np.ascontiguousarray(operands[1]).reshape(-1)
        out = np.empty(groups.shape, result.type.dtype)
        saturated = quantize_groups(groups, maxima, zero_point, op.numerator, stage, out)
        return OpResult(out.reshape(operands[0].shape), int(saturated))

    return kernel


@compiled
def quantize_groups(  # type: ignore[no-untyped-def]
    groups, maxima, zero_point, numerator, stage, out
):
    """Quantize ``groups`` [groups, channels] by their ``maxima``; count codes that did not fit."""
    saturated = 0
    for i in range(groups.shape[0]):
        inverse = np.int64(numerator) // max(np.int64(maxima[i]), np.int64(1))
        for c in range(groups.shape[1]):
            product = (np.int64(groups[i, c]) - zero_point) * inverse
            out[i, c], misfit = output_stage_kernel(product, stage)
            saturated += misfit
    return saturated


BEHAVIOUR = Behaviour(reference, build)
