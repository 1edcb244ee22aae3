# SPDX-License-Identifier: Apache-2.0
"""Element by element with one rounding: traces of Rescale, Add and Mul."""

from __future__ import annotations

from collections.abc import Sequence

from simulator.graph.graph import IntGraph
from simulator.graph.ops import Add, Mul, Rescale
from simulator.numerics.float_type import Array
from simulator.traces.steps import centred, constant, requantized, shifted


def rescale(op: Rescale, graph: IntGraph, operands: Sequence[Array]) -> dict[str, Array]:
    """Return what a requantization ends with."""
    values = centred(operands[0], graph.tensors[op.a])
    return requantized(values, graph, op.requantize, graph.result(op))


def add(op: Add, graph: IntGraph, operands: Sequence[Array]) -> dict[str, Array]:
    """Return ``scaled``, ``rounded`` and ``result``."""
    a, b = (
        centred(codes, graph.tensors[name])
        for codes, name in zip(operands, (op.a, op.b), strict=True)
    )
    scaled = a * constant(graph, op.multiplier_a) + b * constant(graph, op.multiplier_b)
    return shifted(scaled, op.shift, op.rounding, op.overflow, graph.result(op))


def mul(op: Mul, graph: IntGraph, operands: Sequence[Array]) -> dict[str, Array]:
    """Return ``product``, and what a requantization ends with."""
    a, b = (
        centred(codes, graph.tensors[name])
        for codes, name in zip(operands, (op.a, op.b), strict=True)
    )
    product = a * b
    return {"product": product, **requantized(product, graph, op.requantize, graph.result(op))}
