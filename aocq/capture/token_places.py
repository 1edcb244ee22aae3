# SPDX-License-Identifier: Apache-2.0
"""Which token each element of a tensor belongs to, found by sending numbers through the graph.

Tokens are numbered in the patch embedding and, anew, in every tensor of the residual stream. From
there layout operations move the numbers, into windows and heads too, and sums over the last
dimension keep those that are the same all over it. Extents tell nothing: a window may have as many
tokens as another stage's whole image, and a head as many channels.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from aocq.capture.float_graph import LAYOUT, FloatGraph, FloatNode, FloatOp
from aocq.capture.interpreter import apply
from aocq.capture.residual_stream import residual_stream
from aocq.capture.token_grid import TokenGrid, token_grid

# Of one tensor: what yields each element from the same one, and each row from the same row.
_BY_ELEMENT = frozenset({FloatOp.UNARY, FloatOp.SCALE, FloatOp.REQUANTIZE, FloatOp.MASK})
_BY_ROW = frozenset(
    {FloatOp.LINEAR, FloatOp.SOFTMAX, FloatOp.LAYERNORM, FloatOp.L2NORM, FloatOp.HADAMARD}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPlaces:
    """The tokens of a tensor's elements.

    Attributes
    ----------
    numbers
        of each element, int32 of the tensor's shape: 1 for the first token of ``grid``, those in
        front of the patches included; 0: of no token, or of several
    """

    grid: TokenGrid
    numbers: Tensor


def token_places(graph: FloatGraph) -> dict[str, TokenPlaces]:
    """Return the tokens of the tensors that are made of tokens, by name.

    A product's rows belong to the tokens of its first operand: of attention those that ask.
    """
    stream = residual_stream(graph)
    found: dict[str, TokenPlaces] = {}
    for node in graph.nodes:
        grid = _own_grid(graph, node, stream)
        if grid is not None:
            tokens = torch.arange(1, grid.tokens + 1, dtype=torch.int32)
            numbers = tokens.reshape(*node.shape[:-1], 1).expand(node.shape)
            found[node.name] = TokenPlaces(grid=grid, numbers=numbers)
            continue
        inputs = [found.get(name) for name in node.inputs]
        grids = {each.grid for each in inputs if each is not None}
        if len(grids) == 1:
            shapes = [graph.node(name).shape for name in node.inputs]
            passed = _passed_on(
                node, [None if each is None else each.numbers for each in inputs], shapes
            )
            if passed is not None:
                found[node.name] = TokenPlaces(grid=grids.pop(), numbers=passed)
    return found


def _own_grid(graph: FloatGraph, node: FloatNode, stream: Collection[str]) -> TokenGrid | None:
    """Return where the tokens of the stream and of the patch embedding stand."""
    if node.name in stream:
        return token_grid(graph, node.name)
    if node.op is not FloatOp.LINEAR:
        return None
    source = graph.node(node.inputs[0])
    if source.op is FloatOp.PATCHES and source.inputs[0] == graph.input.name:
        return TokenGrid(prefix=0, rows=node.shape[0], columns=node.shape[1])
    while source.op in LAYOUT:
        source = graph.node(source.inputs[0])
    return token_grid(graph, node.name) if source.op is FloatOp.INPUT else None


def _passed_on(
    node: FloatNode, inputs: Sequence[Tensor | None], shapes: Sequence[tuple[int, ...]]
) -> Tensor | None:
    """Return the numbers of a node's elements; inputs without numbers are no tokens'."""
    first = inputs[0]
    if node.op in _BY_ELEMENT:
        return first
    if node.op in _BY_ROW | {FloatOp.MATMUL}:
        return None if first is None else _same(first, -1).expand(node.shape)
    if node.op is FloatOp.MEAN:
        return None if first is None else _same(first, node.attributes["axis"]).reshape(node.shape)
    if node.op is FloatOp.ADD:
        known = [each.expand(node.shape) for each in inputs if each is not None]
        return torch.where(known[0] == known[-1], known[0], 0)
    if node.op in LAYOUT | {FloatOp.CONCAT}:
        filled = [
            torch.zeros(shape, dtype=torch.int32) if each is None else each
            for each, shape in zip(inputs, shapes, strict=True)
        ]
        return apply(node, [each[None] for each in filled], {}, 1)[0]
    return None


def _same(numbers: Tensor, axis: int) -> Tensor:
    """Return the number that all elements along an axis have, 0 where they differ; axis kept."""
    start = numbers.narrow(axis, 0, 1)
    return torch.where((numbers == start).all(axis, keepdim=True), start, 0)
