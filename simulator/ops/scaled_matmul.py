# SPDX-License-Identifier: Apache-2.0
"""ScaledMatMul: see :class:`simulator.graph.ops.ScaledMatMul`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from simulator.gemm import Gemm
from simulator.graph.bounds import bounds
from simulator.graph.graph import IntGraph
from simulator.graph.ops import ScaledMatMul
from simulator.graph.ops.onto_residual import residual_factors
from simulator.graph.ops.scaled_product import by_field
from simulator.graph.ranges import Bounds
from simulator.numerics.accumulator import OverflowPolicy, accumulate
from simulator.numerics.accumulator_kernels import (
    accumulate_candidates,
    first_shifted_level,
    level_table,
    overflow_bound_squared,
)
from simulator.numerics.integer_type import IntArray
from simulator.numerics.jit import kernel as compiled
from simulator.numerics.requantization import Requantizer
from simulator.ops.behaviour import Behaviour, Kernel, OpResult, SumCounts, one_sum
from simulator.ops.matmul import in_order_sums, residual_reference
from simulator.ops.requantizing import requantize_reference, requantizer

# (a [M, K], exponents [M, K / block] or none) -> (sums that leave the accumulator int64 [M, N],
# what happened, how many were accumulated in order)
Sums = tuple[NDArray[np.int64], SumCounts, int]
LeftProduct = Callable[[IntArray, IntArray | None], Sums]


def reference(op: ScaledMatMul, graph: IntGraph, operands: Sequence[IntArray]) -> OpResult:
    """One image in plain Python integers."""
    given = {name: codes.astype(object) for name, codes in by_field(op, operands).items()}
    a, b = given["a"], given["b"]
    b = np.swapaxes(b, -1, -2) if op.transpose_b else b
    shape = graph.result(op).shape
    bias = graph.constants[op.bias].tolist() if op.bias else [0] * shape[-1]
    sums = np.empty(shape, object)
    found = []
    for index in np.ndindex(*shape):
        *row, n = index
        column = b[(*row[:-1], slice(None), n) if b.ndim > 2 else (slice(None), n)]
        exponents = given["block_exponent"][tuple(row)] if op.block_exponent else []
        products = [x * y for x, y in zip(a[tuple(row)], column, strict=True)]
        total, event = accumulate(products, 0, op.accumulator, tuple(exponents), op.block)
        block = op.block or len(products)
        blocks = [products[k : k + block] for k in range(0, len(products), block)]
        lefts = exponents if op.block_exponent else [0]
        exact = sum(sum(terms) << left for terms, left in zip(blocks, lefts, strict=True))
        found.append(one_sum(exact, event))
        if op.row_factor:
            total *= given["row_factor"][(*row, 0)]
        if op.column_factor:
            total *= given["column_factor"][(*row[:-1], n, 0)]
        sums[index] = total + bias[n]
    residual_terms = residual_reference(op, graph, given["residual"]) if op.residual else None
    codes, saturated = requantize_reference(
        sums, graph, op.requantize, graph.result(op), residual_terms
    )
    return OpResult(codes, saturated, reduce(SumCounts.merged, found))


def build(op: ScaledMatMul, graph: IntGraph, gemm: Gemm) -> Kernel:
    """Kernel for batches; weights are prepared here, once."""
    sums_of = _of_weights(op, graph, gemm) if graph.is_constant(op.b) else _pairs(op, graph, gemm)
    requantize = requantizer(graph, op.requantize, graph.result(op))
    assert isinstance(requantize, Requantizer)
    bias = graph.constants[op.bias].astype(np.int64) if op.bias else None
    factors = residual_factors(graph, op)
    residual_zero = graph.tensors[op.residual].zero_point if op.residual else 0

    def kernel(operands: Sequence[IntArray]) -> OpResult:
        given = by_field(op, operands)
        sums, counts, in_order = sums_of(given)
        if op.row_factor:
            sums *= given["row_factor"].astype(np.int64)
        if op.column_factor:
            sums *= np.swapaxes(given["column_factor"].astype(np.int64), -1, -2)
        if op.residual:
            codes, saturated = requantize.onto(
                sums, bias, given["residual"], residual_zero, factors
            )
        else:
            codes, saturated = requantize(sums, bias)
        return OpResult(codes, saturated, counts, in_order)

    return kernel


def _of_weights(
    op: ScaledMatMul, graph: IntGraph, gemm: Gemm
) -> Callable[[Mapping[str, IntArray]], Sums]:
    """Return what sums products with weights: all rows of all images at once."""
    weights = graph.constants[op.b]
    multiply = _accumulating(op, gemm, weights.T if op.transpose_b else weights, bounds(graph, op))

    def sums_of(given: Mapping[str, IntArray]) -> Sums:
        a, exponents = given["a"], given.get("block_exponent")
        if exponents is not None:
            exponents = exponents.reshape(-1, exponents.shape[-1])
        sums, counts, in_order = multiply(a.reshape(-1, a.shape[-1]), exponents)
        return sums.reshape(*a.shape[:-1], -1), counts, in_order

    return sums_of


def _pairs(
    op: ScaledMatMul, graph: IntGraph, gemm: Gemm
) -> Callable[[Mapping[str, IntArray]], Sums]:
    """Return what sums products of two activations, one pair of matrices at a time."""
    known = bounds(graph, op)

    def sums_of(given: Mapping[str, IntArray]) -> Sums:
        a, b = given["a"], given["b"]
        b = np.swapaxes(b, -1, -2) if op.transpose_b else b
        sums = np.empty((*a.shape[:-1], b.shape[-1]), np.int64)
        exponents = given.get("block_exponent")
        found, in_order = [], 0
        for index in np.ndindex(*a.shape[:-2]):
            multiply = _accumulating(op, gemm, b[index], known)
            left = None if exponents is None else exponents[index]
            sums[index], counts, some = multiply(a[index], left)
            found.append(counts)
            in_order += some
        return sums, reduce(SumCounts.merged, found), in_order

    return sums_of


def _accumulating(op: ScaledMatMul, gemm: Gemm, b: IntArray, known: Bounds) -> LeftProduct:
    """Choose how ``a @ b`` passes the accumulator: proven, or in order where it may overflow."""
    multiply = _multiplying(op, gemm, b)
    if not known.proven_free:
        return _in_order(op, multiply, b) if op.block else _as_matmul(op, gemm, b, known)

    def proven(a: IntArray, exponents: IntArray | None) -> Sums:
        sums = multiply(a, exponents)
        return sums, SumCounts(0, 0, 0, int(sums.min()), int(sums.max())), 0

    return proven


def _as_matmul(op: ScaledMatMul, gemm: Gemm, b: IntArray, known: Bounds) -> LeftProduct:
    """Sums without exponents are a MatMul's, without a bias."""
    plain = in_order_sums(op, gemm.prepare(b), b, np.zeros(b.shape[1], np.int64), known)

    def in_order(a: IntArray, _: IntArray | None) -> Sums:
        sums, counts, _, some = plain(a)
        return sums.astype(np.int64, copy=False), counts, some

    return in_order


def _multiplying(
    op: ScaledMatMul, gemm: Gemm, b: IntArray
) -> Callable[[IntArray, IntArray | None], NDArray[np.int64]]:
    """Return the exact products of b [K, N]: one, or one for each block, shifted and added."""
    block = op.block or len(b)
    starts = range(0, len(b), block)
    products = [gemm.prepare(b[start : start + block]) for start in starts]

    def multiply(a: IntArray, exponents: IntArray | None) -> NDArray[np.int64]:
        if exponents is None:
            return products[0](a).astype(np.int64)
        sums = np.zeros((len(a), b.shape[1]), np.int64)
        for group, (start, product) in enumerate(zip(starts, products, strict=True)):
            add_shifted(product(a[:, start : start + block]), exponents[:, group], sums)
        return sums

    return multiply


def _in_order(
    op: ScaledMatMul,
    multiply: Callable[[IntArray, IntArray | None], NDArray[np.int64]],
    b: IntArray,
) -> LeftProduct:
    """Exact sums of shifted blocks first; then those that may overflow are accumulated in order."""
    rows_of_b = np.ascontiguousarray(b.T)
    bias = np.zeros(len(rows_of_b), np.int64)
    square_b = (rows_of_b.astype(np.int64) ** 2).sum(axis=1)
    bound = overflow_bound_squared(bias, square_b, op.accumulator)
    levels = level_table(op.accumulator, len(b))
    apply = op.accumulator.policy is not OverflowPolicy.REPORT
    shifted = first_shifted_level(op.accumulator, op.block)

    def in_order(a: IntArray, exponents: IntArray | None) -> Sums:
        sums = multiply(a, exponents)
        least, most = int(sums.min()), int(sums.max())
        assert exponents is not None
        shifts = (np.ascontiguousarray(exponents), op.block, shifted)
        square_a = _squared_lengths(a, exponents)
        events = np.zeros(3, np.int64)
        candidates = int((square_a[:, None] > bound).sum())
        accumulate_candidates(
            np.ascontiguousarray(a), rows_of_b, bias, False, levels, shifts, square_a, bound, apply,
            sums, events,
        )  # fmt: skip
        return sums, SumCounts.of(events, least, most), candidates

    return in_order


def _squared_lengths(a: IntArray, exponents: IntArray) -> NDArray[np.int64]:
    """Return the squared length of each row of a [M, K], its codes shifted; or a little more.

    Shifted codes may have 47 bits, their squares 94: they are added up in float64, whose error,
    below 2^-40 of the sum, is added, too. Beyond int64 its largest value stands for all.
    """
    blocks = (a.astype(np.int64) ** 2).reshape(*exponents.shape, -1).sum(axis=2)
    total = np.ldexp(blocks.astype(np.float64), 2 * exponents.astype(np.int32)).sum(axis=1)
    lengths: NDArray[np.int64] = np.ceil(np.minimum(total * (1 + 2.0**-40), 2.0**62)).astype("i8")
    return lengths


@compiled
def add_shifted(products, exponents, sums):  # type: ignore[no-untyped-def]
    """``sums[i, j] += products[i, j] << exponents[i]`` in int64."""
    for i in range(products.shape[0]):
        left = np.int64(exponents[i])
        for j in range(products.shape[1]):
            sums[i, j] += np.int64(products[i, j]) << left


BEHAVIOUR = Behaviour(reference, build)
