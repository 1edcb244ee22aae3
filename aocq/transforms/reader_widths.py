# SPDX-License-Identifier: Apache-2.0
"""Widths at which single products read their operands, and codes for those that read narrower ones.

A recipe's rules say at how many bits a product reads (``layers``, key ``a``). Products that read
one tensor at several widths get it at the widest of them, and the narrower ones codes of their own:
a REQUANTIZE in front of them, which a chip computes as a Rescale.
"""

from __future__ import annotations

from collections.abc import Mapping

from aocq.capture.float_graph import FloatGraph, FloatNode, FloatOp
from aocq.capture.residual_stream import arithmetic_source, logits, residual_stream
from aocq.recipes.layer_rules import resolved
from aocq.recipes.limits import ChipLimits
from aocq.recipes.recipe import Recipe
from aocq.recipes.widths import LEAST_END_BITS
from aocq.transforms.editing import Editing

PRODUCTS = frozenset({FloatOp.LINEAR, FloatOp.MATMUL})


def classifiers(graph: FloatGraph) -> list[FloatNode]:
    """Return the linear layers whose sums are the logits."""
    last = logits(graph)
    return [node for node in graph.nodes if node.op is FloatOp.LINEAR and node.name in last]


def image_width(recipe: Recipe) -> int:
    """Return the bits of the image where no rule says otherwise."""
    return recipe.end_bits or max(recipe.activation_bits, LEAST_END_BITS)


def reader_widths(
    graph: FloatGraph, recipe: Recipe, limits: ChipLimits
) -> dict[str, dict[str, int]]:
    """Return the bits at which products read a tensor, by its name and by theirs.

    Of tensors that a product with a rule reads: what other products read of them has the width that
    it has without rules. Not of probabilities, whose width is the chip's.

    Raises
    ------
    InputError
        See :func:`aocq.recipes.layer_rules.resolved`.
    """
    if not recipe.layers:
        return {}
    products = [node for node in graph.nodes if node.op in PRODUCTS]
    names = [node.name for node in graph.nodes]
    ruled = resolved(recipe.layers, "a", [node.name for node in products], names)
    unruled = dict.fromkeys((node.name for node in classifiers(graph)), recipe.end_bits)
    stream = dict.fromkeys(residual_stream(graph), limits.residual_bits)
    stream[graph.input.name] = image_width(recipe)
    found: dict[str, dict[str, int]] = {}
    for product in products:
        for source in (arithmetic_source(graph, name) for name in product.inputs):
            if source.op is not FloatOp.SOFTMAX:
                own = unruled.get(product.name) or recipe.activation_bits
                own = ruled.get(product.name, stream.get(source.name, own))
                found.setdefault(source.name, {})[product.name] = own
    return {name: read for name, read in found.items() if read.keys() & ruled.keys()}


def with_narrow_readers(graph: FloatGraph, recipe: Recipe, limits: ChipLimits) -> FloatGraph:
    """Return a network whose products all read a tensor at its width: the same one where they do.

    The residual stream keeps its own width, whatever reads it.

    Raises
    ------
    InputError
        See :func:`aocq.recipes.layer_rules.resolved`.
    """
    if not recipe.layers:
        return graph
    stream, editing = residual_stream(graph), Editing(graph)
    changed = False
    for source, read in reader_widths(graph, recipe, limits).items():
        width = limits.residual_bits if source in stream else max(read.values())
        for bits in sorted({*read.values()} - {width}):
            readers = {product for product, own in read.items() if own == bits}
            for name in _inputs_made_of(graph, source, readers):
                editing.put_behind(name, FloatOp.REQUANTIZE, readers)
                changed = True
    return editing.graph() if changed else graph


def _inputs_made_of(graph: FloatGraph, source: str, readers: set[str]) -> Mapping[str, None]:
    """Return what products read that holds the values of a tensor, each once, in order."""
    return {
        name: None
        for node in graph.nodes
        if node.name in readers
        for name in node.inputs
        if arithmetic_source(graph, name).name == source
    }
