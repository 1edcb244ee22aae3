# SPDX-License-Identifier: Apache-2.0
"""Two operands brought to one scale, joined, and rescaled: AddShifted and SquaredDifference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntEnum

import numpy as np

from simulator.gemm import Gemm
from simulator.graph.graph import IntGraph
from simulator.graph.ops import AddShifted, SquaredDifference
from simulator.numerics.integer_type import IntArray
from simulator.numerics.jit import kernel as compiled
from simulator.numerics.output_stage import output_stage_kernel
from simulator.numerics.rounding import offsets, shift_right, shift_right_kernel
from simulator.ops.behaviour import Kernel, OpResult
from simulator.ops.broadcasting import broadcast_batch, broadcast_integers
from simulator.ops.requantizing import output_stage

CommonScaleOp = AddShifted | SquaredDifference


class Join(IntEnum):
    """Combination of the two operands at their common scale."""

    SUM = 0
    DIFFERENCE = 1
    SQUARED_DIFFERENCE = 2


def join_of(op: CommonScaleOp) -> Join:
    """Return how an op joins its operands."""
    if isinstance(op, SquaredDifference):
        return Join.SQUARED_DIFFERENCE
    return Join.DIFFERENCE if op.subtract else Join.SUM


def reference(
    op: CommonScaleOp,
    graph: IntGraph,
    operands: Sequence[IntArray],
    join: Callable[[int, int], int],
) -> OpResult:
    """One image in plain Python integers."""
    result = graph.result(op)
    zero_a, zero_b = (graph.tensors[name].zero_point for name in op.operands)
    a, b = broadcast_integers(operands, result)

    def rescaled(value: int, multiplier: int, shift: int) -> int:
        return shift_right(value * multiplier, shift, op.rounding, op.double_rounding)

    stage = output_stage(op, result, double_rounding=op.double_rounding)
    codes = np.empty(result.shape, result.type.dtype)
    saturated = 0
    for index in np.ndindex(*result.shape):
        left = op.input_left_shift
        first = rescaled((int(a[index]) - zero_a) << left, op.multiplier_a, op.shift_a)
        second = rescaled((int(b[index]) - zero_b) << left, op.multiplier_b, op.shift_b)
        codes[index], misfit = stage(join(first, second) * op.multiplier)
        saturated += misfit
    return OpResult(codes, saturated)


def build(op: CommonScaleOp, graph: IntGraph, _: Gemm) -> Kernel:
    """Kernel for batches."""
    result = graph.result(op)
    zero_points = [graph.tensors[name].zero_point for name in op.operands]
    shifts = np.array([op.shift_a, op.shift_b], np.int64)
    multipliers = np.array([op.multiplier_a, op.multiplier_b, op.multiplier], np.int64)
    offset = offsets(shifts, op.rounding, op.double_rounding)
    stage = output_stage(op, result, double_rounding=op.double_rounding).arguments

    def kernel(operands: Sequence[IntArray]) -> OpResult:
        a, b = broadcast_batch(operands)
        out = np.empty(a.shape, result.type.dtype)
        saturated = join_at_common_scale(
            a.reshape(-1),
            b.reshape(-1),
            *zero_points,
            op.input_left_shift,
            multipliers,
            shifts,
            offset,
            int(join_of(op)),
            stage,
            out.reshape(-1),
        )
        return OpResult(out, int(saturated))

    return kernel


@compiled
def join_at_common_scale(  # type: ignore[no-untyped-def]
    a, b, zero_a, zero_b, left_shift, multipliers, shifts, offset, join, stage, out
):
    """Join ``a`` and ``b`` element by element into ``out``; return how many did not fit.

    ``multipliers`` are those of a, b and the result, ``shifts`` and the columns of ``offset`` of a
    and b; ``join`` is a :class:`Join`.
    """
    saturated = 0
    for i in range(a.shape[0]):
        first = ((np.int64(a[i]) - zero_a) << left_shift) * multipliers[0]
        first = shift_right_kernel(first, shifts[0], offset[0, 0], offset[1, 0], offset[2, 0])
        second = ((np.int64(b[i]) - zero_b) << left_shift) * multipliers[1]
        second = shift_right_kernel(second, shifts[1], offset[0, 1], offset[1, 1], offset[2, 1])
        joined = first + second if join == Join.SUM else first - second
        if join == Join.SQUARED_DIFFERENCE:
            joined *= joined
        out[i], misfit = output_stage_kernel(joined * multipliers[2], stage)
        saturated += misfit
    return saturated
