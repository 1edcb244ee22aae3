# SPDX-License-Identifier: Apache-2.0
"""Ops without a pass of their own: what the pass before does as well, or who writes the inputs."""

from __future__ import annotations

from simulator.cost.placement import kind_of, place_of
from simulator.graph.graph import IntGraph
from simulator.graph.ops import SPECS, Lookup, Op, Rescale, Reshape, TensorId, Transpose
from simulator.profile.cost import ComputeSection


def fused_ops(graph: IntGraph, compute: ComputeSection) -> dict[TensorId, TensorId]:
    """Return the ops that the pass before them does: the name of each, with that of the op before.

    Nothing else may read what that pass would have stored, and there must be such a pass: whoever
    writes the network's inputs has none, nor has an op without a place. A table (``fused_lookup``)
    is looked up on the way out of a unit of the chip, a Rescale (``fused_lookup_rescale``) behind a
    table of wide entries.
    """
    readers: dict[TensorId, int] = {}
    for op in graph.ops:
        for name in op.operands:
            readers[name] = readers.get(name, 0) + 1
    kept = set(graph.outputs)
    before = {op.name: op for op in graph.ops}
    arranged = arranged_inputs(graph, compute)
    found: dict[TensorId, TensorId] = {}
    for op in graph.ops:
        source = before.get(op.operands[0])
        if source is None or source.name in kept or readers[source.name] != 1:
            continue
        placed = place_of(kind_of(graph, source), compute) != "none" or source.name in found
        if placed and source.name not in arranged and _joins(graph, op, source, compute):
            found[op.name] = source.name
    return found


def _joins(graph: IntGraph, op: Op, source: Op, compute: ComputeSection) -> bool:
    if isinstance(op, Rescale):
        return bool(compute.fused_lookup_rescale) and isinstance(source, Lookup)
    if not isinstance(op, Lookup) or not compute.fused_lookup:
        return False
    if SPECS[type(source)].is_view(graph, source) or isinstance(source, Lookup):
        return False
    return place_of(kind_of(graph, source), compute) in {"mac", "vector"}


def arranged_inputs(graph: IntGraph, compute: ComputeSection) -> frozenset[TensorId]:
    """Return the layout ops that whoever writes the network's inputs does in writing them.

    Where ``inputs_arranged`` is set, these are Reshapes and Transposes of nothing but inputs: the
    codes of an image may be written in any order, so that of the first product.
    """
    if not compute.inputs_arranged:
        return frozenset()
    found = set(graph.inputs)
    for op in graph.ops:
        if isinstance(op, Reshape | Transpose) and op.operands[0] in found:
            found.add(op.name)
    return frozenset(found - set(graph.inputs))
