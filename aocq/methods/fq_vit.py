# SPDX-License-Identifier: Apache-2.0
"""``fq_vit``: power-of-two factors on the residual stream, powers of two after softmax.

Every tensor is quantized but the result of a layer that an activation function reads. Source:
FQ-ViT (arXiv 2111.13824) and its released code; formulas are given where they are used. Deviations:
``docs/methods.md``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from aocq.capture import FloatGraph, FloatNode, FloatOp, run
from aocq.capture.float_graph import ARITHMETIC, readers_of
from aocq.capture.residual_stream import readers_through_layout, residual_stream
from aocq.methods import base_ptq
from aocq.methods.integer_operators import refuse_levels
from aocq.methods.quantized_model import QuantizedModel
from aocq.methods.quantizers import (
    ActivationQuantizer,
    LevelQuantizer,
    QuantizedWeight,
    Quantizer,
)
from aocq.methods.ranges import ObservedRange, activation_quantizer
from aocq.methods.scale_form import ANY_SCALE, ScaleForm, activation_form, weight_form
from aocq.methods.tensor_widths import tensor_widths, weight_widths
from aocq.recipes.limits import ChipLimits
from aocq.recipes.recipe import Recipe
from simulator.numerics.integer_type import IntType

# Channel factors are 2^0 .. 2^3.
LARGEST_FACTOR_EXPONENT = 3
# Probabilities are 2^0 .. 2^-15, the levels 2^15 .. 2^0 fill 16 bits.
POWERS = 16
# The released code chooses channel factors by its last batch of images.
FACTOR_IMAGES = 100


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
        preprocessed, float32 [count, channels, height, width]; all give ranges, the last 100 the
        channel factors
    on_progress
        called with (batches done, batches in all)
    """
    plain = replace(recipe, activation_range="minmax")
    per_tensor = limits.activation_granularity == "per_tensor"
    balanced: frozenset[str] = frozenset() if per_tensor else balanced_tensors(graph)
    passes = [images, images[-FACTOR_IMAGES:]] if balanced else [images]
    batches = [-(-len(part) // base_ptq.BATCH) for part in passes]

    def first_pass(done: int, _: int) -> None:
        if on_progress:
            on_progress(done, sum(batches))

    seen = base_ptq.observe(graph, images, plain, limits, first_pass)
    activations = _quantizers(graph, seen, recipe, limits)
    factored = {name: activations[name] for name in balanced}
    if balanced:
        for name, errors in _factor_errors(graph, passes[1], factored).items():
            activations[name] = with_factors(factored[name], errors.argmin(dim=0))
        if on_progress:
            on_progress(sum(batches), sum(batches))
    return QuantizedModel(
        graph=graph,
        method="fq_vit",
        recipe=recipe,
        limits=limits,
        activations=activations,
        weights={
            name: quantize_weight(
                graph.parameters[name], bits, limits.weight_granularity, weight_form(limits)
            )
            for name, bits in weight_widths(graph, recipe).items()
        },
        calibration_images=len(images),
        log=tuple(_log_entry(name, seen[name], activations) for name in seen),
    )


def _log_entry(
    name: str, seen: ObservedRange, activations: dict[str, Quantizer]
) -> dict[str, object]:
    entry: dict[str, object] = {"tensor": name, "low": seen.low, "high": seen.high}
    quantizer = activations.get(name)
    if isinstance(quantizer, ActivationQuantizer) and quantizer.alpha:
        entry["factors"] = np.unique(quantizer.alpha, return_counts=True)[1].tolist()
    return entry


def balanced_tensors(graph: FloatGraph) -> frozenset[str]:
    """Return the tensors of the residual stream that get channel factors.

    They are those that only sums and layer normalizations read, as they are or moved (merged
    patches): other operations need one scale.
    """
    able = {FloatOp.ADD, FloatOp.LAYERNORM}
    readers = readers_of(graph)
    return frozenset(
        name
        for name in residual_stream(graph)
        if graph.node(name).op is not FloatOp.CONCAT
        and {reader.op for reader in readers_through_layout(graph, readers, name)} <= able
    )


def _quantizers(
    graph: FloatGraph, seen: dict[str, ObservedRange], recipe: Recipe, limits: ChipLimits
) -> dict[str, Quantizer]:
    """Return the quantizers before channel factors."""
    symmetric = base_ptq.multiplied_with_activations(graph)
    widths = tensor_widths(graph, recipe, limits)
    in_float = set() if recipe.float_ops == "integer" else functions_of(graph)
    found: dict[str, Quantizer] = {}
    for node in graph.nodes:
        if node.op not in ARITHMETIC or node.name in in_float:
            continue
        bits = widths[node.name]
        observed = seen[node.name]
        if node.op is FloatOp.SOFTMAX:
            powers = log_int_softmax(bits)
            if recipe.float_ops == "integer":
                refuse_levels(node.name, limits)
                powers = powers.of_probability_codes(bits)
            found[node.name] = powers
        elif node.name in symmetric or limits.zero_point == "symmetric":
            found[node.name] = activation_quantizer(
                observed.low, observed.high, bits, "symmetric", activation_form(limits)
            )
        else:
            found[node.name] = asymmetric_quantizer(
                observed.low, observed.high, bits, activation_form(limits)
            )
    for node in graph.nodes:
        if node.op is FloatOp.CONCAT:
            # A token is quantized with the tensor that it becomes part of: the same codes.
            for name in node.inputs:
                if graph.node(name).op is FloatOp.CONSTANT:
                    found[name] = found[node.name]
    return found


def functions_of(graph: FloatGraph) -> set[str]:
    """Return the nodes that only activation functions read, which stay in float."""
    return {
        name
        for name, ops in _readers(graph).items()
        if ops == {FloatOp.UNARY} and graph.node(name).op in ARITHMETIC
    }


def _readers(graph: FloatGraph) -> dict[str, set[FloatOp]]:
    """Return the operations that read each node."""
    readers: dict[str, set[FloatOp]] = {}
    for node in graph.nodes:
        for name in node.inputs:
            readers.setdefault(name, set()).add(node.op)
    return readers


def asymmetric_quantizer(
    low: float, high: float, bits: int, form: ScaleForm = ANY_SCALE
) -> ActivationQuantizer:
    """Return ``s = (max - min) / (2^bits - 1)``, ``z = clip(-round(min / s), 0, 2^bits - 1)``.

    Codes are stored signed, the zero point shifted with them. A chip with scales of another
    ``form`` gets the s that it can hold, and the z of that.
    """
    codes = (1 << bits) - 1
    scale = form.nearest((high - low) / codes or 1.0)
    offset = min(max(-round(low / scale), 0), codes)
    int_type = IntType(bits=bits)
    return ActivationQuantizer(type=int_type, scale=scale, zero_point=offset + int_type.low)


def with_factors(plain: Quantizer, exponents: Tensor) -> ActivationQuantizer:
    """Return ``plain`` with factors 2^k per channel over an eighth of its scale, one zero point.

    Parameters
    ----------
    exponents
        k, integers 0..3, [channels]
    """
    assert isinstance(plain, ActivationQuantizer)
    return ActivationQuantizer(
        type=plain.type,
        scale=plain.scale / (1 << LARGEST_FACTOR_EXPONENT),
        zero_point=plain.zero_point,
        alpha=tuple((2.0 ** exponents.double()).tolist()),
    )


def _factor_errors(
    graph: FloatGraph, images: Tensor, plain: dict[str, Quantizer]
) -> dict[str, Tensor]:
    """Return the squared error of every channel under every factor, float64 [factors, channels]."""
    errors: dict[str, Tensor] = {}

    def watch(node: FloatNode, x: Tensor) -> Tensor:
        if node.name in plain:
            found = factor_errors(plain[node.name], x)
            errors[node.name] = errors.get(node.name, torch.zeros_like(found)) + found
        return x

    for batch in images.split(base_ptq.BATCH):
        with torch.inference_mode():
            run(graph, {graph.input.name: batch}, [graph.output.name], transform=watch)
    return errors


def factor_errors(plain: Quantizer, x: Tensor) -> Tensor:
    """Return the squared error of every channel of ``x`` under factors 2^0..2^3, float64 [4, C].

    Source: FQ-ViT's power-of-two factor, ``(clip(round(x / (s1 2^k)) + z) - z) s1 2^k`` with
    ``s1 = s / 8``.
    """
    channels = x.shape[-1]
    rows = x.reshape(-1, channels).double()
    errors = []
    for exponent in range(LARGEST_FACTOR_EXPONENT + 1):
        candidate = with_factors(plain, torch.full((channels,), exponent))
        errors.append(((candidate(rows) - rows) ** 2).sum(dim=0))
    return torch.stack(errors)


def log_int_softmax(bits: int) -> LevelQuantizer:
    """Return the quantizer of probabilities to powers of two, 2^0 down to 2^-15, and 0.

    With ``r = round(1 / p)``, Q is ``floor(log2 r)``, plus one where r is at least 1.5 times that
    power of two; the value is 2^-Q. So Q <= k where r < 1.5 2^k, which is p > 1 / (1.5 2^k - 0.5),
    and 2/3 for k = 0. Larger Q than the codes or 16 bits of levels hold become 0.
    """
    powers = min((1 << bits) - 1, POWERS)
    exponents = range(powers - 1, -1, -1)
    return LevelQuantizer(
        levels=(0, *(1 << (POWERS - 1 - k) for k in exponents)),
        thresholds=tuple(
            (1 / (1.5 * 2**k - 0.5) if k else 2 / 3) * (1 << (POWERS - 1)) for k in exponents
        ),
        scale=1 / (1 << (POWERS - 1)),
        bits=bits,
    )


def quantize_weight(
    weight: Tensor, bits: int, granularity: str, form: ScaleForm = ANY_SCALE
) -> QuantizedWeight:
    """Quantize [N, K] to nearest with ``s = max|w| / (2^(bits-1) - 0.5)``: 127.5 at 8 bits."""
    int_type = IntType(bits=bits)
    real = weight.double().numpy()
    rows = real if granularity == "per_channel" else real.reshape(1, -1)
    largest = np.abs(rows).max(axis=1)
    scale = form.nearest(np.where(largest > 0, largest, 1.0) / (int_type.high + 0.5))
    codes = np.clip(np.rint(rows / scale[:, None]), int_type.low, int_type.high)
    return QuantizedWeight(bits=bits, codes=codes.reshape(real.shape).astype(np.int8), scale=scale)
