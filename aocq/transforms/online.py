# SPDX-License-Identifier: Apache-2.0
"""Hadamard products in front of linear layers, computed as the network runs.

``x Wᵀ = (x H)(W H)ᵀ``: a HADAMARD node rotates the layer's input, and the inverse goes into its
weights. In front of the rotation the channels can be balanced: ``x' = (x - m) / α`` by whatever
makes x (γ and β of a LayerNorm; rows and biases of the layer that makes attention's values), and
``W α``, ``b + W m`` in the layers that read it. With α = √(σ / ‖w‖) a channel's share of the
rotated values' error is that of its share of the result.

Source: QuaRot (arXiv 2404.00456), online Hadamard products.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from aocq.capture import FloatGraph, FloatNode, FloatOp
from aocq.capture.float_graph import LAYOUT
from aocq.capture.passes import keeps_channels
from aocq.capture.residual_stream import arithmetic_source, logits
from aocq.capture.tracing import readings
from aocq.transforms.editing import Editing
from aocq.transforms.heads import Values, mixes_probabilities, value_paths
from aocq.transforms.orders import block_rotation, largest_order

# A channel's α lies within this factor of the median's.
MOST_UNEQUAL = 1024.0


@dataclass(frozen=True, slots=True)
class ChannelStatistics:
    """Mean and standard deviation of a tensor's channels over calibration images, float64 [C]."""

    mean: Tensor
    deviation: Tensor


Statistics = Mapping[str, ChannelStatistics]


@dataclass(frozen=True, slots=True)
class Place:
    """A tensor that is rotated: ``name``, whose values ``source`` makes, for the ``layers``."""

    name: str
    source: FloatNode
    layers: tuple[FloatNode, ...]
    # Whether nothing but the layers reads the values that ``source`` makes, nor zeros beside them.
    alone: bool


def places(graph: FloatGraph, makers: frozenset[FloatOp]) -> list[Place]:
    """Return the inputs of linear layers that ``makers`` make, but for those of the logits.

    In front of layout operations that keep the channels, so that a tensor is rotated once for all
    of its readers.
    """
    last = logits(graph)
    found: dict[str, list[FloatNode]] = {}
    for layer in graph.nodes:
        if layer.op is FloatOp.LINEAR and layer.name not in last:
            source = arithmetic_source(graph, layer.inputs[0])
            if source.op in makers:
                found.setdefault(_first_place(graph, layer.inputs[0]), []).append(layer)
    return [
        Place(name, arithmetic_source(graph, name), tuple(layers), _alone(graph, name, layers))
        for name, layers in found.items()
    ]


def _first_place(graph: FloatGraph, name: str) -> str:
    """Return the first tensor back from ``name`` whose channels only moves of whole tokens follow.

    And which nothing reads but linear layers.
    """
    node = graph.node(name)
    while node.op in LAYOUT:
        before = graph.node(node.inputs[0])
        read = readings(graph, before.name, LAYOUT)
        if not keeps_channels(node, before) or any(
            reading.reader.op is not FloatOp.LINEAR for reading in read
        ):
            break
        node = before
    return node.name


def _alone(graph: FloatGraph, name: str, layers: list[FloatNode]) -> bool:
    source = arithmetic_source(graph, name)
    names = {layer.name for layer in layers}
    if any(found.reader.name not in names for found in readings(graph, source.name, LAYOUT)):
        return False
    between = [graph.node(layer.inputs[0]) for layer in layers]
    while between:
        node = between.pop()
        if node.op is FloatOp.PAD:
            return False
        if node.op in LAYOUT:
            between.append(graph.node(node.inputs[0]))
    return True


def rotate_inputs(
    graph: FloatGraph, makers: frozenset[FloatOp], most: int, block: int = 0
) -> FloatGraph:
    """Put HADAMARD nodes in front of linear layers, and their inverses into the weights.

    Parameters
    ----------
    makers
        of which operations' results
    most
        largest order
    block
        order that is wanted where it divides the channels; 0: the largest one
    """
    editing = Editing(graph)
    for place in places(graph, makers):
        width = editing.nodes[place.name].shape[-1]
        order = largest_order(width, min(block or most, most))
        if order < 2:
            continue
        readers = _readers_through_layout(graph, place)
        editing.put_behind(place.name, FloatOp.HADAMARD, readers, order=order)
        rotation = block_rotation(width, order)
        for layer in place.layers:
            weight = editing.value(layer.name, "weight")
            assert weight is not None
            editing.set(layer.name, "weight", weight @ rotation)
    return editing.graph()


def _readers_through_layout(graph: FloatGraph, place: Place) -> frozenset[str]:
    """Return the direct readers of a place on the way to its layers."""
    wanted: set[str] = set()
    for layer in place.layers:
        node = layer
        while place.name not in node.inputs:
            node = graph.node(node.inputs[0])
        wanted.add(node.name)
    return frozenset(wanted)


def balance_inputs(
    graph: FloatGraph, makers: frozenset[FloatOp], statistics: Statistics
) -> FloatGraph:
    """Divide the channels in front of rotations by α, and take their means away.

    Where what makes them can take that in: LayerNorms, and the layers of attention's values.

    Parameters
    ----------
    statistics
        by name of the tensor in front of the layers, see :func:`places`
    """
    editing = Editing(graph)
    paths = {path.product.name: path for path in value_paths(graph)}
    for place in places(graph, makers):
        if not place.alone or place.name not in statistics:
            continue
        balance = _BALANCES.get(place.source.op)
        if balance is not None:
            balance(editing, place, statistics[place.name], paths)
    return editing.graph()


def _balance_norm(
    editing: Editing, place: Place, seen: ChannelStatistics, _: Mapping[str, Values]
) -> None:
    """Fold α and the means into γ and β of a LayerNorm, and into the layers behind it."""
    alpha = _alpha(editing, place.layers, seen)
    name, width = place.source.name, place.source.shape[-1]
    gamma, beta = editing.value(name, "weight"), editing.value(name, "bias")
    ones, zeros = torch.ones(width).double(), torch.zeros(width).double()
    editing.set(name, "weight", (ones if gamma is None else gamma) / alpha)
    editing.set(name, "bias", ((zeros if beta is None else beta) - seen.mean) / alpha)
    for layer in place.layers:
        _take_in(editing, layer.name, alpha, seen.mean)


def _balance_values(
    editing: Editing, place: Place, seen: ChannelStatistics, paths: Mapping[str, Values]
) -> None:
    """Fold α and the means into the layer that makes attention's values."""
    path = paths.get(place.source.name)
    if path is None or len(path.readers) != len(place.layers):
        return
    alpha = _alpha(editing, place.layers, seen)
    # Rows of probabilities sum up to 1, so that P (V - m) = P V - m.
    whole = not mixes_probabilities(editing.graph(), path.product)
    mean = seen.mean if whole else torch.zeros_like(seen.mean)
    columns = path.readers[0][1]
    if any(not torch.equal(columns, other) for _, other in path.readers):
        return
    weight, bias = editing.value(path.layer.name, "weight"), editing.value(path.layer.name, "bias")
    assert weight is not None
    if bias is None:
        bias = torch.zeros(len(weight)).double()
    weight[columns] /= alpha[:, None]
    bias[columns] = (bias[columns] - mean) / alpha
    editing.set(path.layer.name, "weight", weight)
    editing.set(path.layer.name, "bias", bias)
    for layer in place.layers:
        _take_in(editing, layer.name, alpha, mean)


def _take_in(editing: Editing, layer: str, alpha: Tensor, mean: Tensor) -> None:
    """Let a layer read ``(x - mean) / alpha`` where it read x."""
    weight, bias = editing.value(layer, "weight"), editing.value(layer, "bias")
    assert weight is not None
    editing.set(layer, "weight", weight * alpha)
    if bias is not None or bool(mean.any()):
        offset = weight @ mean
        editing.set(layer, "bias", offset if bias is None else bias + offset)


def _alpha(
    editing: Editing, layers: tuple[FloatNode, ...], seen: ChannelStatistics
) -> Tensor:
    """Return √(σ / ‖w‖) of every channel, 1 in the median, [C]."""
    squares = torch.zeros_like(seen.deviation)
    for layer in layers:
        weight = editing.value(layer.name, "weight")
        assert weight is not None
        squares += weight.square().sum(0)
    cost = squares.sqrt()
    ratio = (seen.deviation / cost.clamp_min(float(cost.max()) * 1e-6 or 1.0)).sqrt()
    middle = float(ratio.median()) or 1.0
    return (ratio / middle).clamp(1 / MOST_UNEQUAL, MOST_UNEQUAL)


_BALANCES: Mapping[
    FloatOp, Callable[[Editing, Place, ChannelStatistics, Mapping[str, Values]], None]
] = MappingProxyType({FloatOp.LAYERNORM: _balance_norm, FloatOp.MATMUL: _balance_values})
