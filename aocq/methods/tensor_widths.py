# SPDX-License-Identifier: Apache-2.0
"""Widths of a network's tensors and weights: operands of products, the ends, everything else.

A tensor is an operand if a matrix product reads it, as it is or moved. The MAC array reads operands
(``recipe.activation_bits``), the vector unit everything else (``limits.vector_bits``: scores, what
GELU reads, what an operation of one value or a rotation makes an operand of). The residual stream
and probabilities have widths of their own, and the two ends of a network may: the image and the
first layer's weights, the classifier's input and weights (``recipe.end_bits``).
"""

from __future__ import annotations

from aocq.capture.float_graph import ARITHMETIC, FloatGraph, FloatNode, FloatOp
from aocq.capture.residual_stream import arithmetic_source, logits, residual_stream
from aocq.recipes.limits import ChipLimits
from aocq.recipes.recipe import Recipe
from aocq.recipes.widths import LEAST_END_BITS

_PRODUCTS = frozenset({FloatOp.LINEAR, FloatOp.MATMUL})


def tensor_widths(graph: FloatGraph, recipe: Recipe, limits: ChipLimits) -> dict[str, int]:
    """Return the bits of every arithmetic node's codes, by name."""
    vector = limits.vector_width(recipe)
    return {
        **{node.name: vector for node in graph.nodes if node.op in ARITHMETIC},
        **operand_widths(graph, recipe, limits),
        **dict.fromkeys(logits(graph), limits.output_width(recipe)),
        **dict.fromkeys(residual_stream(graph), limits.residual_bits),
    }


def operand_widths(graph: FloatGraph, recipe: Recipe, limits: ChipLimits) -> dict[str, int]:
    """Return the bits of the codes that products read, by name of the node that yields them.

    Of probabilities and the image too, whoever reads them. Where the chip's products read the
    residual stream as it is, :func:`tensor_widths` has its width.
    """
    widths = dict.fromkeys(operands(graph), recipe.activation_bits)
    for node in graph.nodes:
        if node.op is FloatOp.SOFTMAX:
            widths[node.name] = limits.probability_bits(recipe)
    if recipe.end_bits is not None:
        read = {arithmetic_source(graph, node.inputs[0]).name for node in classifiers(graph)}
        widths |= dict.fromkeys(read, recipe.end_bits)
    widths[graph.input.name] = recipe.end_bits or max(recipe.activation_bits, LEAST_END_BITS)
    return widths


def weight_widths(graph: FloatGraph, recipe: Recipe) -> dict[str, int]:
    """Return the bits of every linear layer's weights, by parameter name."""
    layers = [node for node in graph.nodes if node.op is FloatOp.LINEAR]
    widths = {node.attributes["weight"]: recipe.weight_bits for node in layers}
    if recipe.end_bits is None:
        return widths
    first = [node for node in layers if _reads_the_image(graph, node)]
    ends = {node.attributes["weight"]: recipe.end_bits for node in (*first, *classifiers(graph))}
    return widths | ends


def operands(graph: FloatGraph) -> frozenset[str]:
    """Return the arithmetic nodes that a product reads, perhaps moved or scaled."""
    return frozenset(
        arithmetic_source(graph, name).name
        for node in graph.nodes
        if node.op in _PRODUCTS
        for name in node.inputs
    )


def classifiers(graph: FloatGraph) -> list[FloatNode]:
    """Return the linear layers whose sums are the logits."""
    last = logits(graph)
    return [node for node in graph.nodes if node.op is FloatOp.LINEAR and node.name in last]


def _reads_the_image(graph: FloatGraph, layer: FloatNode) -> bool:
    return arithmetic_source(graph, layer.inputs[0]).op is FloatOp.INPUT
