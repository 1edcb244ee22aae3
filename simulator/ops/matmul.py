# SPDX-License-Identifier: Apache-2.0
"""MatMul: see :class:`simulator.graph.ops.MatMul`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from simulator.gemm import Gemm
from simulator.graph.graph import IntGraph
from simulator.graph.ops import MatMul
from simulator.graph.ranges import bounds, residual_factors, signed_bits
from simulator.numerics.accumulator import (
    BiasStage,
    accumulate,
    level_table,
    safe_square,
    walk_suspects,
    wrap_sums,
)
from simulator.numerics.integer_type import IntArray, Overflow
from simulator.ops.behaviour import Behaviour, Kernel, OpResult
from simulator.ops.requantizing import requantize_reference, requantizer

# (a [M, K], b [K, N]) -> (sums that leave the accumulator, overflowed outputs, bias still to add)
Sums = tuple[IntArray, int, NDArray[np.int64] | None]
LeftProduct = Callable[[IntArray], Sums]


def reference(op: MatMul, graph: IntGraph, operands: Sequence[IntArray]) -> OpResult:
    """One image in plain Python integers."""
    a, b = (operand.astype(object) for operand in operands[:2])
    b = np.swapaxes(b, -1, -2) if op.transpose_b else b
    rows, columns = a.shape[-2] if a.ndim > 1 else 1, b.shape[-1]
    leading = graph.result(op).shape[:-2]
    bias = graph.constants[op.bias].tolist() if op.bias else [0] * columns
    sums = np.empty((*leading, rows, columns), object)
    overflowed = 0
    for index in np.ndindex(*leading):
        left = (a[index] if a.ndim > 2 else a).reshape(rows, -1).tolist()
        right = (b[index] if b.ndim > 2 else b).T.tolist()
        for m in range(rows):
            for n in range(columns):
                products = [x * y for x, y in zip(left[m], right[n], strict=True)]
                sums[(*index, m, n)], flag = accumulate(products, bias[n], op.accumulator)
                overflowed += flag
    beside = _residual_reference(op, graph, operands[2]) if op.residual else None
    codes, saturated = requantize_reference(
        sums.reshape(graph.result(op).shape), graph, op.requantize, graph.result(op), beside
    )
    return OpResult(codes, saturated, overflowed)


def _residual_reference(op: MatMul, graph: IntGraph, residual: IntArray) -> NDArray[np.object_]:
    """What a residual adds to every product with the multiplier, in plain Python integers."""
    assert op.residual is not None
    assert op.residual_multiplier is not None
    zero_point = graph.tensors[op.residual].zero_point
    multipliers = graph.constants[op.residual_multiplier].tolist()
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
    if not graph.is_constant(op.b):
        return _two_activations(op, graph, gemm)
    requantize = requantizer(graph, op.requantize, graph.result(op))
    shape = graph.result(op).shape
    weights = graph.constants[op.b]
    weights = weights.T if op.transpose_b else weights
    multiply = _accumulating(op, graph, gemm, weights, bounds(graph, op).proven_free)
    factors = residual_factors(graph, op)
    residual_zero = graph.tensors[op.residual].zero_point if op.residual else 0

    def kernel(operands: Sequence[IntArray]) -> OpResult:
        a = operands[0]
        sums, overflowed, bias = multiply(a.reshape(-1, a.shape[-1]))
        if op.residual:
            codes, saturated = requantize.onto(sums, bias, operands[2], residual_zero, factors)
        else:
            codes, saturated = requantize(sums, bias)
        return OpResult(codes.reshape(len(a), *shape), saturated, overflowed)

    return kernel


def _two_activations(op: MatMul, graph: IntGraph, gemm: Gemm) -> Kernel:
    """Products of two activations, one pair of matrices at a time."""
    requantize = requantizer(graph, op.requantize, graph.result(op))
    shape = graph.result(op).shape
    known = bounds(graph, op)
    proven = known.proven_free
    fits_32 = known.accumulator is not None and signed_bits(*known.accumulator) <= 32
    dtype = np.int32 if proven and fits_32 else np.int64

    def kernel(operands: Sequence[IntArray]) -> OpResult:
        a, b = operands
        b = np.swapaxes(b, -1, -2) if op.transpose_b else b
        lefts, rights = a.reshape(-1, *a.shape[-2:]), b.reshape(-1, *b.shape[-2:])
        sums = np.empty((len(lefts), *shape[-2:]), dtype)
        overflowed = 0
        for left, right, out in zip(lefts, rights, sums, strict=True):
            out[...], flags, _ = _accumulating(op, graph, gemm, right, proven)(left)
            overflowed += flags
        codes, saturated = requantize(sums)
        return OpResult(codes.reshape(len(a), *shape), saturated, overflowed)

    return kernel


def _accumulating(
    op: MatMul, graph: IntGraph, gemm: Gemm, b: IntArray, proven: bool
) -> LeftProduct:
    """Choose how ``a @ b`` passes the accumulator: proven, wrapping, or walked where in doubt."""
    columns = b.shape[1]
    bias = np.zeros(columns, np.int64)
    if op.bias is not None:
        bias = graph.constants[op.bias].astype(np.int64)
    multiply = gemm.prepare(b)
    levels = op.accumulator.levels
    if proven:
        return lambda a: (multiply(a), 0, bias)
    if len(levels) == 1 and levels[0].overflow is Overflow.WRAP:
        kind = levels[0].kind

        def wrapped(a: IntArray) -> Sums:
            sums = multiply(a).astype(np.int64) + bias
            return sums, int(wrap_sums(sums, kind.low, kind.high)), None

        return wrapped

    rows_of_b = np.ascontiguousarray(b.T)
    square_b = (rows_of_b.astype(np.int64) ** 2).sum(axis=1)
    safe = safe_square(bias, square_b, op.accumulator)
    table = level_table(op.accumulator, b.shape[0])
    bias_last = op.accumulator.bias is BiasStage.AFTER_LAST_BLOCK

    def walked(a: IntArray) -> Sums:
        sums = multiply(a).astype(np.int64) + bias
        square_a = (a.astype(np.int64) ** 2).sum(axis=1)
        rows = np.ascontiguousarray(a)
        count = walk_suspects(rows, rows_of_b, bias, bias_last, table, square_a, safe, sums)
        return sums, int(count), None

    return walked


BEHAVIOUR = Behaviour(reference, build)
