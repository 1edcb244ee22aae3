# SPDX-License-Identifier: Apache-2.0
"""What a tensor is for: so far, which ones form the residual stream."""

from __future__ import annotations

from aocq.capture.float_graph import FloatGraph, FloatOp

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
