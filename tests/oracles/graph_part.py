# SPDX-License-Identifier: Apache-2.0
"""A part of an IntGraph as a graph of its own, and what each of its tensors is."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from simulator.graph import IntGraph, Role, verify


def part(graph: IntGraph, source: str, result: str) -> IntGraph:
    """Return the ops from the first that reads the activation ``source`` to ``result``.

    They must read no other activation from outside.
    """
    start = next(i for i, op in enumerate(graph.ops) if source in op.operands)
    stop = next(i for i, op in enumerate(graph.ops) if op.name == result) + 1
    ops = graph.ops[start:stop]
    read = {name for op in ops for name in (*op.operands, *op.constants)}
    constants = {name: codes for name, codes in graph.constants.items() if name in read}
    names = {source, *constants, *(op.name for op in ops)}
    tensors = {name: tensor for name, tensor in graph.tensors.items() if name in names}
    tensors[source] = replace(tensors[source], role=Role.INPUT)
    cut = replace(
        graph,
        inputs=(source,),
        outputs=(result,),
        tensors=MappingProxyType(tensors),
        ops=ops,
        constants=MappingProxyType(constants),
        meta=MappingProxyType({}),  # of the whole network's two ends
    )
    assert verify(cut) == []
    return cut
