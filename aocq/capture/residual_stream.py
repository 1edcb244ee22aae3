# SPDX-License-Identifier: Apache-2.0
"""The residual stream of a network and the layers that join it, found in a graph's structure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from aocq.capture.float_graph import (
    ARITHMETIC,
    LAYOUT,
    FloatGraph,
    FloatNode,
    FloatOp,
    readers_of,
)

# What stands between the last sum and the final normalization of networks that pool before it.
_POOLING = LAYOUT | {FloatOp.MEAN}


def arithmetic_source(graph: FloatGraph, name: str) -> FloatNode:
    """Return the arithmetic node whose values ``name`` holds, perhaps moved, scaled or masked."""
    node = graph.node(name)
    while node.op not in ARITHMETIC:
        node = graph.node(node.inputs[0])
    return node


def logits(graph: FloatGraph) -> frozenset[str]:
    """Return the network's result, and the nodes that it is moved, scaled or added up from."""
    names, opened = set(), [graph.output.name]
    while opened:
        node = graph.node(opened.pop())
        if node.op in ARITHMETIC:
            names.add(node.name)
        if node.op is FloatOp.ADD or node.op not in ARITHMETIC:
            opened += node.inputs
    return frozenset(names)


def residual_stream(graph: FloatGraph) -> frozenset[str]:
    """Return the tensors that carry the sum of all branches from block to block.

    Seen from the layer normalizations that read it, the stream is sums and concatenations, back to
    the tokens. A pooled stream is still the stream: slices and means between the last sum and its
    normalization are passed. It starts at what a sum of the stream and a normalization both read,
    whatever made that: a reduction between two stages, or a normalization of the patches. Where
    branches are normalized at their ends and the stream is not, a sum of a tensor and a
    normalization of what is made of it belongs to the stream too, which starts at the first such
    tensor. Where nothing is normalized, sums whose one term is made of the other tell the stream.
    """
    if not any(node.op is FloatOp.LAYERNORM for node in graph.nodes):
        return _sums_with_own_branches(graph)
    nodes = {node.name: node for node in graph.nodes}

    def behind_pooling(name: str) -> FloatNode:
        node = nodes[name]
        while node.op in _POOLING:
            node = nodes[node.inputs[0]]
        return node

    normalized = [
        behind_pooling(name)
        for node in graph.nodes
        if node.op is FloatOp.LAYERNORM
        for name in node.inputs
    ]
    found: set[str] = set()
    sums = _sums_with_normalized_branches(graph)
    opened = [*normalized, *(nodes[name] for name in sums)]
    added: set[str] = set()
    while opened:
        node = opened.pop()
        if node.op in {FloatOp.ADD, FloatOp.CONCAT} and node.name not in found:
            found.add(node.name)
            inputs = [behind_pooling(name) for name in node.inputs]
            opened += inputs
            if node.op is FloatOp.ADD:
                added |= {source.name for source in inputs}
    starts = {node.name for node in normalized if node.name in added}
    starts |= {behind_pooling(own).name for own in sums.values()}
    return frozenset(found | {name for name in starts if nodes[name].op is not FloatOp.INPUT})


def _sums_with_normalized_branches(graph: FloatGraph) -> dict[str, str]:
    """Return sums ``x + norm(branch(x))``, and the x of each.

    Swin v2 normalizes its branches so, and so do ViTs with relative positions ("res-post-norm").
    """
    found = [
        (node, own, branch)
        for node, own, branch in _terms(graph)
        if _behind_layout(graph, branch).op is FloatOp.LAYERNORM
    ]
    needs = _needs(graph) if found else {}
    return {
        node.name: own
        for node, own, branch in found
        if _behind_layout(graph, own).name in needs[branch]
    }


def _sums_with_own_branches(graph: FloatGraph) -> frozenset[str]:
    """Return sums of a tensor and a branch that reads it, and the tensors that these start at."""
    needs = _needs(graph)
    found: set[str] = set()
    for node, own, branch in _terms(graph):
        if own in needs[branch]:
            found |= {node.name, arithmetic_source(graph, own).name}
    return frozenset(found - {graph.input.name})


def _terms(graph: FloatGraph) -> Iterator[tuple[FloatNode, str, str]]:
    """Yield every sum with its terms, in either order."""
    for node in graph.nodes:
        if node.op is FloatOp.ADD:
            a, b = node.inputs
            yield node, a, b
            yield node, b, a


def _needs(graph: FloatGraph) -> dict[str, frozenset[str]]:
    """Return the nodes that each node depends on."""
    needs: dict[str, frozenset[str]] = {}
    for node in graph.nodes:
        needs[node.name] = frozenset().union(*({name} | needs[name] for name in node.inputs))
    return needs


def _behind_layout(graph: FloatGraph, name: str) -> FloatNode:
    """Return the node whose values a node holds, wherever layout nodes moved them."""
    node = graph.node(name)
    while node.op in LAYOUT:
        node = graph.node(node.inputs[0])
    return node


def stream_terms(graph: FloatGraph) -> dict[str, FloatNode]:
    """Return the nodes that only a sum of the residual stream reads, and that sum.

    These are the ends of branches (proj, fc2) and the tokens and embeddings: Add_α folds the
    stream's factors into them.
    """
    stream = residual_stream(graph)
    return {
        name: readers[0]
        for name, readers in readers_of(graph).items()
        if len(readers) == 1 and _sums(readers[0], stream) and name not in stream
    }


def _sums(node: FloatNode, stream: frozenset[str]) -> bool:
    return node.name in stream and node.op in {FloatOp.ADD, FloatOp.CONCAT}


def fusable_layers(graph: FloatGraph) -> dict[str, FloatNode]:
    """Return the linear layers that a chip could fuse with an addition, and that addition.

    These are proj and fc2 of every block, whose sums a chip may add to the stream before they are
    rounded. The other term is an activation that has codes: neither an embedding nor such a layer.
    """
    stream = residual_stream(graph)
    found = {}
    for name, total in stream_terms(graph).items():
        if graph.node(name).op is FloatOp.LINEAR and total.op is FloatOp.ADD:
            others = [graph.node(other) for other in total.inputs if other != name]
            if others and all(_has_codes(other, stream) for other in others):
                found[name] = total
    return found


def _has_codes(node: FloatNode, stream: frozenset[str]) -> bool:
    return node.name in stream or node.op not in {FloatOp.CONSTANT, FloatOp.LINEAR}


def readers_through_layout(
    graph: FloatGraph, readers: Mapping[str, list[FloatNode]], name: str
) -> list[FloatNode]:
    """Return the readers of a tensor, behind layout nodes that move it."""
    found = []
    for reader in readers.get(name, []):
        moved = reader.op in LAYOUT
        found += readers_through_layout(graph, readers, reader.name) if moved else [reader]
    return found
