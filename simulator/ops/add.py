# SPDX-License-Identifier: Apache-2.0
"""Add: see :class:`simulator.graph.ops.Add`."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from simulator.gemm import Gemm
from simulator.graph.graph import IntGraph
from simulator.graph.ops import Add
from simulator.numerics.integer_type import IntArray
from simulator.numerics.jit import kernel as compiled
from simulator.numerics.output_stage import output_stage_kernel
from simulator.ops.behaviour import Behaviour, Kernel, OpResult
from simulator.ops.requantizing import output_stage
from simulator.simd.ops.add import words_kernel


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
    factors = [
        np.ascontiguousarray(np.broadcast_to(graph.constants[name], (channels,)), dtype=np.int64)
        for name in (op.multiplier_a, op.multiplier_b)
    ]
    zero_points = [graph.tensors[operand].zero_point for operand in op.operands]
    repeated = _written_out(op, graph)
    codes_of_b = repeated if repeated is not None else graph.constants.get(op.b)
    length = prod(graph.tensors[op.b].shape) if codes_of_b is None else codes_of_b.size
    by_words = words_kernel(op, graph, factors, zero_points, length)
    if by_words is not None:
        return _with_b(by_words, repeated)

    def kernel(operands: Sequence[IntArray]) -> OpResult:
        a = np.ascontiguousarray(operands[0]).reshape(-1, channels)
        # b may be a constant without the leading dimensions of a: its rows repeat.
        b = operands[1] if graph.is_constant(op.b) else np.ascontiguousarray(operands[1])
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

    return _with_b(kernel, repeated)


def _written_out(op: Add, graph: IntGraph) -> IntArray | None:
    """Return a constant b without dimensions of extent 1 that would have to repeat.

    None where its rows already repeat as a whole: kernels do that themselves.
    """
    b, shape = graph.tensors[op.b].shape, graph.result(op).shape
    if not graph.is_constant(op.b) or b == shape[len(shape) - len(b) :]:
        return None
    return np.ascontiguousarray(
        np.broadcast_to(graph.constants[op.b], shape[len(shape) - len(b) :])
    )


def _with_b(kernel: Kernel, b: IntArray | None) -> Kernel:
    """Return a kernel that reads ``b``, if there is one, in place of its second operand."""
    if b is None:
        return kernel
    return lambda operands: kernel((operands[0], b))


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
