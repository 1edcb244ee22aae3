# SPDX-License-Identifier: Apache-2.0
"""Operands of products that get codes of their own: REQUANTIZE nodes in front of products.

Values of one layer, such as queries, keys and values, can then be held in wide codes, and be
narrowed as each product wants them.
"""

from __future__ import annotations

from aocq.capture import FloatGraph, FloatOp
from aocq.transforms.editing import Editing
from aocq.transforms.online import rotated_layers


def requantize_products(graph: FloatGraph) -> FloatGraph:
    """Put REQUANTIZE in front of the operands of products of two activations.

    Not of probabilities, which a softmax yields as they are wanted.
    """
    editing = Editing(graph)
    for product in graph.nodes:
        if product.op is not FloatOp.MATMUL:
            continue
        sides = (0, 1) if product.attributes["transpose_b"] else (1,)
        for name in dict.fromkeys(product.inputs[side] for side in sides):
            editing.put_behind(name, FloatOp.REQUANTIZE, [product.name])
    return editing.graph()


def requantize_inputs(graph: FloatGraph, sources: frozenset[str]) -> FloatGraph:
    """Put REQUANTIZE in front of linear layers whose inputs ``sources`` make."""
    editing = Editing(graph)
    for name, layers in rotated_layers(graph, sources).items():
        editing.put_behind(name, FloatOp.REQUANTIZE, [layer.name for layer in layers])
    return editing.graph()
