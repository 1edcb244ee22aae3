# SPDX-License-Identifier: Apache-2.0
"""Widths of a network's tensors and weights: operands of products, the ends, everything else.

A tensor is an operand if a matrix product reads it, as it is or moved. The MAC array reads operands
(``recipe.activation_bits``), the vector unit everything else (``limits.vector_bits``: scores, what
GELU reads, what an operation of one value or a rotation makes an operand of). The residual stream
and probabilities have widths of their own, and the two ends of a network may: the image and the
first layer's weights, the classifier's input and weights (``recipe.end_bits``). Rules for single
layers (``recipe.layers``) win over these, but not over the widths of the stream and of
probabilities.
"""

from __future__ import annotations

from collections.abc import Sequence

from aocq.capture.float_graph import ARITHMETIC, FloatGraph, FloatNode, FloatOp
from aocq.capture.residual_stream import arithmetic_source, logits, residual_stream
from aocq.recipes.layer_rules import resolved
from aocq.recipes.limits import ChipLimits
from aocq.recipes.recipe import Recipe
from aocq.transforms.reader_widths import PRODUCTS, classifiers, image_width, reader_widths
from simulator.errors import InputError


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
    widths[graph.input.name] = image_width(recipe)
    ruled = reader_widths(graph, recipe, limits)
    return widths | {name: max(read.values()) for name, read in ruled.items()}


def weight_widths(graph: FloatGraph, recipe: Recipe) -> dict[str, int]:
    """Return the bits of every linear layer's weights, by parameter name.

    Raises
    ------
    InputError
        If a rule of the recipe meets no layer, or layers that share a weight have different ones.
    """
    layers = [node for node in graph.nodes if node.op is FloatOp.LINEAR]
    widths = {node.attributes["weight"]: recipe.weight_bits for node in layers}
    if recipe.end_bits is not None:
        first = [node for node in layers if _reads_the_image(graph, node)]
        ends = (*first, *classifiers(graph))
        widths |= {node.attributes["weight"]: recipe.end_bits for node in ends}
    return widths | _ruled_weights(graph, layers, recipe)


def _ruled_weights(
    graph: FloatGraph, layers: Sequence[FloatNode], recipe: Recipe
) -> dict[str, int]:
    """Return the bits that rules for single layers give weights, by parameter name."""
    names = [node.name for node in graph.nodes]
    ruled = resolved(recipe.layers, "w", [node.name for node in layers], names)
    widths: dict[str, int] = {}
    for node in layers:
        if node.name not in ruled:
            continue
        weight, bits = node.attributes["weight"], ruled[node.name]
        if widths.setdefault(weight, bits) != bits:
            raise InputError(
                f"layers: {node.name}: w is {bits}, and another layer has the same weight with "
                f"{widths[weight]}; give both the same"
            )
    return widths


def product_widths(
    graph: FloatGraph, recipe: Recipe, limits: ChipLimits
) -> dict[str, tuple[int, int]]:
    """Return the bits of both factors of every matrix product, by name.

    Of a linear layer its input and its weights.
    """
    tensors, weights = tensor_widths(graph, recipe, limits), weight_widths(graph, recipe)
    found = {}
    for node in graph.nodes:
        if node.op in PRODUCTS:
            bits = [tensors[arithmetic_source(graph, name).name] for name in node.inputs]
            if node.op is FloatOp.LINEAR:
                bits.append(weights[node.attributes["weight"]])
            found[node.name] = (bits[0], bits[1])
    return found


def check_rules(graph: FloatGraph, recipe: Recipe, limits: ChipLimits) -> None:
    """Check that all rules for single layers meet operations of a network.

    Raises
    ------
    InputError
        If one does not, or two contradict each other.
    """
    product_widths(graph, recipe, limits)


def operands(graph: FloatGraph) -> frozenset[str]:
    """Return the arithmetic nodes that a product reads, perhaps moved or scaled."""
    return frozenset(
        arithmetic_source(graph, name).name
        for node in graph.nodes
        if node.op in PRODUCTS
        for name in node.inputs
    )


def _reads_the_image(graph: FloatGraph, layer: FloatNode) -> bool:
    return arithmetic_source(graph, layer.inputs[0]).op is FloatOp.INPUT
