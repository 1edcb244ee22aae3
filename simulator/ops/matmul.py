# SPDX-License-Identifier: Apache-2.0
"""MatMul: see :class:`simulator.graph.ops.MatMul`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from simulator.gemm import Gemm, Product
from simulator.graph.bounds import bounds
from simulator.graph.graph import IntGraph
from simulator.graph.ops import AnyMatMul, MatMul
from simulator.graph.ops.onto_residual import OntoResidual, residual_factors
from simulator.graph.ranges import Bounds, signed_bits
from simulator.numerics.accumulator import BiasStage, OverflowPolicy, accumulate
from simulator.numerics.accumulator_kernels import (
    NOT_SHIFTED,
    accumulate_candidates,
    accumulate_rows,
    level_table,
    overflow_bound_squared,
)
from simulator.numerics.integer_type import IntArray
from simulator.numerics.requantization import Requantizer
from simulator.ops.behaviour import Behaviour, Kernel, OpResult, SumCounts, one_sum
from simulator.ops.requantizing import requantize_reference, requantizer

# From this share of outputs on that may overflow, whole rows are accumulated in order.
MANY = 0.1

# (a [M, K], b [K, N]) -> (sums that leave the accumulator, what happened, bias still to add)
# and how many sums were accumulated in order
Sums = tuple[IntArray, SumCounts, NDArray[np.int64] | None, int]
LeftProduct = Callable[[IntArray], Sums]
# (a [..., M, K], b) -> (sums [matrices, M, N], what happened, how many were accumulated in order)
ActivationProduct = Callable[[IntArray, IntArray], tuple[IntArray, SumCounts, int]]


def reference(op: MatMul, graph: IntGraph, operands: Sequence[IntArray]) -> OpResult:
    """One image in plain Python integers."""
    a, b = (operand.astype(object) for operand in operands[:2])
    b = np.swapaxes(b, -1, -2) if op.transpose_b else b
    rows, columns = a.shape[-2] if a.ndim > 1 else 1, b.shape[-1]
    leading = graph.result(op).shape[:-2]
    bias = graph.constants[op.bias].tolist() if op.bias else [0] * columns
    sums = np.empty((*leading, rows, columns), object)
    found = []
    for index in np.ndindex(*leading):
        left = (a[index] if a.ndim > 2 else a).reshape(rows, -1).tolist()
        right = (b[index] if b.ndim > 2 else b).T.tolist()
        for m in range(rows):
            for n in range(columns):
                products = [x * y for x, y in zip(left[m], right[n], strict=True)]
                sums[(*index, m, n)], event = accumulate(products, bias[n], op.accumulator)
                found.append(one_sum(bias[n] + sum(products), event))
    residual_terms = residual_reference(op, graph, operands[2]) if op.residual else None
    codes, saturated = requantize_reference(
        sums.reshape(graph.result(op).shape), graph, op.requantize, graph.result(op), residual_terms
    )
    return OpResult(codes, saturated, reduce(SumCounts.merged, found))


def residual_reference(
    op: OntoResidual, graph: IntGraph, residual: IntArray
) -> NDArray[np.object_]:
    """Residual term of every product with the multiplier, in plain Python integers."""
    assert op.residual is not None
    assert op.residual_multiplier is not None
    zero_point = graph.tensors[op.residual].zero_point
    multipliers = graph.constants[op.residual_multiplier].tolist()
    assert op.requantize.shift is not None
    shifts = graph.constants[op.requantize.shift].tolist()
    terms = np.empty(residual.shape, object)
    for index in np.ndindex(*residual.shape):
        multiplier = multipliers[index[-1] if len(multipliers) > 1 else 0]
        shift = shifts[index[-1] if len(shifts) > 1 else 0]
        code = int(residual[index]) - zero_point
        terms[index] = code * multiplier << (shift - op.residual_fraction_bits)
    return terms


def build(op: MatMul, graph: IntGraph, gemm: Gemm) -> Kernel:
    """Kernel for batches; weights are prepared here, once."""
    known = bounds(graph, op)
    if not graph.is_constant(op.b):
        return _two_activations(op, graph, gemm, known)
    requantize = requantizer(graph, op.requantize, graph.result(op))
    weights = graph.constants[op.b]
    weights = weights.T if op.transpose_b else weights
    multiply = _accumulating(op, graph, gemm, weights, known)
    factors = residual_factors(graph, op)
    residual_zero = graph.tensors[op.residual].zero_point if op.residual else 0

    def kernel(operands: Sequence[IntArray]) -> OpResult:
        a = operands[0]
        sums, counts, bias, in_order = multiply(a.reshape(-1, a.shape[-1]))
        if op.residual:
            assert isinstance(requantize, Requantizer)
            codes, saturated = requantize.onto(sums, bias, operands[2], residual_zero, factors)
        else:
            codes, saturated = requantize(sums, bias)
        return OpResult(codes.reshape(*a.shape[:-1], -1), saturated, counts, in_order)

    return kernel


def _two_activations(op: MatMul, graph: IntGraph, gemm: Gemm, known: Bounds) -> Kernel:
    """Products of two activations, one pair of matrices at a time."""
    requantize = requantizer(graph, op.requantize, graph.result(op))
    sums_of = sums_of_activations(op, graph, gemm, known)

    def kernel(operands: Sequence[IntArray]) -> OpResult:
        a, b = operands
        sums, counts, in_order = sums_of(a, b)
        codes, saturated = requantize(sums)
        return OpResult(codes.reshape(*a.shape[:-1], -1), saturated, counts, in_order)

    return kernel


def sums_of_activations(
    op: MatMul, graph: IntGraph, gemm: Gemm, known: Bounds
) -> ActivationProduct:
    """Return what makes the sums [matrices, M, N] of two activations, and counts overflow."""
    columns = graph.result(op).shape[-1]
    fits_32 = known.accumulator is not None and signed_bits(*known.accumulator) <= 32
    dtype = np.int32 if known.proven_free and fits_32 else np.int64

    def product(a: IntArray, b: IntArray) -> tuple[IntArray, SumCounts, int]:
        b = np.swapaxes(b, -1, -2) if op.transpose_b else b
        lefts, rights = a.reshape(-1, *a.shape[-2:]), b.reshape(-1, *b.shape[-2:])
        sums = np.empty((*lefts.shape[:2], columns), dtype)
        found, in_order = [], 0
        for left, right, out in zip(lefts, rights, sums, strict=True):
            out[...], counts, _, some = _accumulating(op, graph, gemm, right, known)(left)
            found.append(counts)
            in_order += some
        return sums, reduce(SumCounts.merged, found), in_order

    return product


def _accumulating(
    op: MatMul, graph: IntGraph, gemm: Gemm, b: IntArray, known: Bounds
) -> LeftProduct:
    """Choose how ``a @ b`` passes the accumulator: proven, or in order where it may overflow."""
    columns = b.shape[1]
    bias = np.zeros(columns, np.int64)
    if op.bias is not None:
        bias = graph.constants[op.bias].astype(np.int64)
    multiply = gemm.prepare(b)
    if not known.proven_free:
        return in_order_sums(op, multiply, b, bias, known)

    def proven(a: IntArray) -> Sums:
        sums = multiply(a)
        least = int((sums.min(axis=0) + bias).min())
        most = int((sums.max(axis=0) + bias).max())
        return sums, SumCounts(0, 0, 0, least, most), bias, 0

    return proven


def in_order_sums(
    op: AnyMatMul, multiply: Product, b: IntArray, bias: NDArray[np.int64], known: Bounds
) -> LeftProduct:
    """Exact sums first; then those that may overflow are accumulated in order.

    With one register that nearly every output may overflow, all columns of a row at once.
    """
    rows_of_b = np.ascontiguousarray(b.T)
    square_b = (rows_of_b.astype(np.int64) ** 2).sum(axis=1)
    bound = overflow_bound_squared(bias, square_b, op.accumulator)
    levels = level_table(op.accumulator, b.shape[0])
    last = op.accumulator.bias is BiasStage.AFTER_LAST_BLOCK
    apply = op.accumulator.policy is not OverflowPolicy.REPORT
    assert known.accumulator is not None
    side_by_side = (
        len(levels) == 1
        and levels[0, 2] < 1 << 30  # a register and a product still fit 32 bits
        and signed_bits(*known.accumulator) <= 32
        and b.dtype.itemsize == 1
    )
    wide_b = np.ascontiguousarray(b, np.int32) if side_by_side else None
    one_level = (int(levels[0, 1]), int(levels[0, 2]), bool(levels[0, 3]))

    def in_order(a: IntArray) -> Sums:
        sums = multiply(a).astype(np.int64) + bias
        least, most = int(sums.min()), int(sums.max())
        square_a = (a.astype(np.int64) ** 2).sum(axis=1)
        events = np.zeros(3, np.int64)
        rows = np.ascontiguousarray(a)
        candidates = int((square_a[:, None] > bound).sum())
        if wide_b is not None and rows.dtype.itemsize == 1 and candidates > MANY * sums.size:
            candidates = sums.size
            narrow = bias.astype(np.int32)
            accumulate_rows(rows, wide_b, narrow, last, *one_level, apply, sums, events)
        else:
            accumulate_candidates(
                rows, rows_of_b, bias, last, levels, NOT_SHIFTED, square_a, bound, apply,
                sums, events,
            )  # fmt: skip
        return sums, SumCounts.of(events, least, most), None, candidates

    return in_order


BEHAVIOUR = Behaviour(reference, build)
