# SPDX-License-Identifier: Apache-2.0
"""What a tensor is for: so far, which ones form the residual stream."""

from __future__ import annotations

from aocq.capture.float_graph import FloatGraph, FloatOp


def residual_stream(graph: FloatGraph) -> frozenset[str]:
    """Return the sums and concatenations that layer normalizations read, back to the tokens.

    These are the tensors that carry the sum of all branches from block to block.
    """
    nodes = {node.name: node for node in graph.nodes}
    found: set[str] = set()
    open_names = [
        name for node in graph.nodes if node.op is FloatOp.LAYERNORM for name in node.inputs
    ]
    while open_names:
        node = nodes[open_names.pop()]
        if node.op in {FloatOp.ADD, FloatOp.CONCAT} and node.name not in found:
            found.add(node.name)
            open_names += node.inputs
    return frozenset(found)
