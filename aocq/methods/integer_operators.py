# SPDX-License-Identifier: Apache-2.0
"""Quantizers of operators that a method leaves in float, for chips that compute integers only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from aocq.capture import FloatGraph, FloatOp
from aocq.methods import base_ptq
from aocq.methods.quantizers import ActivationQuantizer, LevelQuantizer, Quantizer
from aocq.methods.scale_form import activation_form
from aocq.recipes.limits import ChipLimits
from aocq.recipes.recipe import Recipe
from simulator.errors import InputError


def refuse_levels(name: str, limits: ChipLimits) -> None:
    """Refuse a method's own levels of probabilities where a chip's codes are logarithms.

    Raises
    ------
    InputError
        If they are.
    """
    if limits.softmax_levels_per_octave is not None:
        raise InputError(
            f"{name}: the method has levels of its own for probabilities, and the profile's "
            'softmax.algorithm = "deferred_log2" has others; choose --method aocq or base_ptq, '
            "--float-ops declared, or a profile with another softmax.algorithm"
        )


def completed(
    graph: FloatGraph,
    images: Tensor,
    recipe: Recipe,
    limits: ChipLimits,
    own: Mapping[str, Quantizer],
) -> dict[str, Quantizer]:
    """Return a quantizer for every arithmetic node: the method's ``own``, or that of ``base_ptq``.

    Heads share one scale, the largest of theirs, because a chip has one requantization per tensor.
    Probabilities are the chip's unsigned ones; levels of the method are chosen by those.
    """
    plain_recipe = replace(recipe, activation_range="minmax")
    seen = base_ptq.observe(graph, images, plain_recipe, limits, None)
    quantizers: dict[str, Quantizer] = dict(base_ptq.quantizers(graph, seen, plain_recipe, limits))
    for name, quantizer in own.items():
        is_softmax = graph.node(name).op is FloatOp.SOFTMAX
        if isinstance(quantizer, LevelQuantizer):
            if is_softmax:
                refuse_levels(name, limits)
            bits = limits.probability_bits(recipe)
            quantizers[name] = quantizer.of_probability_codes(bits) if is_softmax else quantizer
        elif isinstance(quantizer, ActivationQuantizer) and not is_softmax:
            # Rounded again: a ratio times the smallest scale may miss the largest by a bit.
            largest = quantizer.scale * max(quantizer.alpha or (1.0,))
            largest = activation_form(limits).nearest(largest)
            quantizers[name] = ActivationQuantizer(
                type=quantizer.type, scale=largest, zero_point=quantizer.zero_point
            )
    return quantizers
