# SPDX-License-Identifier: Apache-2.0
"""Add: see :class:`simulator.graph.ops.Add`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from simulator.gemm import Gemm
from simulator.graph.graph import IntGraph
from simulator.graph.ops import Add
from simulator.numerics.integer_type import IntArray
from simulator.numerics.jit import kernel as compiled
from simulator.numerics.output_stage import output_stage_kernel
from simulator.ops.behaviour import Behaviour, Kernel, OpResult
from simulator.ops.requantizing import output_stage


def reference(op: Add, graph: IntGraph, operands: Sequence[IntArray]) -> OpResult:
    """One image in plain Python integers."""
    result = graph.result(op)
    stage = output_stage(op, result)
    a, b = operands[0].astype(object), np.broadcast_to(operands[1], result.shape).astype(object)
    codes = np.empty(result.shape, result.type.dtype)
    saturated = 0
    for index in np.ndindex(*result.shape):
        total = 0
        for operand, codes_in, name in ((op.a, a, op.multiplier_a), (op.b, b, op.multiplier_b)):
            multipliers = graph.constants[name].tolist()
            multiplier = multipliers[index[-1] if len(multipliers) > 1 else 0]
            total += (int(codes_in[index]) - graph.tensors[operand].zero_point) * multiplier
        codes[index], misfit = stage(total)
        saturated += misfit
    return OpResult(codes, saturated)


def build(op: Add, graph: IntGraph, _: Gemm) -> Kernel:
    """Kernel for batches."""
    result = graph.result(op)
    channels = result.shape[-1]
    stage = output_stage(op, result).arguments
    factors = channel_multipliers(op, graph)
    zero_points = [graph.tensors[operand].zero_point for operand in op.operands]

    def kernel(operands: Sequence[IntArray]) -> OpResult:
        a = np.ascontiguousarray(operands[0]).reshape(-1, channels)
        b = second_operand(operands)
        out = np.empty(a.shape, result.type.dtype)
        saturated = add_rows(
            a,
            b.reshape(-1, channels),
            *factors,
            *zero_points,
            stage,
            out,
        )
        return OpResult(out.reshape(operands[0].shape), int(saturated))

    return kernel


def channel_multipliers(op: Add, graph: IntGraph) -> list[NDArray[np.int64]]:
    """Return the multipliers of a and of b, int64 [channels] each."""
    channels = graph.result(op).shape[-1]
    return [
        np.ascontiguousarray(np.broadcast_to(graph.constants[name], (channels,)), dtype=np.int64)
        for name in (op.multiplier_a, op.multiplier_b)
    ]


def second_operand(operands: Sequence[IntArray]) -> IntArray:
    """Return the codes of b, contiguous; where a constant is repeated, it is written out.

    Leading dimensions that b does not have are not: kernels begin again with its first row after
    its last.
    """
    a, b = operands
    if b.shape == a.shape:
        return np.ascontiguousarray(b)
    return np.ascontiguousarray(np.broadcast_to(b, a.shape[a.ndim - b.ndim :]))


@compiled
def add_rows(a, b, factor_a, factor_b, zero_a, zero_b, stage, out):  # type: ignore[no-untyped-def]
    """Add rows [rows, channels]; row i of ``a`` meets row i modulo ``len(b)`` of ``b``."""
    saturated = 0
    for i in range(a.shape[0]):
        row = b[i % b.shape[0]]
        for c in range(a.shape[1]):
            total = (np.int64(a[i, c]) - zero_a) * factor_a[c]
            total += (np.int64(row[c]) - zero_b) * factor_b[c]
            out[i, c], misfit = output_stage_kernel(total, stage)
            saturated += misfit
    return saturated


BEHAVIOUR = Behaviour(reference, build)
