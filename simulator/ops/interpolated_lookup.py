# SPDX-License-Identifier: Apache-2.0
"""InterpolatedLookup: see :class:`simulator.graph.ops.InterpolatedLookup`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from simulator.gemm import Gemm
from simulator.graph.graph import IntGraph
from simulator.graph.ops import InterpolatedLookup
from simulator.numerics.integer_type import IntArray
from simulator.numerics.jit import kernel as compiled
from simulator.numerics.output_stage import output_stage_kernel
from simulator.ops.behaviour import Behaviour, Kernel, OpResult
from simulator.ops.requantizing import output_stage


def reference(op: InterpolatedLookup, graph: IntGraph, operands: Sequence[IntArray]) -> OpResult:
    """One image in plain Python integers."""
    result = graph.result(op)
    stage = output_stage(op, result, zero_point=0)
    table = graph.constants[op.table].tolist()
    lowest = graph.tensors[op.a].code_type.low
    codes = []
    saturated = 0
    for operand in operands[0].reshape(-1).tolist():
        interval, place = divmod(operand - lowest, 1 << op.fraction_bits)
        rise = table[interval + 1] - table[interval]
        value = (table[interval] << op.fraction_bits) + rise * place
        code, misfit = stage(value)
        codes.append(code)
        saturated += misfit
    return OpResult(np.array(codes, result.type.dtype).reshape(result.shape), saturated)


def build(op: InterpolatedLookup, graph: IntGraph, _: Gemm) -> Kernel:
    """Kernel for batches."""
    result = graph.result(op)
    stage = output_stage(op, result, zero_point=0).arguments
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
            stage,
            out.reshape(-1),
        )
        return OpResult(out, int(saturated))

    return kernel


@compiled
def interpolate(codes, lowest, table, fraction_bits, stage, out):  # type: ignore[no-untyped-def]
    """Look up each code between two samples of ``table``; return how many did not fit."""
    saturated = 0
    mask = (np.int64(1) << fraction_bits) - 1
    for i in range(codes.shape[0]):
        distance = np.int64(codes[i]) - lowest
        interval = distance >> fraction_bits
        rise = table[interval + 1] - table[interval]
        value = (table[interval] << fraction_bits) + rise * (distance & mask)
        out[i], misfit = output_stage_kernel(value, stage)
        saturated += misfit
    return saturated


BEHAVIOUR = Behaviour(reference, build)
