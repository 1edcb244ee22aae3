# SPDX-License-Identifier: Apache-2.0
"""Sums of products or codes in an accumulator: traces of MatMul and Mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from simulator.graph.bounds import bounds
from simulator.graph.graph import IntGraph
from simulator.graph.ops import MatMul, Mean
from simulator.numerics.accumulator import Accumulator, AccumulatorLevel, BiasStage, OverflowPolicy
from simulator.numerics.float_type import Array
from simulator.traces.steps import Int64, centred, constant, fit, requantized, wide

# (first k, k behind the last) -> the exact sum of these terms, for all outputs at once
Terms = Callable[[int, int], Int64]
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
    result = graph.result(op)
    terms: Int64 | int = 0
    if residual:
        assert op.residual is not None
        assert op.residual_multiplier is not None
        assert op.requantize.shift is not None
        left = constant(graph, op.requantize.shift) - op.residual_fraction_bits
        factors = constant(graph, op.residual_multiplier) << left
        terms = centred(residual[0], graph.tensors[op.residual]) * factors
    return {
        "accumulator": sums,
        **requantized(sums, graph, op.requantize, result, terms),
    }


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
            _register(inner, terms, part, np.int64(0), None)
            if inner
            else terms(part.start, part.stop)
        )
        register = fit(register + addend, level.kind, level.overflow)
    return register if last is None else fit(register + last, level.kind, level.overflow)
