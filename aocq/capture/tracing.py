# SPDX-License-Identifier: Apache-2.0
"""Which elements of a tensor reach a node, found by sending their numbers through the graph."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from types import MappingProxyType

import torch
from torch import Tensor

from aocq.capture.float_graph import LAYOUT, FloatGraph, FloatNode, FloatOp, readers_of
from aocq.capture.interpreter import run


def sent(
    graph: FloatGraph,
    source: FloatNode,
    name: str,
    numbers: Tensor,
    through: Collection[FloatOp] = (FloatOp.SCALE,),
) -> Tensor:
    """Send numbers, which broadcast with the tensor of ``source``, to ``name``, in its shape.

    Layout operations move them, those ``through`` which they pass leave them as they are. Zeros
    that come in are 0.
    """
    fed = numbers.double().expand(1, *source.shape)
    return run(_moving(graph, through), {source.name: fed}, [name])[name][0]


def _moving(graph: FloatGraph, through: Collection[FloatOp]) -> FloatGraph:
    """Return the graph with operations that change values in place as ones that change nothing."""
    nodes = (
        replace(node, op=FloatOp.RESHAPE, attributes=MappingProxyType({}))
        if node.op in through
        else node
        for node in graph.nodes
    )
    return replace(graph, nodes=tuple(nodes))


def channel_numbers(
    graph: FloatGraph,
    source: FloatNode,
    name: str,
    through: Collection[FloatOp] = (FloatOp.SCALE,),
) -> Tensor:
    """Return of every element of ``name`` the channel of ``source``, from 0 on; -1 for zeros."""
    numbers = torch.arange(1, source.shape[-1] + 1)
    return sent(graph, source, name, numbers, through).long() - 1


@dataclass(frozen=True, slots=True)
class Reading:
    """A node that makes something of a tensor's values, and the tensor that it reads them in."""

    reader: FloatNode
    name: str


def readings(
    graph: FloatGraph, name: str, through: Collection[FloatOp] = LAYOUT | {FloatOp.SCALE}
) -> list[Reading]:
    """Return who reads a tensor behind operations that only move it, once for each operand."""
    readers = readers_of(graph)
    found: list[Reading] = []
    opened = [name]
    while opened:
        name = opened.pop(0)
        for reader in readers.get(name, []):
            if reader.op in through:
                opened.append(reader.name)
            else:
                found.append(Reading(reader, name))
    return found
