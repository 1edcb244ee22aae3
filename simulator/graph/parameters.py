# SPDX-License-Identifier: Apache-2.0
"""Checks of parameters and operands that the rules of several ops share."""

from __future__ import annotations

from collections.abc import Iterator

from simulator.graph.graph import IntGraph
from simulator.graph.op import Op, TensorId
from simulator.graph.shapes import broadcasts


def within(name: str, value: int, low: int, high: int) -> Iterator[str]:
    """Yield what is wrong with a parameter outside ``low`` to ``high``."""
    if not low <= value <= high:
        yield f"{name} {value}: must be {low}..{high}"


def ends(graph: IntGraph, name: TensorId) -> set[int]:
    """Return the lowest and the highest code of a constant."""
    codes = graph.constants[name]
    return {int(codes.min()), int(codes.max())}


def has_an_entry_per_code(graph: IntGraph, table: TensorId, a: TensorId) -> Iterator[str]:
    """Yield what is wrong with a table that has another number of entries than a has codes."""
    entries, bits = graph.tensors[table].shape, graph.tensors[a].code_type.bits
    if entries != (1 << bits,):
        yield f"table has shape {entries}, wanted ({1 << bits},) for {bits}-bit codes"


def first_has_images(graph: IntGraph, op: Op) -> Iterator[str]:
    """Yield where the first operand is a constant: it must have one value for each image."""
    for first in op.operands[:1]:
        if graph.is_constant(first):
            yield f"operand {first} is a constant"


def only_constants_broadcast(graph: IntGraph, op: Op, verb: str) -> Iterator[str]:
    """Yield where the first operand is a constant, or the second is repeated and is none."""
    yield from first_has_images(graph, op)
    if len(op.operands) != 2:
        return
    a, b = (graph.tensors[name].shape for name in op.operands)
    repeats = len(b) < len(a) or (b[:-1] != a[:-1] and broadcasts(b, a))
    if repeats and not graph.is_constant(op.operands[1]):
        yield f"cannot {verb} {b} to {a}: only a constant is broadcast"
