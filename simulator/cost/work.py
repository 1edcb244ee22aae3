# SPDX-License-Identifier: Apache-2.0
"""Work of a graph that no rate of a profile is in: products by halves, additions, elements."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

from simulator.cost.engine import multiplied_bits
from simulator.cost.exact import ceil_div
from simulator.cost.placement import kind_of
from simulator.graph.graph import IntGraph
from simulator.graph.macs import product_macs
from simulator.graph.ops import SPECS, Hadamard, Op, TensorId
from simulator.numerics.hadamard import additions

NARROW_BITS = 4  # of both operands of a multiplier that wider ones are taken apart for
_PRODUCTS = ("linear", "matmul")


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Work for one image.

    Attributes
    ----------
    macs
        multiply-accumulate operations of matrix products, whatever their operands' widths
    narrow_macs
        the same on multipliers of 4 x 4 bits, which take a wider operand in parts of 4 bits
    rotation_additions
        additions and subtractions of rotations by Hadamard matrices
    vector_elements
        elements that the vector unit takes time for, those of rotations left out
    """

    macs: int
    narrow_macs: int
    rotation_additions: int
    vector_elements: int


def work_of(graph: IntGraph, on_vector_unit: Container[TensorId]) -> Work:
    """Return the work of a graph; ``on_vector_unit``: ops for which that unit takes time."""
    products = [op for op in graph.ops if kind_of(graph, op) in _PRODUCTS]
    rotations = [op for op in graph.ops if isinstance(op, Hadamard)]
    return Work(
        macs=sum(product_macs(graph, op) for op in products),
        narrow_macs=sum(product_macs(graph, op) * _parts(graph, op) for op in products),
        rotation_additions=sum(
            graph.result(op).size // op.order * additions(op.order) for op in rotations
        ),
        vector_elements=sum(
            SPECS[type(op)].elements(graph, op)
            for op in graph.ops
            if op.name in on_vector_unit
            and not isinstance(op, Hadamard)
            and kind_of(graph, op) not in _PRODUCTS
        ),
    )


def _parts(graph: IntGraph, op: Op) -> int:
    """Return how many products of narrow operands a product of the op's factors takes."""
    a, b = multiplied_bits(graph, op)
    return ceil_div(a, NARROW_BITS) * ceil_div(b, NARROW_BITS)
