# SPDX-License-Identifier: Apache-2.0
"""Mean: see :class:`simulator.graph.ops.Mean`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from simulator.gemm import Gemm
from simulator.graph.bounds import bounds
from simulator.graph.graph import IntGraph
from simulator.graph.ops import Mean
from simulator.numerics.accumulator import BiasStage, OverflowPolicy, accumulate
from simulator.numerics.accumulator_kernels import accumulate_kernel, count_event, level_table
from simulator.numerics.integer_type import IntArray
from simulator.numerics.jit import kernel as compiled
from simulator.ops.behaviour import Behaviour, Kernel, OpResult, SumCounts, one_sum
from simulator.ops.requantizing import requantize_reference, requantizer

LONGEST_BYTE_SUM = 1 << 23


def reference(op: Mean, graph: IntGraph, operands: Sequence[IntArray]) -> OpResult:
    """One image in plain Python integers."""
    zero_point = graph.tensors[op.a].zero_point
    columns = np.moveaxis(operands[0].astype(object) - zero_point, op.axis, -1)
    sums = np.empty(columns.shape[:-1], object)
    found = []
    for index in np.ndindex(*sums.shape):
        addends = columns[index].tolist()
        sums[index], event = accumulate(addends, 0, op.accumulator)
        found.append(one_sum(sum(addends), event))
    if op.keep_dimension:
        sums = np.expand_dims(sums, op.axis)
    codes, saturated = requantize_reference(sums, graph, op.requantize, graph.result(op))
    return OpResult(codes, saturated, reduce(SumCounts.merged, found))


def build(op: Mean, graph: IntGraph, _: Gemm) -> Kernel:
    """Kernel for batches."""
    requantize = requantizer(graph, op.requantize, graph.result(op))
    zero_point = graph.tensors[op.a].zero_point
    terms = graph.tensors[op.a].shape[op.axis]
    proven = bounds(graph, op).proven_free
    table = level_table(op.accumulator, terms)
    bias_last = op.accumulator.bias is BiasStage.AFTER_LAST_BLOCK
    apply = op.accumulator.policy is not OverflowPolicy.REPORT

    def kernel(operands: Sequence[IntArray]) -> OpResult:
        a = operands[0]
        sums = exact_sums(a, op.axis + 1)
        sums -= terms * zero_point
        events = np.zeros(3, np.int64)
        least, most = int(sums.min()), int(sums.max())
        if not proven:
            columns = np.moveaxis(a.astype(np.int64) - zero_point, op.axis + 1, -1)
            rows = np.ascontiguousarray(columns).reshape(-1, terms)
            sum_rows(rows, bias_last, table, apply, sums.reshape(-1), events)
        if op.keep_dimension:
            sums = np.expand_dims(sums, op.axis + 1)
        codes, saturated = requantize(sums)
        return OpResult(codes, saturated, SumCounts.of(events, least, most))

    return kernel


def exact_sums(codes: IntArray, axis: int) -> NDArray[np.int64]:
    """Sum codes along an axis; bytes along the last one in 32 bits, which hold such sums."""
    last = axis == codes.ndim - 1
    if codes.dtype.itemsize > 1 or not last or codes.shape[-1] > LONGEST_BYTE_SUM:
        return np.ascontiguousarray(codes.sum(axis=axis, dtype=np.int64))
    sums = np.empty(codes.shape[:-1], np.int64)
    sum_bytes(np.ascontiguousarray(codes).reshape(-1, codes.shape[-1]), sums.reshape(-1))
    return sums


@compiled
def sum_bytes(rows, sums):  # type: ignore[no-untyped-def]
    """Sum each of ``rows`` in 32 bits."""
    for i in range(rows.shape[0]):
        total = np.int32(0)
        for c in range(rows.shape[1]):
            total = np.int32(total + np.int32(rows[i, c]))
        sums[i] = total


@compiled
def sum_rows(rows, bias_last, levels, apply, sums, events):  # type: ignore[no-untyped-def]
    """Accumulate each row of int64 ``rows``; correct the exact ``sums``, add to ``events``."""
    ones = np.ones(rows.shape[1], np.int64)
    registers = np.empty(levels.shape[0], np.int64)
    exact = np.empty(levels.shape[0], np.int64)
    counts = np.empty(levels.shape[0], np.int64)
    no_exponents = np.zeros(1, np.uint8)
    for i in range(rows.shape[0]):
        total, _, event = accumulate_kernel(
            rows[i], ones, 0, bias_last, levels, no_exponents, 1, -1, registers, exact, counts
        )  # fmt: skip
        count_event(event, events)
        if apply:
            sums[i] = total


BEHAVIOUR = Behaviour(reference, build)
