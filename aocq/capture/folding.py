# SPDX-License-Identifier: Apache-2.0
"""Folding of channel factors and offsets into the layer next to them.

LayerScale and BatchNorm behind a layer: (x Wᵀ + b) f + o = x (f W)ᵀ + (f b + o). BatchNorm before
one: (x f + o) Wᵀ + b = x (W f)ᵀ + (W o + b). Exact in real arithmetic, and free on the chip. All of
it is computed in float64 and rounded once. The products have names of their own: another layer may
read the same parameters.
"""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

import torch
from torch import Tensor

from aocq.capture.float_graph import FloatGraph, FloatNode, FloatOp
from aocq.capture.interpreter import run
from aocq.capture.translator import BATCH, Constant, FxNode, Translator, Value

# What stands between a layer and its factors.
_MOVES = frozenset({FloatOp.RESHAPE, FloatOp.TRANSPOSE})
SHAPE_ONLY = "aten.reshape_as.default"  # of its second operand
_LAYERS = frozenset({"aten.linear.default", "aten.conv2d.default"})


def fold_behind(
    t: Translator, node: FxNode, source: FxNode, factor: Tensor, offset: Tensor | None = None
) -> Value | None:
    """Fold ``factor`` and ``offset`` into the layer that ``source`` is the result of.

    Both broadcast with the result of ``node``. None where there is no such layer, something else
    reads it too, or its channels have not one factor each.
    """
    value = t.value(source)
    chain = _back_to_a_layer(t, value.name)
    if chain is None or not _is_read_once(t, source):
        return None
    layer, moves = chain
    shape = tuple(node.meta["val"].shape)
    channels = _channels(layer, moves, value.name)
    factors = _by_channel(_of_one_image(factor, value, shape), channels)
    offsets = None if offset is None else _by_channel(_of_one_image(offset, value, shape), channels)
    if factors is None or (offset is not None and offsets is None):
        return None
    bias = layer.attributes["bias"]
    total = offsets
    if bias:
        total = t.parameters[bias].double() * factors
        total = total if offsets is None else total + offsets
    matrix = t.parameters[layer.attributes["weight"]].double()
    _store(t, layer, matrix * factors[:, None], total)
    return value


def _back_to_a_layer(t: Translator, name: str) -> tuple[FloatNode, list[FloatNode]] | None:
    """Return the layer whose values a node holds, and the nodes that moved them, in order."""
    moves: list[FloatNode] = []
    node = t.nodes[name]
    while node.op in _MOVES:
        moves.insert(0, node)
        node = t.nodes[node.inputs[0]]
    is_layer = node.op is FloatOp.LINEAR and node.name not in t.affine
    return (node, moves) if is_layer else None


def _is_read_once(t: Translator, node: FxNode) -> bool:
    """Whether a layer's result, behind what moves it, is read by nothing else on the way here."""
    while _readers(node) == 1:
        if str(node.target) in _LAYERS:
            return True
        before = [
            read for read in node.all_input_nodes if not isinstance(t.values[read.name], Constant)
        ]
        if len(before) != 1:
            return False
        (node,) = before
    return False


def _readers(node: FxNode) -> int:
    """Return how many operators read a result's values; some read nothing but its shape."""
    return sum(str(user.target) != SHAPE_ONLY or user.args[0] is node for user in node.users)


def _channels(layer: FloatNode, moves: list[FloatNode], result: str) -> Tensor:
    """Return which channel of the layer each element of the moved result is of."""
    numbers = torch.arange(layer.shape[-1]).expand(layer.shape)
    start = replace(layer, op=FloatOp.INPUT, inputs=(), attributes=MappingProxyType({}))
    graph = FloatGraph(name="channels", nodes=(start, *moves), parameters={})
    return run(graph, {layer.name: numbers[None]}, [result])[result][0]


def _of_one_image(tensor: Tensor, value: Value, shape: tuple[int, ...]) -> Tensor:
    """Broadcast a constant to a torch result of ``shape``, and leave one image of it."""
    whole = tensor.double().expand(shape)
    if value.parts > 1:
        return whole.narrow(value.batch_axis, 0, value.parts)
    assert shape[value.batch_axis] == BATCH
    return whole.select(value.batch_axis, 0)


def _by_channel(tensor: Tensor, channels: Tensor) -> Tensor | None:
    """Return the one value that each channel has; None where one has several."""
    if tensor.shape != channels.shape:
        return None
    found = torch.zeros(int(channels.max()) + 1, dtype=torch.float64)
    found[channels.flatten()] = tensor.flatten()
    return found if torch.equal(found[channels], tensor) else None


def _store(t: Translator, layer: FloatNode, weight: Tensor, bias: Tensor | None) -> None:
    """Give a layer other parameters; also a bias, if it has none."""
    attributes = dict(layer.attributes)
    attributes["weight"] = t.changed(attributes["weight"], weight)
    if bias is not None and attributes["bias"]:
        attributes["bias"] = t.changed(attributes["bias"], bias)
    elif bias is not None:
        found = Constant(f"{layer.name}.bias", bias, computed=True)
        attributes["bias"] = t.registered(found)
    t.nodes[layer.name] = replace(layer, attributes=MappingProxyType(attributes))


def affine(t: Translator, node: FxNode, x: Value, factor: Tensor, offset: Tensor) -> Value:
    """Append factors and offsets of the last dimension, for the layer behind to take in.

    Until then they are a layer with a diagonal matrix.
    """
    name = str(node.name)
    weight = t.registered(Constant(f"{name}.weight", torch.diag(factor), computed=True))
    bias = t.registered(Constant(f"{name}.bias", offset, computed=True))
    found = t.emit(node, FloatOp.LINEAR, (x,), weight=weight, bias=bias)
    t.affine[found.name] = (factor, offset, node)
    return found


def layer_behind_affine(
    t: Translator, node: FxNode, x: Value, weight: str, bias: str | None
) -> Value:
    """Append a layer, which takes in the factors and offsets that ``x`` may be the result of."""
    if x.name not in t.affine or not _alone_reads(t, node):
        return t.emit(node, FloatOp.LINEAR, (x,), weight=weight, bias=bias)
    factor, offset, _ = t.affine.pop(x.name)
    before = Value(t.nodes.pop(x.name).inputs[0], x.batch_axis, x.parts)
    found = t.emit(node, FloatOp.LINEAR, (before,), weight=weight, bias=bias)
    layer = t.nodes[found.name]
    matrix = t.parameters[weight].double()
    offsets = matrix @ offset
    _store(t, layer, matrix * factor, offsets + t.parameters[bias].double() if bias else offsets)
    return found


def _alone_reads(t: Translator, node: FxNode) -> bool:
    """Whether nothing but this layer reads what it reads, behind operators that do nothing."""
    source = node.args[0]
    value = t.values[source.name]
    while _readers(source) == 1:
        if t.values[source.args[0].name] != value:
            return True
        source = source.args[0]
    return False
