# SPDX-License-Identifier: Apache-2.0
"""Networks with rotations and requantizations in front of their products, for tests of operands.

Nothing is folded into weights: these are networks of their own.
"""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import Any

from aocq.capture import FloatGraph, FloatNode, FloatOp
from aocq.capture.residual_stream import arithmetic_source


def with_operand_nodes(graph: FloatGraph, order: int) -> FloatGraph:
    """Rotate the input of every layer but the first and last, requantize operands of products."""
    nodes: list[FloatNode] = []
    layers = [node.name for node in graph.nodes if node.op is FloatOp.LINEAR]
    for node in graph.nodes:
        inputs = list(node.inputs)
        if node.name in layers[1:-1]:
            inputs[0] = _added(nodes, inputs[0], FloatOp.HADAMARD, order=order)
        elif node.op is FloatOp.MATMUL:
            for side, name in enumerate(inputs):
                if arithmetic_source(graph, name).op is not FloatOp.SOFTMAX:
                    inputs[side] = _added(nodes, name, FloatOp.REQUANTIZE)
        nodes.append(replace(node, inputs=tuple(inputs)))
    return replace(graph, nodes=tuple(nodes))


def _added(nodes: list[FloatNode], source: str, op: FloatOp, **attributes: Any) -> str:
    name = f"{source}.{op}"
    if all(node.name != name for node in nodes):
        shape = next(node.shape for node in nodes if node.name == source)
        nodes.append(
            FloatNode(
                name=name,
                op=op,
                inputs=(source,),
                attributes=MappingProxyType(attributes),
                shape=shape,
            )
        )
    return name
