# SPDX-License-Identifier: Apache-2.0
"""Attention found in a graph's structure: what the last one reads, and its probabilities."""

from __future__ import annotations

from aocq.capture.float_graph import LAYOUT, FloatGraph, FloatNode, FloatOp
from simulator.errors import InputError

# What may stand between a layer and the tensor whose values it reads, if in another form.
_SAME_VALUES = LAYOUT | {FloatOp.HADAMARD, FloatOp.REQUANTIZE, FloatOp.SCALE}


def read_by_last_attention(graph: FloatGraph) -> FloatNode:
    """Return the tensor that the layer of queries, keys or values of the last attention reads.

    Where branches begin with a normalization that is its result, ``norm1`` of the last block.

    Raises
    ------
    InputError
        If the network has no attention.
    """
    softmaxes = probabilities(graph)
    if not softmaxes:
        raise InputError(
            f"{graph.name}: has no attention, whose input maps of activations are drawn of; name "
            "another tensor of tokens with --layer"
        )
    node = softmaxes[-1]
    while node.op is not FloatOp.LINEAR:
        node = graph.node(node.inputs[0])
    while True:
        node = graph.node(node.inputs[0])
        if node.op not in _SAME_VALUES:
            return node


def probabilities(graph: FloatGraph) -> list[FloatNode]:
    """Return the softmaxes of a network, in order."""
    return [node for node in graph.nodes if node.op is FloatOp.SOFTMAX]
