# SPDX-License-Identifier: Apache-2.0
"""Traces of a softmax whose division is deferred, and of the product that makes up for it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from simulator.graph.bounds import bounds
from simulator.graph.graph import IntGraph
from simulator.graph.ops import DeferredSoftmax, NormalizedMatMul
from simulator.numerics.float_type import Array
from simulator.numerics.rounding import Rounding
from simulator.traces.softmax import differences, saturated
from simulator.traces.steps import constant, requantized, round_shift
from simulator.traces.sums import accumulated, exact_product


def softmax(op: DeferredSoftmax, graph: IntGraph, operands: Sequence[Array]) -> dict[str, Array]:
    """Return every value of the formula: the maximum of a row with one element."""
    largest, d = differences(operands[0])
    scaled = -d * op.multiplier
    logarithms = round_shift(scaled, op.shift, Rounding.HALF_UP)
    return {
        "maximum": largest,
        "scaled": scaled,
        "logarithms": logarithms,
        "result": saturated(logarithms, graph.result(op)),
    }


def matmul(op: NormalizedMatMul, graph: IntGraph, operands: Sequence[Array]) -> dict[str, Array]:
    """Return every value of the formula: those of a row with one element."""
    codes, b = operands
    b = np.swapaxes(b, -1, -2) if op.transpose_b else b
    levels = constant(graph, op.levels)[codes]
    total = np.maximum(levels.sum(axis=-1, keepdims=True), 1)
    sums = accumulated(
        lambda start, stop: exact_product(levels[..., start:stop], b[..., start:stop, :]),
        levels.shape[-1],
        np.int64(0),
        op.accumulator,
        free=bounds(graph, op).proven_free,
    )
    reciprocal = ((np.int64(1) << op.reciprocal_bits) + total // 2) // total
    normalized = sums * reciprocal
    return {
        "sum": total,
        "accumulator": sums,
        "reciprocal": reciprocal,
        "normalized": normalized,
        **requantized(normalized, graph, op.requantize, graph.result(op)),
    }
