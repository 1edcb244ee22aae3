# SPDX-License-Identifier: Apache-2.0
"""Blocks of a network, each from one tensor of the residual stream to a later one."""

from __future__ import annotations

from dataclasses import dataclass, replace

from aocq.capture import FloatGraph, FloatOp
from aocq.capture.residual_stream import residual_stream


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Nodes that are optimized together.

    Attributes
    ----------
    name
        the module path they share (``blocks.3``); ``stem`` before the first and ``head`` after the
        last residual block
    nodes
        names, in order of execution; no constants of other blocks
    source
        the one tensor of earlier blocks that they read (the image for the first block)
    result
        the one tensor that later blocks read
    """

    name: str
    nodes: tuple[str, ...]
    source: str
    result: str


def blocks(graph: FloatGraph) -> tuple[Block, ...]:
    """Cut ``graph`` where a single tensor of the residual stream carries everything onward.

    Cuts within one module (after attention, after the MLP) are joined: a block is what the network
    calls one.
    """
    cuts = _cuts(graph)
    # Of successive cuts in one module only the last one separates blocks.
    ends = [
        index
        for place, index in enumerate(cuts)
        if place + 1 == len(cuts)
        or _module(graph.nodes[index].name) != _module(graph.nodes[cuts[place + 1]].name)
    ]
    chain, start, source = [], 0, graph.input.name
    for place, end in enumerate([*ends, len(graph.nodes) - 1]):
        nodes = graph.nodes[start : end + 1]
        last = place == len(ends)
        name = "head" if last else _module(nodes[-1].name) or "stem"
        chain.append(
            Block(
                name=name,
                nodes=tuple(node.name for node in nodes if node.op is not FloatOp.INPUT),
                source=source,
                result=nodes[-1].name,
            )
        )
        start, source = end + 1, nodes[-1].name
    return tuple(chain)


def segments(graph: FloatGraph, block: Block) -> tuple[Block, ...]:
    """Cut ``block`` at every tensor that alone carries everything onward: attention, then the MLP.

    What is behind such a tensor can be computed from it, without what is before it.
    """
    inner = [graph.nodes[index].name for index in _cuts(graph)]
    ends = [name for name in inner if name in block.nodes and name != block.result]
    chain, start, source = [], 0, block.source
    for end in [*ends, block.result]:
        stop = block.nodes.index(end) + 1
        nodes = block.nodes[start:stop]
        chain.append(Block(name=block.name, nodes=nodes, source=source, result=end))
        start, source = stop, end
    return tuple(chain)


def within(graph: FloatGraph, block: Block) -> FloatGraph:
    """Return ``graph`` without the nodes of other blocks, their constants excepted.

    To run part of a graph, one has to look through all its nodes.
    """
    own = frozenset(block.nodes)
    nodes = (node for node in graph.nodes if node.name in own or node.op is FloatOp.CONSTANT)
    return replace(graph, nodes=tuple(nodes))


def _module(name: str) -> str:
    """Return a node's path up to its last numbered part: ``blocks.3`` of ``blocks.3.mlp.fc1``."""
    parts = name.split(".")
    numbered = [index for index, part in enumerate(parts) if part.isdigit()]
    return ".".join(parts[: numbered[-1] + 1]) if numbered else ""


def _cuts(graph: FloatGraph) -> list[int]:
    """Return the places of stream tensors that alone connect what is before and after them."""
    stream = residual_stream(graph)
    place = {node.name: index for index, node in enumerate(graph.nodes)}
    free = {node.name for node in graph.nodes if node.op is FloatOp.CONSTANT}
    # The last place at which each tensor is read.
    last_read: dict[str, int] = {}
    for node in graph.nodes:
        for name in node.inputs:
            last_read[name] = place[node.name]
    cuts = []
    for index, node in enumerate(graph.nodes):
        if node.name in stream and all(
            last_read.get(other.name, 0) <= index
            for other in graph.nodes[:index]
            if other.name not in free
        ):
            cuts.append(index)
    return cuts
