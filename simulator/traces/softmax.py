# SPDX-License-Identifier: Apache-2.0
"""Trace of the softmax with a table of integer exponentials, and what all softmaxes share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from simulator.graph.graph import IntGraph, Tensor
from simulator.graph.ops import Softmax
from simulator.numerics.float_type import Array
from simulator.numerics.integer_type import Overflow
from simulator.numerics.softmax_normalisation import Normalisation
from simulator.traces.steps import Int64, constant, divided, shifted, stored, wide


def differences(codes: Array) -> tuple[Int64, Int64]:
    """Return the largest code of each row, with one element, and every code less it."""
    largest = wide(codes).max(axis=-1, keepdims=True)
    return largest, wide(codes) - largest


def saturated(values: Int64, result: Tensor) -> Array:
    """Return the codes of values that are clipped to the result's type."""
    return stored(values, result, Overflow.SATURATE)


def softmax(op: Softmax, graph: IntGraph, operands: Sequence[Array]) -> dict[str, Array]:
    """Return every value of the formula: those of a row with one element."""
    largest, d = differences(operands[0])
    exponentials = constant(graph, op.table)[-d]
    total = exponentials.sum(axis=-1, keepdims=True)
    values: dict[str, Array] = {"maximum": largest, "exponentials": exponentials, "sum": total}
    result = graph.result(op)
    if op.normalisation is Normalisation.DIVISION:
        scaled = exponentials << (op.reciprocal_bits - op.shift)
        rounded = divided(scaled, total, op.rounding) + result.zero_point
        return {
            **values,
            "scaled": scaled,
            "rounded": rounded,
            "result": stored(rounded, result, op.overflow),
        }
    reciprocal = ((np.int64(1) << op.reciprocal_bits) + total // 2) // total
    scaled = exponentials * reciprocal
    return {
        **values,
        "reciprocal": reciprocal,
        **shifted(scaled, op.shift, op.rounding, op.overflow, result),
    }
