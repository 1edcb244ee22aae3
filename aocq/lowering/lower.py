# SPDX-License-Identifier: Apache-2.0
"""The walk over the float graph that applies one rule per node."""

from __future__ import annotations

import numpy as np

from aocq.capture import FloatNode, FloatOp, UnsupportedOperatorError
from aocq.capture.residual_stream import arithmetic_source
from aocq.lowering.builder import Builder
from aocq.lowering.float_rules import FLOAT_RULES, MixedLowering, in_float
from aocq.lowering.rules import RULES
from aocq.methods.quantized_model import QuantizedModel, Recipe
from aocq.methods.quantizers import ActivationQuantizer, Quantizer
from aocq.widths import missing_widths
from simulator.errors import InputError
from simulator.graph import IntGraph, verify
from simulator.graph.ops import Reshape
from simulator.profile import LayerNormSection, NpuProfile


def lower(model: QuantizedModel, profile: NpuProfile) -> IntGraph:
    """Turn a method's decisions into the integers that a chip computes.

    Raises
    ------
    InputError
        If the profile cannot hold the model's decisions (bit widths, granularity, zero points,
        constants too wide), naming what and where.
    """
    check_recipe(_what_counts(model), profile, leaves_floats=model.leaves_floats)
    builder = Builder(model=model, profile=profile)
    mixed = MixedLowering(builder)
    for node in model.graph.nodes:
        try:
            with np.errstate(divide="raise", over="raise", invalid="raise"):
                if model.leaves_floats:
                    mixed.lower(node)
                elif in_float(node, profile):
                    FLOAT_RULES[node.op](mixed, node)
                else:
                    RULES[node.op](builder, node)
        except (ValueError, ArithmeticError) as error:  # a factor that no number of a chip can be
            raise InputError(
                f"{model.graph.name} on profile {profile.name}: {node.name}: {error}"
            ) from error
    builder.graph.drop_unread_constants()
    _own_output(builder, model.graph.output)
    graph = builder.graph.unverified(model.graph.output.name, meta=model.meta)
    problems = verify(graph)
    if problems:
        raise UnsupportedOperatorError(
            f"{model.graph.name} on profile {profile.name}",
            f"cannot be lowered: {'; '.join(problems)}",
        )
    return graph


def _own_output(builder: Builder, output: FloatNode) -> None:
    """Give a network that ends in a scale factor an output that bears the factor."""
    scaled = builder.stands_for.pop(output.name, None)
    if scaled is not None:
        builder.like(output, scaled)
        builder.graph.append(Reshape(name=output.name, a=scaled.name))


def _what_counts(model: QuantizedModel) -> Recipe:
    """Return a model's recipe, without what it has no use for.

    That is channel factors if no LayerNorm reads any, sums that go straight onto the stream, and
    steps by channel or head if no tensor has them.
    """
    fused = bool(model.accumulated) and not model.leaves_floats
    factors = {name for name, quantizer in model.activations.items() if _varies(quantizer)}
    recipe = model.recipe.model_copy(
        update={
            "fused_add": fused,
            "activation_granularity": "per_channel" if factors else "per_tensor",
        }
    )
    read = {
        name
        for node in model.graph.nodes
        if node.op is FloatOp.LAYERNORM
        for name in (arithmetic_source(model.graph, source).name for source in node.inputs)
        if name in model.activations
    }
    if read & factors:
        return recipe
    return recipe.model_copy(update={"channel_factor": "none"})


def _varies(quantizer: Quantizer) -> bool:
    return isinstance(quantizer, ActivationQuantizer) and bool(quantizer.alpha)


class CannotHoldError(InputError):
    """A profile cannot hold what a recipe asks for; ``plainly`` says so and advises nothing.

    The advice is for commands that quantize one network; others have other options.
    """

    def __init__(self, message: str, *, plainly: str) -> None:
        super().__init__(message)
        self.plainly = plainly


def check_recipe(recipe: Recipe, profile: NpuProfile, *, leaves_floats: bool = False) -> None:
    """Check that a profile can hold what a recipe asks for; needs no model yet.

    Raises
    ------
    InputError
        If it cannot, naming every key of the profile that forbids it.
    """
    advice = missing_widths(
        profile, recipe.weight_bits, recipe.activation_bits, leaves_floats=leaves_floats
    )
    problems = list(advice)
    # Fully quantized networks take the chip's probabilities as they are.
    if not leaves_floats and profile.softmax.output_bits != recipe.probability_bits:
        problems.append(
            f"softmax.output_bits = {profile.softmax.output_bits}, the model's probabilities have "
            f"{recipe.probability_bits}"
        )
    if recipe.residual_bits > profile.activation.residual_bits:
        problems.append(
            f"activation.residual_bits = {profile.activation.residual_bits}, the model has "
            f"{recipe.residual_bits}"
        )
    problems += _missing_channel_factors(recipe, profile.layernorm)
    if recipe.fused_add and not profile.residual.fused_add:
        problems.append(
            "residual.fused_add = false, the model's proj and fc2 have no codes of their own (it "
            "was quantized for a chip that adds their sums to the stream)"
        )
    if profile.weight.granularity == "per_tensor" and recipe.weight_granularity == "per_channel":
        problems.append('weight.granularity = "per_tensor", the model is per channel')
    problems += _missing_scales(recipe, profile)
    if profile.activation.zero_point == "symmetric" and recipe.zero_point == "asymmetric":
        problems.append('activation.zero_point = "symmetric", the model has zero points')
    if problems:
        advised = [problem + advice.get(problem, "") for problem in problems]
        anew = "quantize for this profile (--profile with its name or file) or choose another"
        raise CannotHoldError(
            f"profile {profile.name}: {'; '.join(advised)}; "
            + (anew if len(advice) < len(problems) else "or choose another profile"),
            plainly=f"profile {profile.name}: {'; '.join(problems)}",
        )


def _missing_scales(recipe: Recipe, profile: NpuProfile) -> list[str]:
    """Say where the recipe's scales may have forms that the chip's do not; a 2^k is a float32."""
    problems = []
    weights, activations = recipe.weight_form, recipe.activation_form
    if profile.activation.granularity == "per_tensor" and (
        recipe.activation_granularity == "per_channel"
    ):
        problems.append(
            'activation.granularity = "per_tensor", the model has steps by channel or head'
        )
    if profile.weight.scale == "power_of_two" and not weights.power_of_two:
        problems.append('weight.scale = "power_of_two", the model has weights of any scale')
    if profile.activation.scale == "power_of_two" and not activations.power_of_two:
        problems.append('activation.scale = "power_of_two", the model has activations of any scale')
    exact = all(form.float32 or form.power_of_two for form in (weights, activations))
    if profile.float32_scales and not exact:
        problems.append("rescale.scale_type wants scales in float32, the model has others")
    return problems


def _missing_channel_factors(recipe: Recipe, section: LayerNormSection) -> list[str]:
    """Say where the recipe's channel factors may exceed the chip's; a multiplier can be 2^k."""
    wanted, bits = recipe.channel_factor, recipe.channel_factor_bits
    largest_exponent = {
        "none": 0,
        "shift": (1 << section.channel_factor_bits) - 1,
        "multiplier": section.channel_factor_bits - 1,
    }[section.channel_factor]
    if wanted == "shift":
        fits = (1 << bits) - 1 <= largest_exponent
    else:
        has = section.channel_factor_bits if section.channel_factor == "multiplier" else 0
        fits = wanted == "none" or bits <= has
    if fits:
        return []
    return [
        f'layernorm.channel_factor = "{section.channel_factor}" of {section.channel_factor_bits} '
        f'bits, the model has "{wanted}" of {bits}'
    ]
