# SPDX-License-Identifier: Apache-2.0
"""Rotations of attention's heads, folded into the layers around them.

With H symmetric and orthogonal, ``(P V H)(H Wᵀ) = P V Wᵀ`` and ``(Q H)(K H)ᵀ = Q Kᵀ``: values are
rotated by the layer that makes them and back by the one that reads P V, queries and keys both by
their layers. Scores and logits stay as they are.

Source: QuaRot (arXiv 2404.00456), rotations of values and output projections.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from aocq.capture import FloatGraph, FloatNode, FloatOp
from aocq.capture.float_graph import LAYOUT
from aocq.capture.residual_stream import arithmetic_source
from aocq.capture.tracing import channel_numbers, readings, sent
from aocq.transforms.editing import Editing
from aocq.transforms.orders import block_rotation, largest_order

# What rotations of a row pass: a factor of the whole row, and its division by its length.
_THROUGH = frozenset({FloatOp.SCALE, FloatOp.L2NORM})


@dataclass(frozen=True, slots=True)
class Values:
    """The path of attention's values, from the layer that makes them to those that read P V.

    Attributes
    ----------
    layer
        the linear layer that makes them
    heads
        its rows that are values, [heads, channels of a head]
    readers
        the linear layers that read the product, and of each of their columns the row of ``layer``
        whose values it reads
    product
        the product with the probabilities
    """

    layer: FloatNode
    heads: Tensor
    readers: tuple[tuple[FloatNode, Tensor], ...]
    product: FloatNode


def rotate_heads(graph: FloatGraph) -> FloatGraph:
    """Rotate values, and queries and keys, within each head where layers can take it in."""
    return rotate_queries_and_keys(rotate_values(graph))


def rotate_values(graph: FloatGraph) -> FloatGraph:
    """Rotate the values of each head that linear layers make and, behind the product, read."""
    editing = Editing(graph)
    for path in value_paths(graph):
        width = path.heads.shape[1]
        order = largest_order(width)
        if order < 2:
            continue
        _rotate_rows(editing, path.layer.name, path.heads, block_rotation(width, order))
        for reader, columns in path.readers:
            by_column = _by_column(path.heads, columns, block_rotation(width, order))
            weight = editing.value(reader.name, "weight")
            assert weight is not None
            editing.set(reader.name, "weight", weight @ by_column)
    return editing.graph()


def rotate_queries_and_keys(graph: FloatGraph) -> FloatGraph:
    """Rotate the queries and the keys of each head by the same matrix."""
    editing = Editing(graph)
    for product in graph.nodes:
        if product.op is not FloatOp.MATMUL or not product.attributes["transpose_b"]:
            continue
        sides = [_heads(graph, name, product) for name in product.inputs]
        if None in sides:
            continue
        width = graph.node(product.inputs[0]).shape[-1]
        order = largest_order(width)
        if order < 2:
            continue
        for side in sides:
            assert side is not None
            _rotate_rows(editing, side[0].name, side[1], block_rotation(width, order))
    return editing.graph()


def value_paths(graph: FloatGraph) -> list[Values]:
    """Return the paths of values that can be rotated, or multiplied channel by channel."""
    found = []
    for product in graph.nodes:
        if product.op is FloatOp.MATMUL and not product.attributes["transpose_b"]:
            made = _heads(graph, product.inputs[1], product)
            readers = None if made is None else _readers(graph, product, *made)
            if made is not None and readers:
                found.append(Values(*made, readers, product))
    return found


def _heads(graph: FloatGraph, name: str, product: FloatNode) -> tuple[FloatNode, Tensor] | None:
    """Return the layer whose rows an operand holds, and which ones as its heads' channels.

    None where something else reads them too, or a head's channels are not the same in all tokens.
    """
    layer = graph.node(name)
    while layer.op in LAYOUT | _THROUGH:
        layer = graph.node(layer.inputs[0])
    if layer.op is not FloatOp.LINEAR:
        return None
    numbers = channel_numbers(graph, layer, name, _THROUGH)
    heads = torch.unique(numbers.flatten(0, -2), dim=0)
    if int(heads.min()) < 0 or heads.unique().numel() != heads.numel():
        return None
    if len(numbers.shape) > 1 and not bool((numbers == numbers[..., :1, :]).all()):
        return None
    for other in readings(graph, layer.name, LAYOUT | _THROUGH):
        if other.reader.name == product.name and other.name == name:
            continue
        seen = channel_numbers(graph, layer, other.name, _THROUGH)
        if bool(torch.isin(seen, heads).any()):
            return None
    return layer, heads


def _readers(
    graph: FloatGraph, product: FloatNode, layer: FloatNode, heads: Tensor
) -> tuple[tuple[FloatNode, Tensor], ...] | None:
    """Return the layers that read a product, with the rows of ``layer`` that their columns read."""
    numbers = channel_numbers(graph, layer, product.inputs[1], _THROUGH)[..., :1, :]
    found = []
    for reading in readings(graph, product.name, LAYOUT):
        if reading.reader.op is not FloatOp.LINEAR:
            return None
        arrived = sent(graph, product, reading.name, numbers + 1).long() - 1
        columns = arrived.flatten(0, -2)[0]
        if int(columns.min()) < 0 or not bool((arrived == columns).all()):
            return None
        # Every head whole, once.
        if not torch.equal(columns.sort().values, heads.flatten().sort().values):
            return None
        found.append((reading.reader, columns))
    return tuple(found)


def _rotate_rows(editing: Editing, layer: str, heads: Tensor, rotation: Tensor) -> None:
    """Rotate what a layer makes of its input within each head."""
    for key in ("weight", "bias"):
        value = editing.value(layer, key)
        if value is None:
            continue
        rows = value[heads.flatten()].reshape(*heads.shape, -1)
        value[heads.flatten()] = (rotation @ rows).reshape(heads.numel(), *value.shape[1:])
        editing.set(layer, key, value)


def _by_column(heads: Tensor, columns: Tensor, rotation: Tensor) -> Tensor:
    """Return the rotation of all heads, [K, K], of the columns of a layer that reads them."""
    whole = torch.block_diag(*[rotation] * len(heads))
    place = torch.zeros(int(heads.max()) + 1, dtype=torch.long)
    place[heads.flatten()] = torch.arange(heads.numel())
    ordered: Tensor = whole[place[columns]][:, place[columns]]
    return ordered


def mixes_probabilities(graph: FloatGraph, product: FloatNode) -> bool:
    """Whether a product's first operand is not a softmax's own result, whose rows sum up to 1."""
    return arithmetic_source(graph, product.inputs[0]).op is not FloatOp.SOFTMAX
