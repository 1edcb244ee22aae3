# SPDX-License-Identifier: Apache-2.0
"""The column of weights that makes the largest sum of an accumulator's level, and what it is of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.graph.graph import IntGraph
from simulator.graph.ops import AnyMatMul, MatMul, ScaledMatMul
from simulator.graph.ops.scaled_product import largest_exponent
from simulator.graph.ranges import Interval, code_range
from simulator.numerics.accumulator import BiasStage
from simulator.numerics.integer_type import IntArray


@dataclass(frozen=True, slots=True, kw_only=True)
class WorstColumn:
    """A column of weights whose sums reach an end of a level's bound.

    ``bound = positive * high + negative * low + bias`` at the upper end, low and high being the
    ends of the codes that are multiplied; the two change places at the lower end.

    Attributes
    ----------
    column
        its index, the output channel
    start, stop
        the terms of the group, all of them in the outermost level
    positive, negative
        sums of the positive and of the negative weights among them
    bias
        what of the bias is in the sum: all of it where it is preloaded; where it comes last, only
        what takes the sum further out; nothing in inner levels
    """

    column: int
    start: int
    stop: int
    positive: int
    negative: int
    bias: int
    bound: int


def weights_of(graph: IntGraph, op: AnyMatMul) -> IntArray:
    """Return the constant right operand as [K, N]."""
    b = graph.constants[op.b]
    return b.T if op.transpose_b else b


def worst_column(graph: IntGraph, op: AnyMatMul, level: int, *, upper: bool) -> WorstColumn:
    """Return the column that reaches the upper or the lower end of a level's sums.

    Sums are those before the exponents of blocks, see :func:`places_of_level`.
    """
    b, (low, high) = weights_of(graph, op), code_range(graph, op.a)
    terms, columns = b.shape
    levels = op.accumulator.levels
    group = levels[level].group or terms
    starts = np.arange(0, terms, group)
    positive, negative = (
        np.add.reduceat(part, starts, axis=0, dtype=np.int64)
        for part in (np.maximum(b, 0), np.minimum(b, 0))
    )
    outermost = level == len(levels) - 1
    bias = _bias(graph, op, columns, upper) if outermost else np.zeros(columns, np.int64)
    ends = (high, low) if upper else (low, high)
    sums = positive * ends[0] + negative * ends[1] + bias
    place = int(sums.argmax() if upper else sums.argmin())
    row, column = divmod(place, columns)
    return WorstColumn(
        column=column,
        start=int(starts[row]),
        stop=min(int(starts[row]) + group, terms),
        positive=int(positive[row, column]),
        negative=int(negative[row, column]),
        bias=int(bias[column]),
        bound=int(sums[row, column]),
    )


def _bias(graph: IntGraph, op: AnyMatMul, columns: int, upper: bool) -> NDArray[np.int64]:
    """Return what of each column's bias is in the sums that go furthest out."""
    if op.bias is None or not isinstance(op, MatMul):  # others add it to scaled sums
        return np.zeros(columns, np.int64)
    bias = graph.constants[op.bias].astype(np.int64)
    if op.accumulator.bias is BiasStage.PRELOAD:
        return bias
    return np.maximum(bias, 0) if upper else np.minimum(bias, 0)


def places_of_level(graph: IntGraph, op: AnyMatMul, level: int) -> int:
    """Return by how many places, at most, the sums of an accumulator's level are shifted left."""
    if not isinstance(op, ScaledMatMul) or op.block_exponent is None:
        return 0
    group = op.accumulator.levels[level].group
    return largest_exponent(graph, op) if group == 0 or group > op.block else 0


def furthest_row(weights: IntArray, codes: Interval, *, upper: bool) -> NDArray[np.int64]:
    """Return the codes [K] that make the largest or smallest sum with a column of weights [K].

    Each code is an end of its type, by the sign of its weight.
    """
    low, high = codes if upper else (codes[1], codes[0])
    return np.where(weights > 0, high, low).astype(np.int64)
