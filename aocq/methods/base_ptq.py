# SPDX-License-Identifier: Apache-2.0
"""``base_ptq``, plain quantization: observed ranges, rounding to nearest, integer operators only.

Per-channel (or per-tensor) symmetric weights; one scale per activation tensor, the residual stream,
Add, LayerNorm, Softmax and GELU included. It is what a quantizer does that knows nothing of
transformers, and it fails where the residual stream has outlier channels: the finding that AOCQ
answers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from aocq.capture import FloatGraph, FloatNode, FloatOp
from aocq.capture.float_graph import ARITHMETIC
from aocq.capture.residual_stream import arithmetic_source
from aocq.methods.logarithmic_rows import LevelsPerOctave, LogarithmicQuantizer
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
from aocq.methods.tensor_widths import tensor_widths, weight_widths
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
        name: quantize_weight(
            graph.parameters[name],
            bits,
            limits.weight_granularity,
            recipe.weight_range,
            weight_form(limits),
        )
        for name, bits in weight_widths(graph, recipe).items()
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
    widths = tensor_widths(graph, recipe, limits)
    activations: dict[str, Plain] = {}
    for node in graph.nodes:
        if node.op not in ARITHMETIC:
            continue
        if node.op is FloatOp.SOFTMAX:
            activations[node.name] = probabilities_quantizer(
                widths[node.name], limits.softmax_levels_per_octave
            )
            continue
        zero_point = "symmetric" if node.name in symmetric else limits.zero_point
        observed = seen[node.name]
        bits = widths[node.name]
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


def _share_scales_of_concatenations(graph: FloatGraph, activations: dict[str, Plain]) -> None:
    """Give tensors that only a concatenation reads its scale, so that they need no rescaling."""
    readers = Counter(name for node in graph.nodes for name in node.inputs)
    for node in graph.nodes:
        if node.op is FloatOp.CONCAT:
            for name in node.inputs:
                if name in activations and readers[name] == 1:
                    activations[name] = activations[node.name]


def probabilities_quantizer(bits: int, per_octave: LevelsPerOctave | None = None) -> Plain:
    """Return the quantizer of softmax's result: unsigned, scale ``2^-bits``, zero point 0.

    Of a chip whose softmax leaves the division to the product behind it, one of logarithms, with so
    many levels to an octave.
    """
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
                source = arithmetic_source(graph, name)
                names.add(source.name)
                if source.op is FloatOp.REQUANTIZE:
                    # So that what it reads can be its own codes already.
                    names.add(arithmetic_source(graph, source.inputs[0]).name)
    return names
