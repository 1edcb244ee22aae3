# SPDX-License-Identifier: Apache-2.0
"""The input of an op that comes closest to a bound, and what it attains: exact integers.

For a layer with weights it is the row of codes at the ends of their type, by the signs of the
weights of the worst column: it attains the bound itself. Where a bound rests on what rows of
probabilities sum up to, rows that a softmax can make are tried. For other values the inputs that
are tried are :mod:`simulator.proof.candidates`, through the op's trace.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from simulator.graph.graph import IntGraph
from simulator.graph.op import Op, TensorId
from simulator.graph.ops import AnyMatMul, Mean, NormalizedMatMul, ScaledMatMul
from simulator.graph.ops.scaled_product import largest_exponent
from simulator.graph.ranges import code_range
from simulator.numerics.accumulator import Event, accumulate
from simulator.numerics.float_type import Array
from simulator.proof.candidates import candidates, furthest_pair, matmul_inputs
from simulator.proof.prove import ValueProof
from simulator.proof.sums import furthest_row, places_of_level, weights_of, worst_column
from simulator.traces import uncut


@dataclass(frozen=True, slots=True, kw_only=True)
class Nearest:
    """An input of an op alone, and the value that it makes.

    Attributes
    ----------
    operands
        codes of the op's activations, one image each: [1, ...]
    upper
        whether the upper end of the bound is approached, or the lower one
    attained
        the value, exact, before any register cuts it
    place
        of a sum, the row and the column of the result whose sum it is; else None
    event
        what an accumulator says of that sum; None of other values
    """

    operands: Mapping[TensorId, Array]
    upper: bool
    attained: int
    place: tuple[int, ...] | None = None
    event: Event | None = None

    def overflows(self, proof: ValueProof) -> bool:
        """Tell whether the value leaves its register."""
        kind = proof.register.kind
        return not kind.low <= self.attained <= kind.high


def nearest_input(graph: IntGraph, proof: ValueProof) -> Nearest | None:
    """Return the input that comes closest to driving a value out of its register.

    None where nothing is known to try: ops that read real values.
    """
    op = next(op for op in graph.ops if op.name == proof.op)
    found = _nearest(graph, op, proof, _worse_end(proof))
    assert found is None or proof.interval[0] <= found.attained <= proof.interval[1], proof
    return found


def _nearest(graph: IntGraph, op: Op, proof: ValueProof, upper: bool) -> Nearest | None:
    if proof.value != "accumulator":
        return _by_trace(graph, op, proof, upper)
    level = proof.level if proof.level is not None else 0
    if isinstance(op, Mean):
        return _of_mean(graph, op, level, upper)
    if isinstance(op, NormalizedMatMul):
        return _of_levels(graph, op, level, upper)
    assert isinstance(op, AnyMatMul)
    if graph.is_constant(op.b):
        return _of_weights(graph, op, level, upper)
    return _of_activations(graph, op, level, upper)


def _worse_end(proof: ValueProof) -> bool:
    """Return true if the upper end of a bound lies further outside the register, or less inside."""
    low, high = proof.interval
    kind = proof.register.kind
    return high - kind.high >= kind.low - low


def _of_weights(graph: IntGraph, op: AnyMatMul, level: int, upper: bool) -> Nearest:
    worst = worst_column(graph, op, level, upper=upper)
    column = weights_of(graph, op)[:, worst.column]
    row = furthest_row(column, code_range(graph, op.a), upper=upper)
    products = [int(code) * int(weight) for code, weight in zip(row, column, strict=True)]
    places = places_of_level(graph, op, level)
    return Nearest(
        operands=matmul_inputs(graph, op, {op.a: row}),
        upper=upper,
        attained=(sum(products[worst.start : worst.stop]) + worst.bias) << places,
        place=(0, worst.column),
        event=_event(graph, op, products, worst.column),
    )


def _of_activations(graph: IntGraph, op: AnyMatMul, level: int, upper: bool) -> Nearest:
    pair = furthest_pair(graph, op, upper=upper)
    row, column = pair[op.a], pair[op.b]
    products = [int(a) * int(b) for a, b in zip(row, column, strict=True)]
    group = op.accumulator.levels[level].group or len(products)
    sums = [sum(products[start : start + group]) for start in range(0, len(products), group)]
    return Nearest(
        operands=matmul_inputs(graph, op, pair),
        upper=upper,
        attained=(max if upper else min)(sums) << places_of_level(graph, op, level),
        place=(0, 0),
        event=_event(graph, op, products, 0),
    )


def _of_levels(graph: IntGraph, op: NormalizedMatMul, level: int, upper: bool) -> Nearest:
    """A row of the code with the largest level, and values at one end."""
    a, b = graph.tensors[op.a], graph.tensors[op.b]
    levels, terms = graph.constants[op.levels], a.shape[-1]
    code, value = int(levels.argmax()), code_range(graph, op.b)[1 if upper else 0]
    product = int(levels[code]) * value
    return Nearest(
        operands={
            op.a: np.full((1, *a.shape), code, a.type.dtype),
            op.b: np.full((1, *b.shape), value, b.type.dtype),
        },
        upper=upper,
        attained=min(op.accumulator.levels[level].group or terms, terms) * product,
        place=(0, 0),
        event=accumulate([product] * terms, 0, op.accumulator)[1],
    )


def _event(graph: IntGraph, op: AnyMatMul, products: list[int], column: int) -> Event:
    """Return what the accumulator says of the products of a column; exponents are the largest."""
    if isinstance(op, ScaledMatMul):
        exponents = [largest_exponent(graph, op)] * (len(products) // op.block if op.block else 0)
        return accumulate(products, 0, op.accumulator, exponents, op.block)[1]
    bias = int(graph.constants[op.bias][column]) if op.bias else 0
    return accumulate(products, bias, op.accumulator)[1]


def _of_mean(graph: IntGraph, op: Mean, level: int, upper: bool) -> Nearest:
    a, terms = graph.tensors[op.a], graph.tensors[op.a].shape[op.axis]
    code = code_range(graph, op.a)[1 if upper else 0]
    group = min(op.accumulator.levels[level].group or terms, terms)
    addend = code - a.zero_point
    return Nearest(
        operands={op.a: np.full((1, *a.shape), code, a.type.dtype)},
        upper=upper,
        attained=group * addend,
        place=(0,),
        event=accumulate([addend] * terms, 0, op.accumulator)[1],
    )


def _by_trace(graph: IntGraph, op: Op, proof: ValueProof, upper: bool) -> Nearest | None:
    """Return the candidate whose trace goes furthest."""
    best: Nearest | None = None
    for operands in candidates(graph, op, upper=upper):
        given = [
            graph.constants[name] if graph.is_constant(name) else operands[name]
            for name in op.operands
        ]
        values = uncut(op, graph, given)[proof.value]
        attained = int(values.max() if upper else values.min())
        if best is None or (attained > best.attained if upper else attained < best.attained):
            best = Nearest(operands=operands, upper=upper, attained=attained)
    return best
