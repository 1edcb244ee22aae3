# SPDX-License-Identifier: Apache-2.0
"""Graph passes for windowed networks: masks, and layers next to their sums."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import torch

from aocq.capture.float_graph import LAYOUT, FloatGraph, FloatNode, FloatOp, readers_of

# What is added to a score that shall not count: exp of it is below the last of 32 bits. Networks
# write -100, -1e9 or minus infinity.
MASKED = -32 * math.log(2)


def masks(graph: FloatGraph) -> FloatGraph:
    """Make a MASK of each sum with a constant that only switches scores of a softmax off.

    The constant is 0 or below :data:`MASKED` everywhere, so that the sum makes no new scores, and
    0 somewhere in every row.
    """
    readers = readers_of(graph)
    found = {
        node.name: constant
        for node in graph.nodes
        if (constant := _mask_of(graph, node)) and _only_softmax_reads(node, readers)
    }
    names = _mask_names(graph, list(found))
    parameters = dict(graph.parameters)
    shapes: dict[str, tuple[str, torch.Size]] = {}  # of the masks' parameters, with their sources
    nodes = []
    for node in graph.nodes:
        inputs = tuple(names.get(name, name) for name in node.inputs)
        constant = found.get(node.name)
        if constant is None:
            nodes.append(replace(node, inputs=inputs))
            continue
        # The constant's node, whose shape it had, goes. Other nodes may read it in another shape.
        source = constant.attributes["parameter"]
        value = graph.parameters[source].reshape(constant.shape)
        parameter, count = source, 0
        while shapes.setdefault(parameter, (source, value.shape)) != (source, value.shape):
            count += 1
            parameter = f"{source}.mask_{count}"
        parameters[parameter] = value
        nodes.append(
            FloatNode(
                name=names[node.name],
                op=FloatOp.MASK,
                inputs=inputs[:1],
                attributes=MappingProxyType({"parameter": parameter}),
                shape=node.shape,
            )
        )
    read = {name for node in nodes for name in node.inputs} | {graph.output.name}
    kept = (node for node in nodes if node.op is not FloatOp.CONSTANT or node.name in read)
    return replace(graph, nodes=tuple(kept), parameters=parameters)


def _mask_names(graph: FloatGraph, sums: list[str]) -> dict[str, str]:
    """Return what sums are called as masks: ``mask`` in their module, where that is not taken."""
    taken, names = {node.name for node in graph.nodes}, {}
    for total in sums:
        name = f"{total.rpartition('.')[0]}.mask".strip(".")
        names[total] = total if name in taken else name
        taken.add(name)
    return names


def _mask_of(graph: FloatGraph, node: FloatNode) -> FloatNode | None:
    """Return a sum's constant that is 0 or very low everywhere; None where there is none.

    Every row keeps a score: without any, its softmax is that of what was switched off.
    """
    if node.op is not FloatOp.ADD:
        return None
    constant = graph.node(node.inputs[1])
    if constant.op is not FloatOp.CONSTANT:
        return None
    value = graph.parameters[constant.attributes["parameter"]].reshape(constant.shape)
    low, kept = value <= MASKED, value == 0
    keeps_one = bool(kept.any(-1).all())
    return constant if bool((low | kept).all()) and bool(low.any()) and keeps_one else None


def _only_softmax_reads(node: FloatNode, readers: Mapping[str, list[FloatNode]]) -> bool:
    found = readers.get(node.name, [])
    return bool(found) and all(
        reader.op is FloatOp.SOFTMAX
        or (
            reader.op in LAYOUT
            and keeps_channels(reader, node)
            and _only_softmax_reads(reader, readers)
        )
        for reader in found
    )


def layers_next_to_sums(graph: FloatGraph) -> FloatGraph:
    """Move what lies between a layer and the sum that alone reads it in front of the layer.

    A layer treats every token alike, so that tokens can change their places before it as well:
    windows are put together again before the projection, which then ends a branch as it does in
    networks without windows.
    """
    readers = readers_of(graph)
    for layer in graph.nodes:
        chain = _chain_to_a_sum(layer, readers) if layer.op is FloatOp.LINEAR else []
        if chain:
            graph = _behind_its_chain(graph, layer, chain)
    return graph


def _chain_to_a_sum(layer: FloatNode, readers: Mapping[str, list[FloatNode]]) -> list[FloatNode]:
    """Return the layout nodes between a layer and a sum, in order, where they leave tokens whole.

    None where there is another reader. Zeros that come in would have to pass the layer.
    """
    chain: list[FloatNode] = []
    node = layer
    while True:
        found = readers.get(node.name, [])
        if len(found) != 1:
            return []
        (reader,) = found
        if reader.op is FloatOp.ADD:
            return chain
        if reader.op not in LAYOUT - {FloatOp.PAD} or not keeps_channels(reader, node):
            return []
        chain.append(reader)
        node = reader


def keeps_channels(node: FloatNode, source: FloatNode) -> bool:
    """Whether a layout node moves whole tokens: the last dimension of ``source`` stays as it is."""
    last = len(source.shape) - 1
    if node.op is FloatOp.RESHAPE:
        return node.shape[-1] == source.shape[-1]
    if node.op is FloatOp.TRANSPOSE:
        return bool(node.attributes["permutation"][-1] == last)
    if node.op is FloatOp.PATCHES:
        return False
    return bool(node.attributes["axis"] != last)


def _behind_its_chain(graph: FloatGraph, layer: FloatNode, chain: list[FloatNode]) -> FloatGraph:
    """Put ``chain`` between a layer and what it reads."""
    width = graph.node(layer.inputs[0]).shape[-1]
    moved, source = [], layer.inputs[0]
    for node in chain:
        moved.append(replace(node, inputs=(source,), shape=(*node.shape[:-1], width)))
        source = node.name
    last = replace(layer, inputs=(source,), shape=(*chain[-1].shape[:-1], layer.shape[-1]))
    names = {node.name for node in chain}
    nodes: list[FloatNode] = []
    for node in graph.nodes:
        if node.name == layer.name:
            nodes += [*moved, last]
        elif node.name not in names:
            inputs = tuple(layer.name if name == chain[-1].name else name for name in node.inputs)
            nodes.append(replace(node, inputs=inputs))
    return replace(graph, nodes=tuple(nodes))
