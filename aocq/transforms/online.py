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

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from aocq.capture import FloatGraph, FloatNode, FloatOp
from aocq.capture.float_graph import LAYOUT
from aocq.capture.passes import keeps_channels
from aocq.capture.residual_stream import arithmetic_source, logits, residual_stream
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
class Balanced:
    """A tensor whose channels can be balanced, by its ``name``.

    Attributes
    ----------
    source
        the node that makes its values
    layers
        the linear layers that read them, and nothing else does
    """

    name: str
    source: FloatNode
    layers: tuple[FloatNode, ...]


def rotated_layers(graph: FloatGraph, sources: frozenset[str]) -> dict[str, list[FloatNode]]:
    """Return the linear layers whose inputs ``sources`` make, by the tensor that they read.

    But for those of the logits, and those that read the residual stream.
    """
    last, stream = logits(graph), residual_stream(graph)
    found: dict[str, list[FloatNode]] = {}
    for layer in graph.nodes:
        if layer.op is FloatOp.LINEAR and layer.name not in last:
            source = arithmetic_source(graph, layer.inputs[0])
            if source.name in sources - stream:
                found.setdefault(layer.inputs[0], []).append(layer)
    return found


def balanced(graph: FloatGraph, sources: frozenset[str]) -> list[Balanced]:
    """Return the tensors whose channels can be balanced in front of rotations."""
    rotated = [layer for layers in rotated_layers(graph, sources).values() for layer in layers]
    names = {layer.name for layer in rotated}
    by_source: dict[str, list[FloatNode]] = {}
    for layer in rotated:
        by_source.setdefault(arithmetic_source(graph, layer.inputs[0]).name, []).append(layer)
    found = []
    for name, layers in by_source.items():
        source = graph.node(name)
        alone = {reading.reader.name for reading in readings(graph, name, LAYOUT)} <= names
        whole = source.op is FloatOp.MATMUL or all(
            keeps_channels(after, before)
            for layer in layers
            for after, before in _moves(graph, layer.inputs[0])
        )
        # Zeros that come in are none any more when a mean was taken away.
        padded = any(
            after.op is FloatOp.PAD
            for layer in layers
            for after, _ in _moves(graph, layer.inputs[0])
        )
        if alone and whole and not padded and source.op in _BALANCES:
            read = layers[0].inputs[0] if source.op is FloatOp.MATMUL else name
            found.append(Balanced(read, source, tuple(layers)))
    return found


def _moves(graph: FloatGraph, name: str) -> Iterator[tuple[FloatNode, FloatNode]]:
    """Yield the layout nodes between a tensor and what makes its values, with what they read."""
    node = graph.node(name)
    while node.op in LAYOUT:
        before = graph.node(node.inputs[0])
        yield node, before
        node = before


def rotate_inputs(
    graph: FloatGraph, sources: frozenset[str], most: int, block: int = 0
) -> FloatGraph:
    """Put HADAMARD nodes in front of linear layers, and their inverses into the weights.

    Parameters
    ----------
    sources
        names of the nodes whose results are rotated, see :func:`rotated_layers`
    most
        largest order
    block
        largest order that is wanted; 0: none
    """
    editing = Editing(graph)
    for name, layers in rotated_layers(graph, sources).items():
        width = editing.nodes[name].shape[-1]
        order = largest_order(width, min(block or most, most))
        if order < 2:
            continue
        readers = [layer.name for layer in layers]
        editing.put_behind(name, FloatOp.HADAMARD, readers, order=order)
        rotation = block_rotation(width, order)
        for layer in readers:
            weight = editing.value(layer, "weight")
            assert weight is not None
            editing.set(layer, "weight", weight @ rotation)
    return editing.graph()


def balance_inputs(
    graph: FloatGraph, sources: frozenset[str], statistics: Statistics
) -> FloatGraph:
    """Divide the channels in front of rotations by α, and take their means away.

    Where what makes them can take that in: LayerNorms, and the layers of attention's values.

    Parameters
    ----------
    statistics
        by name, see :func:`balanced`
    """
    editing = Editing(graph)
    paths = {path.product.name: path for path in value_paths(graph)}
    for place in balanced(graph, sources):
        _BALANCES[place.source.op](editing, place, statistics[place.name], paths)
    return editing.graph()


def _balance_norm(
    editing: Editing, place: Balanced, seen: ChannelStatistics, _: Mapping[str, Values]
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
    editing: Editing, place: Balanced, seen: ChannelStatistics, paths: Mapping[str, Values]
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


def _alpha(editing: Editing, layers: tuple[FloatNode, ...], seen: ChannelStatistics) -> Tensor:
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
    FloatOp, Callable[[Editing, Balanced, ChannelStatistics, Mapping[str, Values]], None]
] = MappingProxyType({FloatOp.LAYERNORM: _balance_norm, FloatOp.MATMUL: _balance_values})
