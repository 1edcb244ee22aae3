# SPDX-License-Identifier: Apache-2.0
"""Mean: see :class:`simulator.graph.ops.Mean`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from simulator.gemm import Gemm
from simulator.graph.graph import IntGraph
from simulator.graph.ops import Mean
from simulator.graph.ranges import bounds
from simulator.numerics.accumulator import BiasStage, accumulate, accumulate_kernel, level_table
from simulator.numerics.integer_type import IntArray
from simulator.numerics.jit import kernel as compiled
from simulator.ops.behaviour import Behaviour, Kernel, OpResult
from simulator.ops.requantizing import requantize_reference, requantizer


def reference(op: Mean, graph: IntGraph, operands: Sequence[IntArray]) -> OpResult:
    """One image in plain Python integers."""
    zero_point = graph.tensors[op.a].zero_point
    columns = np.moveaxis(operands[0].astype(object) - zero_point, op.axis, -1)
    sums = np.empty(columns.shape[:-1], object)
    overflowed = 0
    for index in np.ndindex(*sums.shape):
        sums[index], flag = accumulate(columns[index].tolist(), 0, op.accumulator)
        overflowed += flag
    codes, saturated = requantize_reference(sums, graph, op.requantize, graph.result(op))
    return OpResult(codes, saturated, overflowed)


def build(op: Mean, graph: IntGraph, _: Gemm) -> Kernel:
    """Kernel for batches."""
    requantize = requantizer(graph, op.requantize, graph.result(op))
    zero_point = graph.tensors[op.a].zero_point
    terms = graph.tensors[op.a].shape[op.axis]
    proven = bounds(graph, op).proven_free
    table = level_table(op.accumulator, terms)
    bias_last = op.accumulator.bias is BiasStage.AFTER_LAST_BLOCK

    def kernel(operands: Sequence[IntArray]) -> OpResult:
        a = operands[0]
        overflowed = 0
        if proven:
            sums = a.sum(axis=op.axis + 1, dtype=np.int64) - terms * zero_point
        else:
            columns = np.moveaxis(a.astype(np.int64) - zero_point, op.axis + 1, -1)
            sums = np.empty(columns.shape[:-1], np.int64)
            overflowed = sum_rows(
                np.ascontiguousarray(columns).reshape(-1, terms), bias_last, table, sums.reshape(-1)
            )
        codes, saturated = requantize(sums)
        return OpResult(codes, saturated, int(overflowed))

    return kernel


@compiled
def sum_rows(rows, bias_last, levels, sums):  # type: ignore[no-untyped-def]
    """Accumulate each row of int64 ``rows`` into ``sums``; return how many overflowed."""
    ones = np.ones(rows.shape[1], np.int64)
    registers = np.empty(levels.shape[0], np.int64)
    counts = np.empty(levels.shape[0], np.int64)
    overflowed = 0
    for i in range(rows.shape[0]):
        sums[i], flag = accumulate_kernel(rows[i], ones, 0, bias_last, levels, registers, counts)
        overflowed += flag
    return overflowed


BEHAVIOUR = Behaviour(reference, build)
