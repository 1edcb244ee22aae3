# SPDX-License-Identifier: Apache-2.0
"""The scale of each group of channels: see :class:`simulator.graph.ops.GroupMaximum`.

And :class:`simulator.graph.ops.GroupExponent`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from simulator.gemm import Gemm
from simulator.graph.graph import IntGraph
from simulator.graph.ops import GroupExponent, GroupMaximum
from simulator.graph.ops.groups import exponent_of
from simulator.numerics.integer_type import IntArray
from simulator.numerics.jit import kernel as compiled
from simulator.ops.behaviour import Behaviour, Kernel, OpResult

AnyScale = GroupMaximum | GroupExponent


def _of_each_group(
    op: AnyScale, graph: IntGraph, codes: IntArray, code: Callable[[int], int]
) -> OpResult:
    """One image in plain Python integers: ``code`` of each group's largest magnitude."""
    result, zero_point = graph.result(op), graph.tensors[op.a].zero_point
    groups = codes.reshape(-1, op.group).tolist()
    found = [code(max(abs(value - zero_point) for value in group)) for group in groups]
    return OpResult(np.array(found, result.type.dtype).reshape(result.shape))


def maximum_reference(op: GroupMaximum, graph: IntGraph, operands: Sequence[IntArray]) -> OpResult:
    """One image in plain Python integers."""
    return _of_each_group(op, graph, operands[0], lambda largest: max(largest, 1))


def exponent_reference(
    op: GroupExponent, graph: IntGraph, operands: Sequence[IntArray]
) -> OpResult:
    """One image in plain Python integers."""
    return _of_each_group(op, graph, operands[0], lambda largest: exponent_of(op, largest))


def build_maximum(op: GroupMaximum, graph: IntGraph, _: Gemm) -> Kernel:
    """Kernel for batches."""
    return _build(op, graph, 0, 0)


def build_exponent(op: GroupExponent, graph: IntGraph, _: Gemm) -> Kernel:
    """Kernel for batches."""
    return _build(op, graph, op.bits, op.trim)


def _build(op: AnyScale, graph: IntGraph, bits: int, trim: int) -> Kernel:
    zero_point, dtype = graph.tensors[op.a].zero_point, graph.result(op).type.dtype

    def kernel(operands: Sequence[IntArray]) -> OpResult:
        codes = np.ascontiguousarray(operands[0])
        groups = codes.reshape(-1, op.group)
        out = np.empty(len(groups), dtype)
        group_scales(groups, zero_point, bits, trim, out)
        return OpResult(out.reshape(*codes.shape[:-1], codes.shape[-1] // op.group))

    return kernel


@compiled
def group_scales(groups, zero_point, bits, trim, out):  # type: ignore[no-untyped-def]
    """Write what each of ``groups`` [groups, channels] asks for: its maximum, or its exponent.

    ``bits`` is the width of codes that the exponent is for, 0 for the maximum; ``trim`` its own.
    """
    zero = np.int32(zero_point)
    for i in range(groups.shape[0]):
        least, most = groups[i, 0], groups[i, 0]  # in the codes' type, of which registers hold most
        for c in range(1, groups.shape[1]):
            least, most = min(least, groups[i, c]), max(most, groups[i, c])
        largest = max(np.int32(most) - zero, zero - np.int32(least))
        if bits == 0:
            out[i] = max(largest, 1)
        else:
            if trim > 0:
                largest -= largest >> trim
            exponent = 0
            while largest >> (exponent + bits - 1) > 0:
                exponent += 1
            out[i] = exponent


MAXIMUM = Behaviour(maximum_reference, build_maximum)
EXPONENT = Behaviour(exponent_reference, build_exponent)
