# SPDX-License-Identifier: Apache-2.0
"""Importance of tokens: which of them lead to the logits, and how much each one counts.

Behind the last attention of a network that classifies by its class token, only that token's path
leads to the logits: an error anywhere else changes nothing.

A network with a dense result, one for each token, has no such token, and on most images most tokens
say the same: nothing is there. Those count more that say something else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import accumulate

import torch
from torch import Tensor

from aocq.capture import FloatGraph, FloatNode, FloatOp
from aocq.capture.float_graph import sliced
from aocq.capture.residual_stream import arithmetic_source, residual_stream
from aocq.methods.aocq.token_norm import column_deviations
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


def weighs_results(graph: FloatGraph, options: AocqOptions) -> bool:
    """Whether tokens count by what a network says of them: it has a result for each."""
    dense = math.prod(graph.output.shape[:-1]) > 1
    return dense and options.loss == "token_norm" and options.dense_tokens == "deviation"


def token_importance(
    graph: FloatGraph, options: AocqOptions, result: Tensor | None = None
) -> dict[str, Tensor]:
    """Return for every node how much each of its tokens counts, float32 [..., tokens, 1].

    The shape is that of the node, with one channel.

    Tokens that nothing reads count less than one token, all together: enough to keep second moments
    of the rest regular. Class tokens count ``class_token_weight``.

    Parameters
    ----------
    result
        the float network's [images, ..., C] where :func:`weighs_results`: nodes with the same
        tokens then have an importance for each image, [images, ..., tokens, 1], by
        :func:`result_weights`
    """
    own = None if result is None else result_weights(graph, result)
    read = tokens_read(graph)
    classifying = _class_tokens(graph, read)
    importance = {}
    for name, mask in read.items():
        weights = torch.where(mask, 1.0, 1.0 / len(mask))
        if len(classifying) == len(mask):
            weights[classifying] *= options.class_token_weight
        importance[name] = weights.reshape(*graph.node(name).shape[:-1], 1)
        if own is not None and own.shape[1:] == importance[name].shape:
            importance[name] = importance[name].to(own) * own
    return importance


def result_weights(graph: FloatGraph, result: Tensor) -> Tensor:
    """Return how much the tokens of a dense result count, with mean 1, [images, ..., tokens, 1].

    ``w_t = max_c ((y_tc - mean_c) / deviation_c)^2``: how far a token's result is from the ordinary
    in the column where it is furthest. Tokens that begin as constants (class and register tokens),
    whose results nobody reads, count as an ordinary one does.

    Parameters
    ----------
    result
        of the float network, [images, ..., tokens, C]
    """
    rows = result.flatten(0, -2)
    apart = ((rows - rows.mean(0)) / column_deviations(rows)).square().amax(-1)
    weights = apart.reshape(*result.shape[:-1], 1)
    constant = _constant_tokens(graph)
    if 0 < len(constant) < weights.shape[1]:
        others = torch.ones(weights.shape[1], dtype=torch.bool)
        others[constant] = False
        weights[:, constant] = weights[:, others].mean()
    mean = float(weights.mean())
    return weights / mean if mean else torch.ones_like(weights)


def _constant_tokens(graph: FloatGraph) -> list[int]:
    """Return the tokens of a result [tokens, C] that were put beside the image's as constants."""
    for node in graph.nodes:
        if node.op is FloatOp.CONCAT and node.shape[:-1] == graph.output.shape[:-1]:
            ends = list(accumulate(graph.node(name).shape[0] for name in node.inputs))
            return [
                token
                for name, end in zip(node.inputs, ends, strict=True)
                if arithmetic_source(graph, name).op is FloatOp.CONSTANT
                for token in range(end - graph.node(name).shape[0], end)
            ]
    return []


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
