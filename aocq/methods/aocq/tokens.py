# SPDX-License-Identifier: Apache-2.0
"""Importance of tokens: which of them lead to the logits, and how much each one counts.

Behind the last attention of a network that classifies by its class token, only that token's path
leads to the logits: an error anywhere else changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from aocq.capture import FloatGraph, FloatNode, FloatOp
from aocq.capture.float_graph import sliced
from aocq.capture.residual_stream import residual_stream
from aocq.recipes.aocq_options import AocqOptions

# Operations that yield each token from the same token of their inputs.
_BY_TOKEN = frozenset(
    {
        FloatOp.LINEAR,
        FloatOp.UNARY,
        FloatOp.LAYERNORM,
        FloatOp.L2NORM,
        FloatOp.HADAMARD,
        FloatOp.REQUANTIZE,
        FloatOp.SCALE,
        FloatOp.ADD,
    }
)


def tokens_read(graph: FloatGraph) -> dict[str, Tensor]:
    """Return for every node which of its tokens lead to the result, bool [tokens].

    A tensor [..., C] has as many tokens as its leading dimensions say, 1 if there are none.
    """
    read = {node.name: torch.zeros(_tokens(node), dtype=torch.bool) for node in graph.nodes}
    read[graph.output.name][:] = True
    for node in reversed(graph.nodes):
        for name in node.inputs:
            read[name] |= _of_input(node, graph.node(name), read[node.name])
    return read


def token_importance(graph: FloatGraph, options: AocqOptions) -> dict[str, Tensor]:
    """Return for every node how much each of its tokens counts, float32 [..., tokens, 1].

    The shape is that of the node, with one channel.

    Tokens that nothing reads count less than one token, all together: enough to keep second moments
    of the rest regular. Class tokens count ``class_token_weight``.
    """
    read = tokens_read(graph)
    classifying = _class_tokens(graph, read)
    importance = {}
    for name, mask in read.items():
        weights = torch.where(mask, 1.0, 1.0 / len(mask))
        if len(classifying) == len(mask):
            weights[classifying] *= options.class_token_weight
        importance[name] = weights.reshape(*graph.node(name).shape[:-1], 1)
    return importance


def _class_tokens(graph: FloatGraph, read: Mapping[str, Tensor]) -> Tensor:
    """Return the few tokens of the residual stream that the classifier reads, none if most."""
    stream = residual_stream(graph)
    last = [read[node.name] for node in graph.nodes if node.name in stream][-1:]
    if not last or 2 * int(last[0].sum()) >= len(last[0]):
        return torch.zeros(0, dtype=torch.bool)
    return last[0]


def _tokens(node: FloatNode) -> int:
    return math.prod(node.shape[:-1])


def _of_input(node: FloatNode, source: FloatNode, read: Tensor) -> Tensor:
    """Return which tokens of ``source`` are needed for the tokens ``read`` of ``node``."""
    everything = torch.full((_tokens(source),), bool(read.any()))
    if node.op in _BY_TOKEN or node.op is FloatOp.RESHAPE:
        same = _tokens(source) == _tokens(node) and (
            node.op is not FloatOp.RESHAPE or source.shape[-1] == node.shape[-1]
        )
        return read if same else everything
    if node.op is FloatOp.SLICE:
        axis, taken = node.attributes["axis"], sliced(node)
        if axis == len(source.shape) - 1:
            return read
        found = torch.zeros(source.shape[:-1], dtype=torch.bool)
        found.index_copy_(axis, torch.tensor(list(taken)), read.reshape(node.shape[:-1]))
        return found.flatten()
    return everything
