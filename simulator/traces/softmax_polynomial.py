# SPDX-License-Identifier: Apache-2.0
"""Traces of softmaxes whose exponentials are shifted lines and parabolas, and of ITA's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from simulator.graph.graph import IntGraph
from simulator.graph.ops import Shiftmax, SoftmaxIBert, SoftmaxIta, SoftmaxLog2
from simulator.numerics.float_type import Array
from simulator.numerics.rounding import Rounding
from simulator.traces.softmax import differences, saturated
from simulator.traces.steps import Int64, divided, round_shift, wide

_LARGEST = (1 << 31) - 1
_FARTHEST = 63  # a shift further right leaves nothing of a number that is not negative


def ibert(op: SoftmaxIBert, graph: IntGraph, operands: Sequence[Array]) -> dict[str, Array]:
    """Return every value of the formula: those of a row with one element."""
    result = graph.result(op)
    largest, d = differences(operands[0])
    octaves = np.minimum(-d // op.log2, 31)
    base = d + octaves * op.log2 + op.coefficient_b
    parabola = op.coefficient_a * base * base + op.coefficient_c
    exponentials = parabola >> octaves
    total = exponentials.sum(axis=-1, keepdims=True)
    scaled = exponentials * ((1 << result.code_type.bits) - 1)
    rounded = scaled // total + result.zero_point
    return {
        "maximum": largest,
        "polynomial": parabola,
        "exponentials": exponentials,
        "sum": total,
        "scaled": scaled,
        "rounded": rounded,
        "result": saturated(rounded, result),
    }


def shiftmax(op: Shiftmax, graph: IntGraph, operands: Sequence[Array]) -> dict[str, Array]:
    """Return every value of the formula: those of a row with one element."""
    result = graph.result(op)
    largest, d = differences(operands[0])
    v = np.maximum(d + (d >> 1) - (d >> 4), op.n * op.x0)
    octaves = v // op.x0
    exponentials = (v - octaves * op.x0 - 2 * op.x0 << op.n - octaves) >> 1
    total = exponentials.sum(axis=-1, keepdims=True)
    factor = _LARGEST // np.minimum(total, _LARGEST)
    scaled = exponentials * factor
    rounded = (scaled >> 32 - op.output_bits) + result.zero_point
    return {
        "maximum": largest,
        "exponentials": exponentials,
        "sum": total,
        "reciprocal": factor,
        "scaled": scaled,
        "rounded": rounded,
        "result": saturated(rounded, result),
    }


def log2(op: SoftmaxLog2, graph: IntGraph, operands: Sequence[Array]) -> dict[str, Array]:
    """Return every value of the formula; the ratio of an exponential 0 is 0."""
    result = graph.result(op)
    largest, d = differences(operands[0])
    v = np.maximum(d, op.n * op.x0)
    octaves = v // op.x0
    rest = v - octaves * op.x0
    exponentials = np.maximum(rest * (rest + op.b) + op.c, 0) << op.n - octaves
    total = exponentials.sum(axis=-1, keepdims=True)
    ratios = divided(
        np.broadcast_to(total, d.shape), np.maximum(exponentials, 1), Rounding.HALF_EVEN
    )
    below = (ratios[..., None] >> np.arange(1, _FARTHEST) > 0).sum(axis=-1)
    logarithms = below + (2 * ratios >= np.int64(3) << below)
    codes = np.where(
        exponentials > 0, np.minimum(logarithms, result.code_type.high), result.code_type.high
    )
    return {
        "maximum": largest,
        "exponentials": exponentials,
        "sum": total,
        "ratios": np.where(exponentials > 0, ratios, 0),
        "result": codes.astype(result.type.dtype),
    }


def ita(op: SoftmaxIta, graph: IntGraph, operands: Sequence[Array]) -> dict[str, Array]:
    """Return every value of the formula: exponentials as they are added, by the maximum so far."""
    result = graph.result(op)
    codes = wide(operands[0])
    maximum = np.full((*codes.shape[:-1], 1), graph.tensors[op.a].code_type.low, np.int64)
    total = np.zeros_like(maximum)
    exponentials = np.empty_like(codes)
    for start in range(0, codes.shape[-1], op.group):
        group = codes[..., start : start + op.group]
        before, maximum = maximum, np.maximum(maximum, group.max(axis=-1, keepdims=True))
        powers = np.int64(256) >> _octaves(op, maximum - group)
        exponentials[..., start : start + op.group] = powers
        total = (total >> _octaves(op, maximum - before)) + powers.sum(axis=-1, keepdims=True)
    reciprocal = 256 * op.largest // total
    rounded = (reciprocal >> _octaves(op, maximum - codes)) + result.zero_point
    return {
        "maximum": maximum,
        "exponentials": exponentials,
        "sum": total,
        "reciprocal": reciprocal,
        "rounded": rounded,
        "result": saturated(rounded, result),
    }


def _octaves(op: SoftmaxIta, distance: Int64) -> Int64:
    return np.minimum(round_shift(distance, op.octave_bits, Rounding.HALF_UP), _FARTHEST)
