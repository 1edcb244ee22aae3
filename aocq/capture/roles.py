# SPDX-License-Identifier: Apache-2.0
"""What a tensor is for: which ones form the residual stream, and which ones join it."""

from __future__ import annotations

from aocq.capture.float_graph import FloatGraph, FloatNode, FloatOp

# What stands between the last sum and the final normalization of networks that pool before it.
_POOLING = frozenset({FloatOp.SLICE, FloatOp.RESHAPE, FloatOp.TRANSPOSE, FloatOp.MEAN})


def residual_stream(graph: FloatGraph) -> frozenset[str]:
    """Return the sums and concatenations that layer normalizations read, back to the tokens.

    These are the tensors that carry the sum of all branches from block to block. A pooled stream
    is still the stream: slices and means between the last sum and its normalization are passed.
    """
    nodes = {node.name: node for node in graph.nodes}
    found: set[str] = set()
    open_names = [
        name for node in graph.nodes if node.op is FloatOp.LAYERNORM for name in node.inputs
    ]
    while open_names:
        node = nodes[open_names.pop()]
        while node.op in _POOLING:
            node = nodes[node.inputs[0]]
        if node.op in {FloatOp.ADD, FloatOp.CONCAT} and node.name not in found:
            found.add(node.name)
            open_names += node.inputs
    return frozenset(found)


def joins_stream(graph: FloatGraph) -> dict[str, FloatNode]:
    """Return, for each node that only a sum of the stream reads, that sum.

    These are the ends of branches (proj, fc2) and the tokens and embeddings: Add_α folds the
    stream's factors into them.
    """
    stream = residual_stream(graph)
    readers: dict[str, list[FloatNode]] = {}
    for node in graph.nodes:
        for name in node.inputs:
            readers.setdefault(name, []).append(node)
    return {
        name: found[0]
        for name, found in readers.items()
        if len(found) == 1 and found[0].name in stream and name not in stream
    }


def branch_ends(graph: FloatGraph) -> dict[str, FloatNode]:
    """Return, for each linear layer that only a sum with the stream reads, that sum.

    proj and fc2 of every block: a chip may let their sums go straight onto the stream. What they
    are added to is an activation that has codes: neither an embedding nor another such layer.
    """
    found = {}
    for name, total in joins_stream(graph).items():
        if graph.node(name).op is FloatOp.LINEAR and total.op is FloatOp.ADD:
            others = [graph.node(other).op for other in total.inputs if other != name]
            if others and not {FloatOp.CONSTANT, FloatOp.LINEAR}.intersection(others):
                found[name] = total
    return found
