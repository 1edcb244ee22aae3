# SPDX-License-Identifier: Apache-2.0
"""Traces of the softmaxes of TensorFlow Lite."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from simulator.graph.graph import IntGraph
from simulator.graph.ops import SoftmaxFloatTable, SoftmaxGemmlowp, SoftmaxLut513
from simulator.numerics.float_type import Array
from simulator.numerics.integer_type import INT32, Overflow
from simulator.numerics.rounding import Rounding
from simulator.traces.softmax import differences, saturated
from simulator.traces.steps import Int64, constant, fit, round_shift, rounded_real, wide

# exp(-1/4), exp(-1/2), exp(-1) … exp(-16) in Q0.31, exp(-1/8), and a third.
_FACTORS = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)
_EXP_EIGHTH, _THIRD = 1895147668, 715827883
# 48/17 and -32/17 in Q2.29.
_NEWTON_START, _NEWTON_SLOPE = 1515870810, -1010580540


def _mul(x: Int64 | int, y: Int64 | int) -> Int64:
    """Return the product of two numbers of 32 bits, one of them Q0.31, at the other's place."""
    return round_shift(np.asarray(x, np.int64) * y, 31, Rounding.HALF_UP)


def _div(x: Int64, places: int | Int64) -> Int64:
    return round_shift(x, places, Rounding.HALF_AWAY)


def _clip32(x: Int64) -> Int64:
    return fit(x, INT32, Overflow.SATURATE)


def _exp(x: Int64) -> Int64:
    """Return exp of Q5.26 numbers that are not positive, as Q0.31."""
    part = x % (1 << 24) - (1 << 24)
    u = (part << 5) + (1 << 28)
    u2 = _mul(u, u)
    u3, u4 = _mul(u2, u), _mul(u2, u2)
    series = u + _div(_mul(_div(u4, 2) + u3, _THIRD) + u2, 1)
    e = _EXP_EIGHTH + _mul(_EXP_EIGHTH, series)
    quarters = part - x >> 24
    for bit, factor in enumerate(_FACTORS):
        e = np.where(quarters >> bit & 1, _mul(e, factor), e)
    return np.where(x == 0, INT32.high, e)


def _leading_zeros(total: Int64) -> Int64:
    """Return the leading zeros of numbers in 32 bits."""
    zeros: Int64 = 32 - (total[..., None] >> np.arange(32) > 0).sum(axis=-1)
    return zeros


def gemmlowp(op: SoftmaxGemmlowp, graph: IntGraph, operands: Sequence[Array]) -> dict[str, Array]:
    """Return every value of the formula: those of a row with one element."""
    result = graph.result(op)
    largest, d = differences(operands[0])
    arguments = _mul(
        np.maximum(d, op.smallest_difference) << op.input_left_shift, op.input_multiplier
    )
    exponentials = np.where(d < op.smallest_difference, 0, _exp(arguments))
    total = _div(exponentials, 12).sum(axis=-1, keepdims=True)
    zeros = _leading_zeros(total)
    half = (total << zeros) >> 1
    v = _NEWTON_START + _mul(half, _NEWTON_SLOPE)
    for _ in range(3):
        v = v + _clip32(_mul(v, (1 << 29) - _mul(half, v)) << 2)
    reciprocal = _clip32(v << 1)
    product = reciprocal * exponentials
    scaled = _mul(reciprocal, exponentials)
    rounded = _div(scaled, 12 - zeros + 31 - result.code_type.bits) + result.zero_point
    return {
        "maximum": largest,
        "exponentials": exponentials,
        "sum": total,
        "reciprocal": reciprocal,
        "product": product,
        "scaled": scaled,
        "rounded": rounded,
        "result": saturated(rounded, result),
    }


def _interpolated(table: Int64, x: Int64) -> Int64:
    index, place = (x >> 7) + 256, x & 127
    rise = (table[np.minimum(index + 1, len(table) - 1)] - table[index]) * place
    values: Int64 = table[index] + (rise + 64 >> 7)
    return values


def lut513(op: SoftmaxLut513, graph: IntGraph, operands: Sequence[Array]) -> dict[str, Array]:
    """Return every value of the formula: those of a row with one element."""
    result = graph.result(op)
    largest, d = differences(operands[0])
    left = op.input_left_shift
    product = _mul(d << max(left, 0), op.input_multiplier)
    arguments = np.clip(_div(product, max(-left, 0)) + 32767, -32768, 32767)
    exponentials = _interpolated(constant(graph, op.exp_table), arguments)
    total = exponentials.sum(axis=-1, keepdims=True)
    zeros = _leading_zeros(total)
    place = ((total << zeros - 1) + (1 << 13) >> 14) - 3 * (1 << 15)
    reciprocal = _interpolated(constant(graph, op.reciprocal_table), np.clip(place, -32768, 32767))
    scaled = exponentials * reciprocal
    rounded = round_shift(scaled, 31 - zeros, Rounding.HALF_UP) + result.zero_point
    fitted = np.minimum(rounded, 32767 + result.zero_point)
    return {
        "maximum": largest,
        "arguments": arguments,
        "exponentials": exponentials,
        "sum": total,
        "reciprocal": reciprocal,
        "scaled": scaled,
        "rounded": rounded,
        "result": fitted.astype(result.type.dtype),
    }


def float_table(
    op: SoftmaxFloatTable, graph: IntGraph, operands: Sequence[Array]
) -> dict[str, Array]:
    """Return ``maximum``, the rounded numbers and the result: the others are real."""
    result = graph.result(op)
    largest, d = differences(operands[0])
    exponentials = graph.constants[op.table][-d]
    total = np.zeros(exponentials.shape[:-1], np.float32)
    for column in np.moveaxis(exponentials, -1, 0):
        total = total + column
    inverse = np.float32(1) / (total / np.float32(1 << result.code_type.bits))
    rounded = wide(rounded_real(exponentials * inverse[..., None], op.rounding)) + result.zero_point
    return {"maximum": largest, "rounded": rounded, "result": saturated(rounded, result)}
