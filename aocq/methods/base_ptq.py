# SPDX-License-Identifier: Apache-2.0
"""``base_ptq``, plain quantization: observed ranges, rounding to nearest, integer operators only.

Per-channel (or per-tensor) symmetric weights; one scale per activation tensor, the residual stream,
Add, LayerNorm, Softmax and GELU included. It is what a quantizer does that knows nothing of
transformers, and it fails where the residual stream has outlier channels: the finding that AOCQ
answers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING

from aocq.capture import FloatGraph, FloatNode, FloatOp
from aocq.capture.float_graph import ARITHMETIC
from aocq.capture.residual_stream import arithmetic_source, residual_stream
from aocq.methods.logarithmic_rows import LogarithmicQuantizer
from aocq.methods.masks import lowest_code_wanted, scores_of
from aocq.methods.quantized_model import QuantizedModel
from aocq.methods.quantizers import ActivationQuantizer
from aocq.methods.ranges import (
    ObservedRange,
    activation_quantizer,
    least_squares_quantizer,
    quantize_weight,
)
from aocq.methods.scale_form import activation_form, weight_form
from aocq.recipes.limits import ChipLimits
from aocq.recipes.recipe import Recipe
from simulator.errors import InputError
from simulator.numerics.integer_type import IntType

if TYPE_CHECKING:
    from torch import Tensor

BATCH = 8
Plain = ActivationQuantizer | LogarithmicQuantizer


def quantize(
    graph: FloatGraph,
    images: Tensor,
    recipe: Recipe,
    limits: ChipLimits,
    on_progress: Callable[[int, int], None] | None = None,
) -> QuantizedModel:
    """Quantize ``graph`` from the ranges that its float tensors have on ``images``.

    Parameters
    ----------
    images
        preprocessed, float32 [count, channels, height, width]
    on_progress
        called with (batches done, batches in all)
    """
    seen = observe(graph, images, recipe, limits, on_progress)
    weights = {
        node.attributes["weight"]: quantize_weight(
            graph.parameters[node.attributes["weight"]],
            recipe.weight_bits,
            limits.weight_granularity,
            recipe.weight_range,
            weight_form(limits),
        )
        for node in graph.nodes
        if node.op is FloatOp.LINEAR
    }
    return QuantizedModel(
        graph=graph,
        method="base_ptq",
        recipe=recipe,
        limits=limits,
        activations=quantizers(graph, seen, recipe, limits),
        weights=weights,
        calibration_images=len(images),
        log=tuple(
            {"tensor": name, "low": observed.low, "high": observed.high}
            for name, observed in seen.items()
        ),
    )


def quantizers(
    graph: FloatGraph, seen: Mapping[str, ObservedRange], recipe: Recipe, limits: ChipLimits
) -> dict[str, Plain]:
    """Return a quantizer for every arithmetic node from what :func:`observe` saw."""
    symmetric = multiplied_with_activations(graph)
    stream = residual_stream(graph)
    activations: dict[str, Plain] = {}
    for node in graph.nodes:
        if node.op not in ARITHMETIC:
            continue
        if node.op is FloatOp.SOFTMAX:
            activations[node.name] = probabilities_quantizer(recipe, limits)
            continue
        zero_point = "symmetric" if node.name in symmetric else limits.zero_point
        observed = seen[node.name]
        bits = bits_of(graph, node, stream, recipe, limits)
        if recipe.activation_range == "mse" and node.op is not FloatOp.CONSTANT:
            activations[node.name] = least_squares_quantizer(
                observed, bits, zero_point, activation_form(limits)
            )
        else:
            activations[node.name] = activation_quantizer(
                observed.low, observed.high, bits, zero_point, activation_form(limits)
            )
    _share_scales_of_concatenations(graph, activations)
    return activations


# Of pixels, and of logits, whose order few codes could not tell.
END_BITS = 8


def bits_of(
    graph: FloatGraph, node: FloatNode, stream: Collection[str], recipe: Recipe, limits: ChipLimits
) -> int:
    """Return the bits of a node's codes; the network's input and logits have at least 8."""
    if node.name in stream:
        return limits.residual_bits
    if node.name == graph.input.name or node.name in logits(graph):
        return max(recipe.activation_bits, END_BITS)
    return recipe.activation_bits


def logits(graph: FloatGraph) -> frozenset[str]:
    """Return the network's result, and the nodes that it is moved, scaled or added up from."""
    names, opened = set(), [graph.output.name]
    while opened:
        node = graph.node(opened.pop())
        if node.op in ARITHMETIC:
            names.add(node.name)
        if node.op is FloatOp.ADD or node.op not in ARITHMETIC:
            opened += node.inputs
    return frozenset(names)


def _share_scales_of_concatenations(graph: FloatGraph, activations: dict[str, Plain]) -> None:
    """Give tensors that only a concatenation reads its scale, so that they need no rescaling."""
    readers = Counter(name for node in graph.nodes for name in node.inputs)
    for node in graph.nodes:
        if node.op is FloatOp.CONCAT:
            for name in node.inputs:
                if name in activations and readers[name] == 1:
                    activations[name] = activations[node.name]


def probabilities_quantizer(recipe: Recipe, limits: ChipLimits) -> Plain:
    """Return the quantizer of softmax's result: unsigned, scale ``2^-bits``, zero point 0.

    Of a chip whose softmax leaves the division to the product behind it, one of logarithms.
    """
    bits, per_octave = limits.probability_bits(recipe), limits.softmax_levels_per_octave
    if per_octave is not None:
        return LogarithmicQuantizer.of(bits, per_octave)
    return ActivationQuantizer(
        type=IntType(bits=bits, signed=False), scale=2.0**-bits, zero_point=0
    )


def observe(
    graph: FloatGraph,
    images: Tensor,
    recipe: Recipe,
    limits: ChipLimits,
    on_progress: Callable[[int, int], None] | None,
) -> dict[str, ObservedRange]:
    """Return the range of every arithmetic node's result in the float network on ``images``.

    With ``mse`` ranges the images pass twice: the histogram needs the final range.
    """
    import torch

    from aocq.capture import run

    seen = {node.name: ObservedRange() for node in graph.nodes if node.op in ARITHMETIC}
    batches = images.split(BATCH)
    passes = [ObservedRange.see]
    if recipe.activation_range == "mse":
        passes.append(ObservedRange.count)
    done = 0
    for note in passes:

        def watch(
            node: FloatNode, x: Tensor, note: Callable[[ObservedRange, Tensor], None] = note
        ) -> Tensor:
            if node.op is FloatOp.MASK:
                name, factor = scores_of(graph, node)
                note(seen[name], lowest_code_wanted(x, factor, limits.resolved_bits(recipe)))
            elif node.name in seen:
                check_finite(node, x)
                note(seen[node.name], x)
            return x

        for batch in batches:
            note(seen[graph.input.name], batch)
            with torch.inference_mode():
                run(graph, {graph.input.name: batch}, [graph.output.name], transform=watch)
            done += 1
            if on_progress:
                on_progress(done, len(batches) * len(passes))
    return seen


def check_finite(node: FloatNode, x: Tensor) -> None:
    """Raise InputError where a float network's values are not finite."""
    if not bool(x.isfinite().all()):
        raise InputError(
            f"{node.name}: the float network yields values that are not finite there (NaN or "
            "infinity); use a sound checkpoint, images like those it was trained on, and their "
            "mean and std (--preprocessing)"
        )


def multiplied_with_activations(graph: FloatGraph) -> set[str]:
    """Return the nodes whose codes enter a product of two activations: zero point 0.

    A zero point there would add three cross terms to the product; hardware forbids it.
    """
    names = set()
    for node in graph.nodes:
        if node.op is FloatOp.MATMUL:
            for name in node.inputs:
                names.add(arithmetic_source(graph, name).name)
    return names
