# SPDX-License-Identifier: Apache-2.0
"""Traces of rotations by a Hadamard matrix, and of codes with a scale for each group."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from simulator.graph.graph import IntGraph
from simulator.graph.ops import GroupExponent, GroupMaximum, GroupQuantize, GroupShift, Hadamard
from simulator.numerics.float_type import Array
from simulator.numerics.hadamard import hadamard_matrix
from simulator.numerics.integer_type import Overflow
from simulator.traces.steps import Int64, centred, requantized, round_shift, shifted, stored, wide


def hadamard(op: Hadamard, graph: IntGraph, operands: Sequence[Array]) -> dict[str, Array]:
    """Return the sums by a product with the matrix, and what a requantization ends with."""
    u = centred(operands[0], graph.tensors[op.a])
    blocks = u.reshape(*u.shape[:-1], -1, op.order)
    sums = (blocks @ wide(hadamard_matrix(op.order))).reshape(u.shape)
    return {
        "centred": u,
        "sum": sums,
        **requantized(sums, graph, op.requantize, graph.result(op)),
    }


def group_maximum(op: GroupMaximum, graph: IntGraph, operands: Sequence[Array]) -> dict[str, Array]:
    """Return the largest magnitudes, with one element for each group."""
    u = centred(operands[0], graph.tensors[op.a])
    largest = _largest(u, op.group)
    return _unsigned({"centred": u, "largest": largest}, np.maximum(largest, 1), op, graph)


def group_exponent(
    op: GroupExponent, graph: IntGraph, operands: Sequence[Array]
) -> dict[str, Array]:
    """Return the largest magnitudes, with one element for each group."""
    u = centred(operands[0], graph.tensors[op.a])
    largest = _largest(u, op.group)
    # The exponent of float64's own form, 0.5 <= mantissa < 1, is the bit length: exact.
    trimmed = largest - (largest >> op.trim) if op.trim else largest
    lengths = wide(np.frexp(trimmed.astype(np.float64))[1])
    exponents = np.maximum(lengths - (op.bits - 1), 0)
    return _unsigned({"centred": u, "largest": largest}, exponents, op, graph)


def group_quantize(
    op: GroupQuantize, graph: IntGraph, operands: Sequence[Array]
) -> dict[str, Array]:
    """Return every value of the formula: reciprocals with one element for each group."""
    u, result = centred(operands[0], graph.tensors[op.a]), graph.result(op)
    reciprocals = np.int64(op.numerator) // np.maximum(wide(operands[1]), 1)
    scaled = u * np.repeat(reciprocals, op.group, axis=-1)
    return {
        "centred": u,
        "reciprocal": reciprocals,
        **shifted(scaled, op.shift, op.rounding, op.overflow, result),
    }


def group_shift(op: GroupShift, graph: IntGraph, operands: Sequence[Array]) -> dict[str, Array]:
    """Return the rounded numbers."""
    u = centred(operands[0], graph.tensors[op.a])
    shifts = np.repeat(wide(operands[1]), op.group, axis=-1)
    rounded = round_shift(u, shifts, op.rounding) + graph.result(op).zero_point
    return {
        "centred": u,
        "rounded": rounded,
        "result": stored(rounded, graph.result(op), op.overflow),
    }


def _largest(values: Int64, group: int) -> Int64:
    """Return the largest magnitude of each group of the last dimension."""
    largest: Int64 = np.abs(values).reshape(*values.shape[:-1], -1, group).max(axis=-1)
    return largest


def _unsigned(
    found: dict[str, Array], rounded: Int64, op: GroupMaximum | GroupExponent, graph: IntGraph
) -> dict[str, Array]:
    result = stored(rounded, graph.result(op), Overflow.SATURATE)
    return {**found, "rounded": rounded, "result": result}
