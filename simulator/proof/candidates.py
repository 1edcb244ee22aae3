# SPDX-License-Identifier: Apache-2.0
"""Inputs of an op that drive its values to their ends: codes at ends of types, in patterns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from math import prod

import numpy as np

from simulator.graph.accumulator_bounds import of_weights
from simulator.graph.graph import IntGraph, Tensor
from simulator.graph.last_steps import Channels
from simulator.graph.op import Op, TensorId
from simulator.graph.ops import AnyMatMul, ScaledMatMul
from simulator.graph.ops.row_sums import largest_row_sum, softmax_behind
from simulator.graph.ops.scaled_product import largest_code, largest_exponent
from simulator.graph.ranges import code_range
from simulator.numerics.float_type import Array
from simulator.numerics.integer_type import IntArray
from simulator.proof.sums import furthest_row, weights_of
from simulator.traces import trace

_ROWS_AT_ONCE = 4096
_DISTANCES = 32  # of the lower scores from the largest, in the rows that are tried
_ONE_AGAINST_OTHERS = 8  # images in which each row has another channel at the other end


def candidates(graph: IntGraph, op: Op, *, upper: bool) -> Iterator[Mapping[TensorId, Array]]:
    """Yield operands of one image each that are likely to make extreme values.

    Of a product the rows and columns that make the largest sums; of other ops rows of lowest codes,
    of highest, of both in halves and in turn, and of one against all others, in all pairs where two
    activations are read.
    """
    tensors = [graph.tensors[name] for name in dict.fromkeys(op.operands)]
    read = [tensor for tensor in tensors if not graph.is_constant(tensor.name)]
    if any(tensor.is_float for tensor in tensors):
        return
    if isinstance(op, AnyMatMul):
        if graph.is_constant(op.b):
            yield from _of_layer(graph, op, upper)
        else:
            yield matmul_inputs(graph, op, furthest_pair(graph, op, upper=upper))
        return
    for chosen in product(*(_patterns(tensor) for tensor in read)):
        yield {tensor.name: codes for tensor, codes in zip(read, chosen, strict=True)}


def _patterns(tensor: Tensor) -> list[Array]:
    """Return arrays [1, ...] whose rows are extreme, each in its own way."""
    kind = tensor.code_type
    low, high = kind.low, kind.high
    found = [np.full((1, *tensor.shape), low, kind.dtype) for _ in range(5)]
    _, highest, halves, turns, centre = found
    highest[...] = high
    halves[..., : tensor.shape[-1] // 2] = high
    turns[..., ::2] = high
    centre[...] = min(max(tensor.zero_point, low), high)
    columns = tensor.shape[-1]
    rows = tensor.size // columns
    for first in range(0, min(columns, _ONE_AGAINST_OTHERS * rows), rows):
        # One channel in each row, another in every row.
        one = np.arange(rows)[:, None] + first == np.arange(columns)
        for inside, outside in ((high, low), (low, high)):
            codes = np.where(one, inside, outside).astype(kind.dtype)
            found.append(codes.reshape(1, *tensor.shape))
    return found


def furthest_pair(graph: IntGraph, op: AnyMatMul, *, upper: bool) -> dict[TensorId, IntArray]:
    """Return the row and the column of two activations whose product goes furthest.

    Both are codes at an end of their type; a row of probabilities is one that its softmax makes.
    """
    terms = graph.tensors[op.a].shape[-1]
    ends = [(a, b) for a in code_range(graph, op.a) for b in code_range(graph, op.b)]
    a, b = (max if upper else min)(ends, key=lambda pair: pair[0] * pair[1])
    row: IntArray = np.full(terms, a, np.int64)
    softmax = softmax_behind(graph, op.a)
    if largest_row_sum(graph, op.a) is not None and softmax is not None:
        row = _heaviest_row(graph, softmax, terms)
    return {op.a: row, op.b: np.full(terms, b, np.int64)}


def _heaviest_row(graph: IntGraph, softmax: Op, terms: int) -> IntArray:
    """Return the row of probabilities [terms] with the largest sum of those that are tried."""
    rows = _rows_of_probabilities(graph, softmax)
    heaviest = rows[int(rows.astype(np.int64).sum(axis=-1).argmax())].astype(np.int64)
    # A slice of a row has its heaviest elements at worst; a join of rows begins with one.
    chosen = np.sort(heaviest)[::-1][:terms]
    return np.pad(chosen, (0, terms - len(chosen)))


def _of_layer(graph: IntGraph, op: AnyMatMul, upper: bool) -> Iterator[Mapping[TensorId, Array]]:
    """Yield the row that makes the largest, or smallest, product with a channel's multiplier.

    And the one that makes the largest, or smallest, sum, where that is another.
    """
    weights, codes = weights_of(graph, op), code_range(graph, op.a)
    bias = graph.constants[op.bias] if op.bias else np.zeros(weights.shape[1], np.int64)
    sums = of_weights(weights, codes, 0, None)
    largest = np.array([_largest_scale(graph, op)], object)
    values = Channels.of(sums.least, sums.most).times(largest).plus(Channels.of(bias, bias))
    scaled = values.times(graph.constants[op.requantize.multiplier])
    columns = [
        int(np.argmax(each.high) if upper else np.argmin(each.low)) for each in (scaled, values)
    ]
    for column in dict.fromkeys(columns):
        operands = {op.a: furthest_row(weights[:, column], codes, upper=upper)}
        found = dict(matmul_inputs(graph, op, operands))
        if op.residual is not None:
            residual = graph.tensors[op.residual]
            end = code_range(graph, op.residual)[1 if upper else 0]
            found[op.residual] = np.full((1, *residual.shape), end, residual.type.dtype)
        yield found


def matmul_inputs(
    graph: IntGraph, op: AnyMatMul, rows: Mapping[TensorId, IntArray]
) -> Mapping[TensorId, Array]:
    """Return a product's activations [1, ...] of one row [K] or column [K] each, repeated.

    A residual has the code of 0, factors and exponents have their largest code.
    """
    found: dict[TensorId, Array] = {}
    for name, row in rows.items():
        tensor = graph.tensors[name]
        along = row
        if name == op.b and not op.transpose_b:
            along = row[:, None]
        found[name] = np.broadcast_to(along, (1, *tensor.shape)).astype(tensor.type.dtype)
    if op.residual is not None:
        residual = graph.tensors[op.residual]
        found[op.residual] = np.full((1, *residual.shape), residual.zero_point, residual.type.dtype)
    for scale in _scales(op):
        shape, largest = graph.tensors[scale].shape, largest_code(graph, scale)
        found[scale] = np.full((1, *shape), largest, graph.tensors[scale].type.dtype)
    return found


def _scales(op: AnyMatMul) -> list[TensorId]:
    """Return the tensors of a product's factors and exponents."""
    if not isinstance(op, ScaledMatMul):
        return []
    return [n for n in (op.row_factor, op.column_factor, op.block_exponent) if n is not None]


def _largest_scale(graph: IntGraph, op: AnyMatMul) -> int:
    """Return the most that factors and exponents multiply a sum by."""
    if not isinstance(op, ScaledMatMul):
        return 1
    factors = [n for n in (op.row_factor, op.column_factor) if n is not None]
    return prod(largest_code(graph, name) for name in factors) << largest_exponent(graph, op)


def _rows_of_probabilities(graph: IntGraph, softmax: Op) -> IntArray:
    """Return rows that a softmax makes [rows, N]: of some equal largest scores, others below.

    Each number of largest scores is tried with the others at several distances from them.
    """
    (name,) = softmax.operands
    scores = graph.tensors[name]
    low, high = code_range(graph, name)
    count = scores.shape[-1]
    steps = np.unique(np.geomspace(1, high - low, _DISTANCES).astype(np.int64))
    rows = np.empty((count * len(steps), count), scores.type.dtype)
    for index, (largest, distance) in enumerate(product(range(1, count + 1), steps)):
        rows[index] = high - distance
        rows[index, :largest] = high
    heaviest = []
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        made = trace(softmax, graph, [rows[start : start + _ROWS_AT_ONCE]])["result"]
        heaviest.append(made[made.astype(np.int64).sum(axis=-1).argmax()])
    return np.stack(heaviest)
