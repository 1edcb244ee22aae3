# SPDX-License-Identifier: Apache-2.0
"""Traces of GELU in integer arithmetic."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from simulator.graph.graph import IntGraph
from simulator.graph.ops import GeluPolynomial, ShiftGelu
from simulator.numerics.float_type import Array
from simulator.numerics.integer_type import IntType, Overflow
from simulator.traces.steps import Int64, centred, fit, requantized

_LARGEST = (1 << 31) - 1


def polynomial(op: GeluPolynomial, graph: IntGraph, operands: Sequence[Array]) -> dict[str, Array]:
    """Return every value of the formula, as the op's register holds it."""
    values = polynomial_uncut(op, graph, operands)
    for name in ("polynomial", "sum", "product"):
        values[name] = _cut(op, values[name])
    return {**values, **requantized(values["product"], graph, op.requantize, graph.result(op))}


def polynomial_uncut(
    op: GeluPolynomial, graph: IntGraph, operands: Sequence[Array]
) -> dict[str, Array]:
    """Return the values up to the product, each before its register cuts it.

    What a value is computed from is what registers hold. Exact where ``verify`` accepts the op.
    """
    q = centred(operands[0], graph.tensors[op.a])
    if op.clip_low is not None:
        q = np.maximum(q, op.clip_low)
    distance = np.minimum(np.abs(q), op.clip) - op.clip
    square = distance * distance
    curve = op.constant - square if op.negated else op.constant + square
    erf = np.sign(q) * curve
    total = (_cut(op, erf) >> op.erf_shift) + op.one >> op.sum_shift
    return {
        "clipped": q,
        "distance": distance,
        "square": square,
        "polynomial": erf,
        "sum": total,
        "product": q * _cut(op, total),
    }


def _cut(op: GeluPolynomial, values: Int64) -> Int64:
    return fit(values, IntType(bits=op.intermediate_bits), Overflow.WRAP)


def shift_gelu(op: ShiftGelu, graph: IntGraph, operands: Sequence[Array]) -> dict[str, Array]:
    """Return every value of the formula: the maximum with one element per row."""
    x = centred(operands[0], graph.tensors[op.a])
    largest = x.max(axis=-1, keepdims=True)
    powers = _shift_exponential(op, x - largest)
    total = np.minimum(powers + _shift_exponential(op, -largest), _LARGEST)
    factor = _LARGEST // total
    sigmoid = powers * factor >> (32 - op.output_bits)
    product = x * sigmoid
    return {
        "maximum": largest,
        "exponentials": powers,
        "sum": total,
        "factor": factor,
        "sigmoid": sigmoid,
        "product": product,
        **requantized(product, graph, op.requantize, graph.result(op)),
    }


def _shift_exponential(op: ShiftGelu, values: Int64) -> Int64:
    """Return ``exp(v)`` of the formula; where it has more than 32 bits, one that has more, too."""
    w = np.maximum(values + values // 2 - values // 16, -op.fraction_bits * op.octave)
    octaves = -w // op.octave
    rest = w + octaves * op.octave
    # 2 (r / 2 + octave) is a whole number, at least an octave: 32 places are enough to be cut.
    places = np.minimum(op.fraction_bits - octaves, max(op.fraction_bits, 32))
    powers: Int64 = (rest + 2 * op.octave << places) // 2
    return powers
