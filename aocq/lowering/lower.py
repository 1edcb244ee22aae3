# SPDX-License-Identifier: Apache-2.0
"""Lowering of a quantized network to an integer graph: one rule for each node."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from aocq.capture import FloatNode, FloatOp
from aocq.capture.residual_stream import arithmetic_source
from aocq.lowering.builder import Builder
from aocq.lowering.errors import LoweringError
from aocq.lowering.float_rules import in_float, lower_in_float, lower_mixed
from aocq.lowering.mixed_lowering import MixedLowering
from aocq.lowering.product_widths import check_products
from aocq.lowering.rules import RULES
from aocq.methods.quantized_model import QuantizedModel
from aocq.methods.quantizers import ActivationQuantizer, DynamicQuantizer, Quantizer
from aocq.recipes.limits import ChipLimits, exceeded, limits_of
from aocq.recipes.methods import knows_chip
from aocq.recipes.recipe import DEFAULTS, Recipe
from aocq.recipes.widths import missing_layer_widths, missing_widths
from simulator.errors import InputError
from simulator.graph import IntGraph, verify
from simulator.graph.ops import Reshape
from simulator.profile import NpuProfile, advice_to_choose


def lower(model: QuantizedModel, profile: NpuProfile) -> IntGraph:
    """Return the integer graph of a quantized network for a profile.

    Raises
    ------
    InputError
        If the profile cannot hold the model's decisions (bit widths, granularity, zero points,
        constants too wide), naming what and where.
    LoweringError
        If the graph would break a rule of the IR (a product whose sums need more than 64 bits), or
        the network leaves an operation in float that has no float operator.
    """
    leaves_floats = model.leaves_floats  # walks the whole graph
    check_recipe(
        model.recipe,
        _limits_used(model),
        profile,
        leaves_floats=leaves_floats,
        knows_chip=knows_chip(model.method),
    )
    if not leaves_floats:
        check_products(model.graph, model.recipe, model.limits, profile)
    builder = Builder(model=model, profile=profile)
    mixed = MixedLowering(builder)
    for node in model.graph.nodes:
        try:
            with np.errstate(divide="raise", over="raise", invalid="raise"):
                if leaves_floats:
                    lower_mixed(mixed, node)
                elif in_float(node, profile):
                    lower_in_float(mixed, node)
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
        raise LoweringError(model.graph.name, profile.name, "; ".join(problems))
    return graph


def _own_output(builder: Builder, output: FloatNode) -> None:
    """Give a network that ends in a scale factor an output that bears the factor."""
    scaled = builder.aliases.pop(output.name, None)
    if scaled is not None:
        builder.like(output, scaled)
        builder.graph.append(Reshape(name=output.name, a=scaled.name))


def _limits_used(model: QuantizedModel) -> ChipLimits:
    """Return those of a model's limits that it makes use of.

    It does without channel factors if no LayerNorm reads any, without fused additions if no layer
    has one, without scales by channel or head if no tensor has them, without dynamic steps if no
    operand has them, and without rotations of orders that it has none of.
    """
    factors = {name for name, quantizer in model.activations.items() if _varies(quantizer)}
    read = {
        name
        for node in model.graph.nodes
        if node.op is FloatOp.LAYERNORM
        for name in (arithmetic_source(model.graph, source).name for source in node.inputs)
        if name in model.activations
    }
    return replace(
        model.limits,
        fused_add=bool(model.fused_layers) and not model.leaves_floats,
        activation_granularity="per_channel" if factors else "per_tensor",
        channel_factor=model.limits.channel_factor if read & factors else "none",
        hadamard_order=max(
            (node.attributes["order"] for node in model.graph.nodes if node.op is FloatOp.HADAMARD),
            default=0,
        ),
        **_steps_used(model),
    )


def _steps_used(model: QuantizedModel) -> dict[str, Any]:
    """Return the limits on dynamic steps: none where no operand has such steps."""
    dynamic = {
        name: quantizer
        for name, quantizer in model.activations.items()
        if isinstance(quantizer, DynamicQuantizer)
    }
    rows = {q.group == model.graph.node(name).shape[-1] for name, q in dynamic.items()}
    powers = any(quantizer.form == "power_of_two" for quantizer in dynamic.values())
    return {
        "row_scale": model.limits.row_scale if True in rows else "none",
        "block": model.limits.block if False in rows else 0,
        "block_trim": model.limits.block_trim if powers else 0,
    }


def _varies(quantizer: Quantizer) -> bool:
    return isinstance(quantizer, ActivationQuantizer) and bool(quantizer.alpha)


class CannotHoldError(InputError):
    """A profile cannot hold what a recipe asks for (exit code 3).

    ``plainly`` is the message without advice, which is that of commands that quantize one network.
    """

    def __init__(self, message: str, *, plainly: str) -> None:
        super().__init__(message)
        self.plainly = plainly


def check_recipe(
    recipe: Recipe,
    limits: ChipLimits,
    profile: NpuProfile,
    *,
    leaves_floats: bool = False,
    knows_chip: bool = True,
) -> None:
    """Check that a profile can hold models of a recipe within limits, as a method makes them.

    Parameters
    ----------
    leaves_floats, knows_chip
        of the method, see :class:`aocq.recipes.methods.MethodSpec`

    Raises
    ------
    InputError
        If it cannot, naming every key of the profile that forbids it.
    """
    advice = missing_widths(
        profile,
        recipe.weight_bits,
        recipe.activation_bits,
        recipe.end_bits,
        leaves_floats=leaves_floats,
    )
    advice |= missing_layer_widths(profile, recipe.layers, leaves_floats=leaves_floats)
    problems = list(advice)
    vector_bits, bits = limits.vector_width(recipe), profile.activation.bits
    operands_fit = recipe.activation_bits == profile.activation.operand_width
    # Between operators in float a chip only stores codes, and narrow ones fit.
    if operands_fit and (vector_bits > bits if leaves_floats else vector_bits != bits):
        problems.append(
            f"activation.bits = {bits}, the model's tensors that no product reads have "
            f"{vector_bits}"
        )
    # Fully quantized networks take the chip's probabilities as they are.
    probability_bits = limits.probability_bits(recipe)
    if not leaves_floats and profile.softmax.output_bits != probability_bits:
        problems.append(
            f"softmax.output_bits = {profile.softmax.output_bits}, the model's probabilities have "
            f"{probability_bits}"
        )
    missing = _missing_factors(recipe, profile) if knows_chip else {}
    if knows_chip:  # other methods make no use of rotations and steps
        missing |= _missing_rotations(recipe, profile) | _missing_steps(recipe, profile)
    advice |= missing
    problems += [*missing]
    problems += exceeded(limits, limits_of(profile, recipe))
    if problems:
        advised = [problem + advice.get(problem, "") for problem in problems]
        anew = "quantize for this profile (--profile with its name or file) or choose another"
        raise CannotHoldError(
            f"profile {profile.name}: {'; '.join(advised)}; "
            + (anew if len(advice) < len(problems) else "or choose another profile"),
            plainly=f"profile {profile.name}: {'; '.join(problems)}",
        )


def _chips(recipe: Recipe, suits: Callable[[NpuProfile], bool]) -> str:
    """Return advice with the shipped profiles that have what is asked for, and the widths."""

    def both(chip: NpuProfile) -> bool:
        widths = (recipe.weight_bits, recipe.activation_bits, recipe.end_bits)
        return suits(chip) and not missing_widths(chip, *widths, leaves_floats=False)

    return advice_to_choose(both)


def _missing_factors(recipe: Recipe, profile: NpuProfile) -> dict[str, str]:
    """Return which rules ask for factors of the stream that a profile has none for."""
    limits, found = limits_of(profile, recipe), {}
    without = [
        key
        for key, missing in (
            ('layernorm.channel_factor = "none"', limits.channel_factor == "none"),
            (
                'activation.granularity = "per_tensor"',
                limits.activation_granularity != "per_channel",
            ),
        )
        if missing
    ]
    for pattern, alpha in recipe.layers.values_of("alpha").items():
        if without and alpha != "none":
            problem = f'{" and ".join(without)}, layers."{pattern}".alpha is "{alpha}"'
            found[problem] = ' (choose alpha = "none")'
    return found


def _missing_rotations(recipe: Recipe, profile: NpuProfile) -> dict[str, str]:
    """Return which rotations a recipe asks for that a profile lacks, and what to choose instead."""
    options, largest = recipe.aocq, limits_of(profile, recipe).hadamard_order
    if options.hadamard == "none":
        return {}
    if not largest:
        problem = (
            f"hadamard: the chip has no rotations (no table [hadamard]), aocq.hadamard is "
            f'"{options.hadamard}"'
        )
        others = _chips(recipe, lambda chip: chip.hadamard is not None)
        return {problem: f" (choose --hadamard none{others})"}
    if options.hadamard_block > largest:
        problem = (
            f"hadamard.largest_order = {largest}, aocq.hadamard_block is {options.hadamard_block}"
        )
        return {problem: f" (choose --hadamard-block {largest} or less)"}
    return {}


def _missing_steps(recipe: Recipe, profile: NpuProfile) -> dict[str, str]:
    """Return which dynamic steps a recipe asks for that a profile lacks, and what to choose."""
    options, limits = recipe.aocq, limits_of(profile, recipe)
    found = {}
    if options.row_steps != "none" and limits.row_scale == "none":
        problem = (
            f"dynamic.row_scale: the chip has no steps by row, aocq.row_steps is "
            f'"{options.row_steps}"'
        )
        others = _chips(recipe, lambda chip: limits_of(chip, recipe).row_scale != "none")
        found[problem] = f" (choose --row-steps none{others})"
    clipped = options.row_steps != "none" and options.row_clipping != DEFAULTS.row_clipping
    if clipped and limits.row_scale == "power_of_two":
        problem = (
            'dynamic.row_scale = "power_of_two": such steps are clipped by dynamic.block_trim, '
            f"aocq.row_clipping is {options.row_clipping:g}"
        )
        found[problem] = " (leave --row-clipping out)"
    if options.block_steps and not limits.block:
        problem = "dynamic.block: the chip has no steps by block, aocq.block_steps is true"
        others = _chips(recipe, lambda chip: limits_of(chip, recipe).block > 0)
        found[problem] = f" (choose --no-block-steps{others})"
    return found
