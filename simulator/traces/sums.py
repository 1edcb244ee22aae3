# SPDX-License-Identifier: Apache-2.0
"""Sums of products or codes in an accumulator: traces of matrix products and Mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from simulator.graph.bounds import bounds
from simulator.graph.graph import IntGraph
from simulator.graph.ops import AnyMatMul, MatMul, Mean, ScaledMatMul
from simulator.graph.ops.scaled_product import by_field
from simulator.numerics.accumulator import Accumulator, AccumulatorLevel, BiasStage, OverflowPolicy
from simulator.numerics.float_type import Array
from simulator.traces.steps import Int64, centred, constant, fit, requantized, wide

# (first k, k behind the last) -> the exact sum of these terms, for all outputs at once
Terms = Callable[[int, int], Int64]


class Shift(NamedTuple):
    """The level whose addends are shifted to the left, and places by an addend's first term."""

    level: int
    places: Callable[[int], Int64]


_FLOAT64_IS_EXACT = 1 << 53


def matmul(op: MatMul, graph: IntGraph, operands: Sequence[Array]) -> dict[str, Array]:
    """Return ``accumulator``, and what a requantization ends with."""
    a, b, *residual = operands
    b = np.swapaxes(b, -1, -2) if op.transpose_b else b
    sums = accumulated(
        lambda start, stop: exact_product(a[..., start:stop], b[..., start:stop, :]),
        a.shape[-1],
        constant(graph, op.bias) if op.bias else np.int64(0),
        op.accumulator,
        free=bounds(graph, op).proven_free,
    )
    terms = residual_terms(op, graph, *residual)
    return {
        "accumulator": sums,
        **requantized(sums, graph, op.requantize, graph.result(op), terms),
    }


def residual_terms(op: AnyMatMul, graph: IntGraph, residual: Array | None = None) -> Int64 | int:
    """Return what a residual adds to the products with the multiplier, 0 without one."""
    if residual is None:
        return 0
    assert op.residual is not None
    assert op.residual_multiplier is not None
    assert op.requantize.shift is not None
    left = constant(graph, op.requantize.shift) - op.residual_fraction_bits
    factors = constant(graph, op.residual_multiplier) << left
    return centred(residual, graph.tensors[op.residual]) * factors


def scaled_matmul(op: ScaledMatMul, graph: IntGraph, operands: Sequence[Array]) -> dict[str, Array]:
    """Return ``accumulator``, sums after each factor and the bias, and the requantization's."""
    given = by_field(op, operands)
    a, b = given["a"], given["b"]
    b = np.swapaxes(b, -1, -2) if op.transpose_b else b
    values = _scaled_sums(op, graph, a, b, given.get("block_exponent"))
    found: dict[str, Array] = {"accumulator": values}
    if op.row_factor:
        values = found["row_scaled"] = values * wide(given["row_factor"])
    if op.column_factor:
        factors = wide(given["column_factor"]).swapaxes(-1, -2)
        values = found["column_scaled"] = values * factors
    if op.bias:
        values = found["biased"] = values + constant(graph, op.bias)
    terms = residual_terms(op, graph, given.get("residual"))
    return found | requantized(values, graph, op.requantize, graph.result(op), terms)


def _scaled_sums(
    op: ScaledMatMul, graph: IntGraph, a: Array, b: Array, exponents: Array | None
) -> Int64:
    """Return the accumulator of a product whose blocks of terms may have exponents."""

    def plain(start: int, stop: int) -> Int64:
        return exact_product(a[..., start:stop], b[..., start:stop, :])

    def places(start: int) -> Int64:
        assert exponents is not None
        return wide(exponents)[..., start // op.block, None]

    def shifted_terms(start: int, stop: int) -> Int64:
        """Sum parts of blocks, each shifted."""
        borders = [start, *range((start // op.block + 1) * op.block, stop, op.block), stop]
        return sum(
            (plain(*part) << places(part[0]) for part in pairwise(borders)), np.zeros((), np.int64)
        )

    length, free = a.shape[-1], bounds(graph, op).proven_free
    if exponents is None:
        return accumulated(plain, length, np.int64(0), op.accumulator, free=free)
    groups = [level.group or length + 1 for level in op.accumulator.levels]
    first = next(index for index, group in enumerate(groups) if group > op.block)
    if first == 0 or free or op.accumulator.policy is OverflowPolicy.REPORT:
        return accumulated(shifted_terms, length, np.int64(0), op.accumulator, free=free)
    shift = Shift(first, places)
    return _register(op.accumulator.levels, plain, range(length), np.int64(0), None, shift)


def mean(op: Mean, graph: IntGraph, operands: Sequence[Array]) -> dict[str, Array]:
    """Return ``accumulator``, and what a requantization ends with."""
    values = np.moveaxis(centred(operands[0], graph.tensors[op.a]), op.axis + 1, 0)
    sums = accumulated(
        lambda start, stop: values[start:stop].sum(axis=0),
        len(values),
        np.int64(0),
        op.accumulator,
        free=bounds(graph, op).proven_free,
    )
    sums = sums.reshape(len(operands[0]), *graph.result(op).shape)
    return {
        "accumulator": sums,
        **requantized(sums, graph, op.requantize, graph.result(op)),
    }


def exact_product(a: Array, b: Array) -> Int64:
    """Return ``a @ b`` in int64: in float64 where that is exact whatever the order of additions."""
    largest = int(np.abs(a, dtype=np.int64).max()) * int(np.abs(b, dtype=np.int64).max())
    if largest * a.shape[-1] >= _FLOAT64_IS_EXACT:
        product: Int64 = np.matmul(wide(a), wide(b))
        return product
    if b.ndim > 2:
        return wide(np.matmul(a.astype(np.float64), b.astype(np.float64)))
    rows = a.reshape(-1, a.shape[-1]).astype(np.float64)
    product = wide(rows @ b.astype(np.float64))
    return product.reshape(*a.shape[:-1], b.shape[-1])


def accumulated(
    terms: Terms, length: int, bias: Int64 | np.int64, accumulator: Accumulator, *, free: bool
) -> Int64:
    """Return what leaves an accumulator that ``length`` terms are added in.

    ``free``: no input overflows, so that all sums are exact.
    """
    if free or accumulator.policy is OverflowPolicy.REPORT:
        return terms(0, length) + bias
    if accumulator.bias is BiasStage.PRELOAD:
        return _register(accumulator.levels, terms, range(length), bias, None)
    return _register(accumulator.levels, terms, range(length), np.int64(0), bias)


def _register(
    levels: Sequence[AccumulatorLevel],
    terms: Terms,
    span: range,
    first: Int64 | np.int64,
    last: Int64 | np.int64 | None,
    shift: Shift | None = None,
) -> Int64:
    """Return the outermost register of ``levels`` after the terms ``k`` in ``span``, in order.

    It starts with ``first``; ``last`` is its last addend, if any.
    """
    *inner, level = levels
    register = fit(np.asarray(first), level.kind, level.overflow)
    if not inner and level.overflow.value == "wrap":
        size = max(len(span), 1)  # the low bits of a sum do not depend on its order
    else:
        size = inner[-1].group if inner else 1
    for start in range(span.start, span.stop, size):
        part = range(start, min(start + size, span.stop))
        addend = (
            _register(inner, terms, part, np.int64(0), None, shift)
            if inner
            else terms(part.start, part.stop)
        )
        if shift is not None and shift.level == len(inner):
            addend = addend << shift.places(part.start)
        register = fit(register + addend, level.kind, level.overflow)
    return register if last is None else fit(register + last, level.kind, level.overflow)
