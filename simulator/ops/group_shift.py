# SPDX-License-Identifier: Apache-2.0
"""Codes by a shift for each group: see :class:`simulator.graph.ops.GroupShift`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from simulator.gemm import Gemm
from simulator.graph.graph import IntGraph
from simulator.graph.ops import GroupShift
from simulator.numerics.integer_type import IntArray, Overflow, limits
from simulator.numerics.jit import kernel as compiled
from simulator.numerics.output_stage import stored
from simulator.numerics.rounding import offsets, shift_right
from simulator.ops.behaviour import Behaviour, Kernel, OpResult

# Of a difference of 16-bit codes, below 2^16, all larger shifts leave the same: no more than its
# sign, and less than half of a unit. So 32 bits hold it with any constant of rounding, and with the
# zero point of a result of at most 16 bits.
LARGEST_EFFECTIVE_SHIFT = 18


def reference(op: GroupShift, graph: IntGraph, operands: Sequence[IntArray]) -> OpResult:
    """One image in plain Python integers."""
    result, zero_point = graph.result(op), graph.tensors[op.a].zero_point
    codes = []
    saturated = 0
    groups = operands[0].reshape(-1, op.group).tolist()
    for group, exponent in zip(groups, operands[1].reshape(-1).tolist(), strict=True):
        for value in group:
            rounded = shift_right(value - zero_point, exponent, op.rounding)
            code, misfit = stored(rounded + result.zero_point, result.code_type, op.overflow)
            codes.append(code)
            saturated += misfit
    return OpResult(np.array(codes, result.type.dtype).reshape(result.shape), saturated)


def build(op: GroupShift, graph: IntGraph, _: Gemm) -> Kernel:
    """Kernel for batches."""
    result, zero_point = graph.result(op), graph.tensors[op.a].zero_point
    parts = offsets(np.arange(LARGEST_EFFECTIVE_SHIFT + 1), op.rounding).astype(np.int32)
    zero_points = zero_point, result.zero_point
    stage = *limits(result.code_type, op.overflow), op.overflow is Overflow.WRAP

    def kernel(operands: Sequence[IntArray]) -> OpResult:
        groups = np.ascontiguousarray(operands[0]).reshape(-1, op.group)
        exponents = np.ascontiguousarray(operands[1]).reshape(-1)
        out = np.empty(groups.shape, result.type.dtype)
        saturated = shift_groups(groups, exponents, zero_points, parts, stage, out)
        return OpResult(out.reshape(operands[0].shape), int(saturated))

    return kernel


@compiled
def shift_groups(  # type: ignore[no-untyped-def]
    groups, exponents, zero_points, offsets, ends, out
):
    """Shift ``groups`` [groups, channels] right, all in 32 bits; count codes that did not fit.

    ``offsets`` int32 [3, shifts] are the constants of rounding of every shift; ``ends`` the lowest
    and the highest code, and whether codes wrap.
    """
    low, high, wrap = ends
    zero, least, most = np.int32(zero_points[0]), np.int32(low), np.int32(high)
    added_last = np.int32(zero_points[1])
    mask, one = np.int32(high - low), np.int32(1)
    saturated = np.int64(0)
    for i in range(groups.shape[0]):
        shift = np.int32(min(max(np.int64(exponents[i]), 0), offsets.shape[1] - 1))
        bias, if_negative, if_odd = offsets[0, shift], offsets[1, shift], offsets[2, shift]
        outside = np.int32(0)
        for c in range(groups.shape[1]):
            value = np.int32(np.int32(groups[i, c]) - zero)
            odd = np.int32(np.int32(value >> shift) & one)
            sign = np.int32(value >> np.int32(31))  # -1 of a negative value
            added = np.int32(bias + np.int32(odd * if_odd) - np.int32(sign * if_negative))
            code = np.int32(np.int32(np.int32(value + added) >> shift) + added_last)
            fitted = min(max(code, least), most)
            outside = np.int32(outside + np.int32(fitted != code))
            if wrap:
                fitted = np.int32(np.int32(np.int32(code - least) & mask) + least)
            out[i, c] = fitted
        saturated += np.int64(outside)
    return saturated


BEHAVIOUR = Behaviour(reference, build)
