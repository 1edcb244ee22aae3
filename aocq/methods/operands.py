# SPDX-License-Identifier: Apache-2.0
"""Sources of the operands of matrix products: the channels of a tensor that form each head.

Methods with one scale per head cannot put a quantizer on an operand: between the layer that makes
it and the product are only layout nodes. The scale belongs to channels of the layer's result, and
which ones they are is found by sending their numbers through the layout nodes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from aocq.capture import FloatGraph, FloatNode, run
from aocq.capture.float_graph import ARITHMETIC
from aocq.capture.residual_stream import arithmetic_source
from aocq.capture.tracing import sent

# From the end: channels, and the heads of attention in [heads, tokens, channels].
CHANNELS, HEADS = -1, -3


@dataclass(frozen=True, slots=True, kw_only=True)
class Operand:
    """One operand of a product of two activations, and the tensor that it is a view of.

    Attributes
    ----------
    name
        the node that the product reads
    source
        the arithmetic node whose values it reads
    axis
        the dimension of ``source``, counted from the end, that tells heads apart
    heads
        for each head its indices into that dimension
    factor
        operand = factor * source (scale nodes in between)
    """

    name: str
    source: str
    axis: int
    heads: tuple[tuple[int, ...], ...]
    factor: float


def trace_operand(graph: FloatGraph, product: FloatNode, side: int) -> Operand:
    """Return the source of operand ``side`` (0 or 1) of a matmul node.

    Heads that no single dimension of the source tells apart are one head with all its channels.
    """
    name = product.inputs[side]
    source = arithmetic_source(graph, name)
    operand = graph.node(name)
    for axis in (HEADS, CHANNELS):
        if len(source.shape) < -axis:
            continue
        seen = _send(graph, source, name, axis)
        heads = seen.unbind(HEADS) if len(operand.shape) >= -HEADS else (seen,)
        groups = tuple(tuple(torch.unique(head).long().tolist()) for head in heads)
        if sum(map(len, groups)) == len({index for group in groups for index in group}):
            break
    else:
        groups = (tuple(range(source.shape[CHANNELS])),)
    return Operand(
        name=name, source=source.name, axis=axis, heads=groups, factor=_factor(graph, source, name)
    )


def row_blocks(graph: FloatGraph, layer: FloatNode) -> tuple[tuple[int, ...], ...]:
    """Return a linear layer's rows grouped by their readers: Q, K and V of a joint layer.

    One block of all rows where its readers do not share them out evenly.
    """
    blocks = {
        tuple(torch.unique(_send(graph, layer, name, CHANNELS)).long().tolist())
        for node in graph.nodes
        if node.op in ARITHMETIC
        for name in node.inputs
        if arithmetic_source(graph, name).name == layer.name
    }
    rows = sorted(index for block in blocks for index in block)
    everything = tuple(range(layer.shape[CHANNELS]))
    if rows != list(everything) or len({len(block) for block in blocks}) != 1:
        return (everything,)
    return tuple(sorted(blocks))


def _send(graph: FloatGraph, source: FloatNode, name: str, axis: int) -> Tensor:
    """Send each element's index along ``axis`` of ``source`` to ``name``, in its shape."""
    numbers = torch.arange(source.shape[axis]).reshape(-1, *(1,) * (-1 - axis))
    return sent(graph, source, name, numbers)


def _factor(graph: FloatGraph, source: FloatNode, name: str) -> float:
    ones = torch.ones(1, *source.shape, dtype=torch.float64)
    return float(run(graph, {source.name: ones}, [name])[name].flatten()[0])
