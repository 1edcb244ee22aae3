# SPDX-License-Identifier: Apache-2.0
"""Graph passes after capture: layout operators merged, attention's nodes named."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from aocq.capture.float_graph import LAYOUT, FloatGraph, FloatNode, FloatOp
from aocq.capture.passes import layers_next_to_sums, masks
from aocq.capture.transposes import single_transposes

# What stands between a product and its softmax: layout, a factor, a bias of relative positions.
_BEFORE_SOFTMAX = LAYOUT | {FloatOp.SCALE, FloatOp.MASK}


def simplify(graph: FloatGraph) -> FloatGraph:
    """Return a captured graph in the form that methods know.

    Layout nodes are merged, dropped or moved in front of the layer at a branch's end, transposes
    joined or folded into products, masks recognised, attention's products named.
    """
    graph = layers_next_to_sums(_merged(graph))
    return _renamed(masks(_merged(single_transposes(_merged(graph)))))


def _merged(graph: FloatGraph) -> FloatGraph:
    """Merge and drop layout nodes, and fold transposes into products."""
    nodes = {node.name: node for node in graph.nodes}
    output = graph.output.name
    replaced: dict[str, str] = {}  # dropped node -> the node that now stands for it
    for name, node in list(nodes.items()):
        inputs = tuple(replaced.get(source, source) for source in node.inputs)
        merged = _fold_transpose(_merge(replace(node, inputs=inputs), nodes), nodes)
        nodes[name] = merged
        if name != output and _is_identity(merged, nodes):
            replaced[name] = merged.inputs[0]
    return replace(graph, nodes=_alive(nodes, output))


def _merge(node: FloatNode, nodes: dict[str, FloatNode]) -> FloatNode:
    """reshape(reshape(x)) is one reshape, transpose(transpose(x)) one transpose."""
    if (
        node.op not in {FloatOp.RESHAPE, FloatOp.TRANSPOSE}
        or nodes[node.inputs[0]].op is not node.op
    ):
        return node
    before = nodes[node.inputs[0]]
    attributes = node.attributes
    if node.op is FloatOp.TRANSPOSE:
        inner = before.attributes["permutation"]
        merged = tuple(inner[axis] for axis in node.attributes["permutation"])
        attributes = MappingProxyType({"permutation": merged})
    return replace(node, inputs=before.inputs, attributes=attributes)


def _fold_transpose(node: FloatNode, nodes: dict[str, FloatNode]) -> FloatNode:
    """Make a @ transpose(b) one product that reads b by rows."""
    if node.op is not FloatOp.MATMUL:
        return node
    b = nodes[node.inputs[1]]
    rank = len(b.shape)
    last_two = (*range(rank - 2), rank - 1, rank - 2)
    if b.op is FloatOp.TRANSPOSE and b.attributes["permutation"] == last_two:
        return replace(
            node,
            inputs=(node.inputs[0], b.inputs[0]),
            attributes=MappingProxyType({"transpose_b": not node.attributes["transpose_b"]}),
        )
    return node


def _is_identity(node: FloatNode, nodes: dict[str, FloatNode]) -> bool:
    if node.op is FloatOp.RESHAPE:
        return node.shape == nodes[node.inputs[0]].shape
    if node.op is FloatOp.TRANSPOSE:
        permutation: tuple[int, ...] = node.attributes["permutation"]
        return permutation == tuple(range(len(node.shape)))
    return False


def _alive(nodes: dict[str, FloatNode], output: str) -> tuple[FloatNode, ...]:
    """The nodes that the output needs, in order."""
    alive = {output}
    for node in reversed(nodes.values()):
        if node.name in alive or node.op is FloatOp.INPUT:
            alive |= {node.name, *node.inputs}
    return tuple(node for name, node in nodes.items() if name in alive)


def _renamed(graph: FloatGraph) -> FloatGraph:
    """Name attention's products and softmax: scores, probabilities, context."""
    nodes = {node.name: node for node in graph.nodes}
    names: dict[str, str] = {}
    for node in graph.nodes:
        if node.op is not FloatOp.SOFTMAX:
            continue
        place = node.name.rpartition(".")[0]
        scores = _product_behind(nodes[node.inputs[0]], nodes)
        if scores.op is FloatOp.MATMUL:
            names[scores.name] = f"{place}.scores".strip(".")
            names[node.name] = f"{place}.probabilities".strip(".")
        for reader in graph.nodes:
            if reader.op is FloatOp.MATMUL and node.name in reader.inputs:
                names[reader.name] = f"{place}.context".strip(".")
    if set(names.values()) & nodes.keys():
        return graph  # the model has modules of these names: leave ours as they are
    return replace(
        graph,
        nodes=tuple(
            replace(
                node,
                name=names.get(node.name, node.name),
                inputs=tuple(names.get(source, source) for source in node.inputs),
            )
            for node in graph.nodes
        ),
    )


def _product_behind(node: FloatNode, nodes: dict[str, FloatNode]) -> FloatNode:
    """Return the node whose values are moved, scaled, masked, or added a constant to."""
    while node.op in _BEFORE_SOFTMAX or (
        node.op is FloatOp.ADD and nodes[node.inputs[1]].op is FloatOp.CONSTANT
    ):
        node = nodes[node.inputs[0]]
    return node
