# SPDX-License-Identifier: Apache-2.0
"""Networks without their matrices: all that their costs depend on, a thousandth of their size.

How many cycles and bytes a network takes on a chip follows from shapes and types. Where a value
decides about an op or a width after all (two tensors at one scale need no rescaling between them,
a β has the fewest bits that hold it), it is one of the ranges and vectors that stay here: those of
the network with random weights on random images. Weights, embeddings and masks are zeros.

Only :func:`without_matrices` needs torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from aocq.capture.float_graph import (
    ARITHMETIC,
    PARAMETER_ATTRIBUTES,
    FloatGraph,
    FloatNode,
    FloatOp,
)
from aocq.capture.residual_stream import arithmetic_source, factor_between
from aocq.methods.base_ptq import check_finite, quantizers
from aocq.methods.bias_room import with_room_for_biases
from aocq.methods.layernorm_parts import part_name, parts_of, parts_quantizers
from aocq.methods.least_scales import with_scales_for_functions
from aocq.methods.masks import lowest_wanted, scores_of
from aocq.methods.quantized_model import QuantizedModel
from aocq.methods.quantizers import QuantizedWeight
from aocq.methods.ranges import ObservedRange, row_magnitudes
from aocq.methods.scale_form import weight_form
from aocq.methods.tensor_widths import weight_widths
from aocq.recipes.limits import ChipLimits
from aocq.recipes.recipe import Recipe
from aocq.transforms.reader_widths import with_narrow_readers
from simulator.numerics.integer_type import IntType

if TYPE_CHECKING:
    from torch import Tensor

METHOD = "base_ptq"  # every chip that holds any method's integers holds these
# Operations whose parameters are vectors, which stay.
_WITH_VECTORS = frozenset({FloatOp.LINEAR, FloatOp.LAYERNORM, FloatOp.L2NORM})


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightlessNetwork:
    """A network without its matrices.

    Attributes
    ----------
    graph
        its parameters are numpy's float32 arrays: biases, γ, β and gains as they are, zeros in the
        place of all others; weights of layers are missing
    largest
        of each layer's weights, by parameter name, the largest magnitude
    ranges
        of each arithmetic node's result, by name
    masked
        of each mask's result, by name: the largest scores of all rows
    parts
        of each tensor inside a LayerNorm, by name of a part
    """

    graph: FloatGraph
    largest: Mapping[str, float]
    ranges: Mapping[str, ObservedRange]
    masked: Mapping[str, ObservedRange]
    parts: Mapping[str, ObservedRange]


def without_matrices(graph: FloatGraph, images: Tensor) -> WeightlessNetwork:
    """Return what is left of a captured network, with the ranges of its tensors on images.

    Parameters
    ----------
    images
        preprocessed, float32 [count, channels, height, width]

    Raises
    ------
    InputError
        If the network yields values that are not finite.
    """
    import torch

    from aocq.capture import run

    nodes = graph.nodes
    ranges = {node.name: ObservedRange() for node in nodes if node.op in ARITHMETIC}
    masked = {node.name: ObservedRange() for node in nodes if node.op is FloatOp.MASK}
    parts: dict[str, ObservedRange] = {}
    norms = [node for node in nodes if node.op is FloatOp.LAYERNORM]

    def watch(node: FloatNode, x: Tensor) -> Tensor:
        if node.name in ranges:
            check_finite(node, x)
            ranges[node.name].see(x)
        elif node.name in masked:
            masked[node.name].see(x.amax(-1))
        return x

    fetches = [graph.output.name, *(node.inputs[0] for node in norms)]
    ranges[graph.input.name].see(images)
    with torch.inference_mode():
        found = run(graph, {graph.input.name: images}, fetches, transform=watch)
        for node in norms:
            for part, x in parts_of(node, found[node.inputs[0]], graph.parameters).items():
                parts.setdefault(part_name(node.name, part), ObservedRange()).see(x)
    return WeightlessNetwork(
        graph=replace(graph, parameters=_vectors(graph)),
        largest={
            node.attributes["weight"]: float(
                graph.parameters[node.attributes["weight"]].abs().max()
            )
            for node in nodes
            if node.op is FloatOp.LINEAR
        },
        ranges=ranges,
        masked=masked,
        parts=parts,
    )


def _vectors(graph: FloatGraph) -> dict[str, NDArray[np.float32]]:
    """Return the parameters that stay, and zeros for the others but weights of layers."""
    kept: dict[str, NDArray[np.float32]] = {}
    for node in graph.nodes:
        for key in PARAMETER_ATTRIBUTES:
            name = node.attributes.get(key)
            if name is None or (node.op is FloatOp.LINEAR and key == "weight"):
                continue
            if node.op in _WITH_VECTORS:
                kept[name] = graph.parameters[name].numpy().copy()
            else:
                kept.setdefault(name, zeros(tuple(graph.parameters[name].shape)))
    return kept


def zeros(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return zeros that take no memory."""
    return np.broadcast_to(np.float32(0), shape)


def quantized(network: WeightlessNetwork, recipe: Recipe, limits: ChipLimits) -> QuantizedModel:
    """Quantize as :data:`METHOD` does, with zeros for weights: to be lowered, not to be run.

    Scales of weights are those of a matrix whose every row reaches its largest magnitude.
    """
    graph = with_narrow_readers(network.graph, recipe, limits)
    seen = {name: replace(found) for name, found in network.ranges.items()}
    for node in graph.nodes:
        if node.op is FloatOp.REQUANTIZE:
            seen.setdefault(node.name, _range_behind(graph, node, network.ranges))
    for node in graph.nodes:
        if node.op is FloatOp.MASK:
            _reach_down(seen, graph, node, network.masked[node.name], limits, recipe)
    model = QuantizedModel(
        graph=graph,
        method=METHOD,
        recipe=recipe,
        limits=limits,
        activations=quantizers(graph, seen, recipe, limits),
        weights=_weights(replace(network, graph=graph), recipe, limits),
        calibration_images=0,
    )
    model = with_room_for_biases(with_scales_for_functions(model))
    if limits.layernorm_part_bits is None:
        return model
    parts = parts_quantizers(network.parts, limits, limits.layernorm_part_bits)
    return replace(model, layernorm_quantizers=parts)


def _range_behind(
    graph: FloatGraph, node: FloatNode, ranges: Mapping[str, ObservedRange]
) -> ObservedRange:
    """Return the range of what a node holds that was put behind a tensor's values."""
    source = arithmetic_source(graph, node.inputs[0])
    factor = factor_between(graph, source.name, node.inputs[0])
    known = ranges[source.name]
    return ObservedRange(low=known.low * factor, high=known.high * factor)


def _reach_down(
    seen: dict[str, ObservedRange],
    graph: FloatGraph,
    mask: FloatNode,
    largest: ObservedRange,
    limits: ChipLimits,
    recipe: Recipe,
) -> None:
    """Widen the range of masked scores to what switches them off, see :mod:`aocq.methods.masks`."""
    name, factor = scores_of(graph, mask)
    bits = limits.resolved_bits(recipe)
    for end in (largest.low, largest.high):
        wanted = lowest_wanted(end, mask.shape[-1], factor, bits)
        seen[name].low = min(seen[name].low, wanted)
        seen[name].high = max(seen[name].high, wanted)


def _weights(
    network: WeightlessNetwork, recipe: Recipe, limits: ChipLimits
) -> dict[str, QuantizedWeight]:
    """Return zeros for the weights of every layer, all in the same memory."""
    shapes = {node.name: node.shape for node in network.graph.nodes}
    sizes = {
        node.attributes["weight"]: (node.shape[-1], shapes[node.inputs[0]][-1])
        for node in network.graph.nodes
        if node.op is FloatOp.LINEAR
    }
    memory = np.zeros(max(map(math.prod, sizes.values()), default=0), np.int8)
    form, widths = weight_form(limits), weight_widths(network.graph, recipe)
    found = {}
    for name, (rows, columns) in sizes.items():
        magnitude = row_magnitudes(np.full((1, 1), network.largest[name]))[0]
        scale = form.nearest(magnitude / IntType(bits=widths[name]).high)
        found[name] = QuantizedWeight(
            bits=widths[name],
            codes=memory[: rows * columns].reshape(rows, columns),
            scale=np.repeat(scale, rows) if limits.weight_granularity == "per_channel" else scale,
        )
    return found


def plain_ranges(ranges: Mapping[str, ObservedRange]) -> dict[str, list[float]]:
    """Return ranges as JSON holds them."""
    return {name: [found.low, found.high] for name, found in ranges.items()}


def ranges_of(plain: Mapping[str, Any]) -> dict[str, ObservedRange]:
    """Return the ranges that :func:`plain_ranges` made plain."""
    return {name: ObservedRange(low=low, high=high) for name, (low, high) in plain.items()}
