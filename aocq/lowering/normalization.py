# SPDX-License-Identifier: Apache-2.0
"""Lowering of normalizations: channel factors, fraction bits, affine step."""

from __future__ import annotations

from math import inf, isqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aocq.capture import FloatGraph, FloatNode, FloatOp
from aocq.lowering.affine import Affine, affine_step
from aocq.lowering.builder import Builder
from aocq.lowering.layernorm_graph import layernorm_graph
from aocq.methods.scales import Scales
from simulator.errors import InputError
from simulator.graph.builder import narrowest
from simulator.graph.graph import Tensor
from simulator.graph.ops import L2Norm, LayerNorm, LayerNormBisection
from simulator.graph.ranges import signed_bits
from simulator.numerics.integer_type import IntType
from simulator.profile import GraphLayerNorm, IntegerLayerNorm, NewtonLayerNorm, NpuProfile

BETA = IntType(bits=32)  # of β in the codes of a LayerNorm's result


def layernorm(builder: Builder, node: FloatNode) -> None:
    """The op of the profile's LayerNorm algorithm; one in float32 has its rule elsewhere."""
    section = builder.profile.layernorm
    if isinstance(section, IntegerLayerNorm):
        _integer_statistics(builder, node, section)
    elif isinstance(section, GraphLayerNorm):
        layernorm_graph(builder, node, section.part_bits)
    else:
        _bisection(builder, node)


def _bisection(builder: Builder, node: FloatNode) -> None:
    """Whole-number statistics and division; γ and β with as many fraction bits as fit."""
    x = builder.tensor(node.inputs[0])
    builder.scale(node.inputs[0], f"the mean in {node.name}")
    y = builder.result(node)
    gamma, beta = builder.affine_parameters(node)
    scales = builder.channel_scales(node.name)
    section = builder.profile.rescale_of("layernorm")
    spread = x.code_type.high - x.code_type.low
    affine = affine_step(Affine(gamma / scales, beta / scales, spread, y), section, normalized=0)
    builder.graph.append(
        LayerNormBisection(
            name=node.name,
            a=x.name,
            weight=builder.constant(
                f"{node.name}.weight", affine.gamma, IntType(bits=section.multiplier_bits + 1)
            ),
            bias=builder.constant(
                f"{node.name}.bias", affine.beta, narrowest(affine.beta, signed=True)
            ),
            shift=affine.shift,
            rounding=builder.rounding("layernorm"),
            overflow=builder.overflow("layernorm"),
        )
    )


def _integer_statistics(builder: Builder, node: FloatNode, section: IntegerLayerNorm) -> None:
    """Statistics of codes times whole factors; γ and β in the multipliers of the last step."""
    x = builder.tensor(node.inputs[0])
    y = builder.result(node)
    channels = node.shape[-1]
    gamma, beta = builder.affine_parameters(node)
    scales = builder.channel_scales(node.name)
    rescale = builder.profile.rescale_of("layernorm")
    source = builder.channel_scales(node.inputs[0])
    factors = channel_factors(node.inputs[0], source, builder.profile)
    # The scale of u: the statistics and epsilon are in its square.
    unit = float(source[0] / factors[0])
    epsilon = _whole_epsilon(node, unit)
    squares = sum(int(factor) ** 2 for factor in factors) * (channels // len(factors))
    variance = channels * _largest(x) ** 2 * squares + epsilon
    longest = 2 * (isqrt(channels) + 1)
    fractions = _fraction_bits(variance, longest, rescale.multiplier_bits, section)
    exact = Affine(gamma / scales, beta / scales, longest, y)
    affine = affine_step(exact, rescale, fractions.normalized)
    constants: dict[str, str | None] = {"multiplier": None, "shift": None}
    int_type = IntType(bits=section.channel_factor_bits, signed=False)
    if factors.max() > 1 and section.channel_factor == "shift":
        exponents = np.log2(factors).astype(np.int64)
        constants["shift"] = builder.constant(f"{node.name}.channel_shift", exponents, int_type)
    elif factors.max() > 1:
        name = f"{node.name}.channel_multiplier"
        constants["multiplier"] = builder.constant(name, factors, int_type)
    signed = IntType(bits=rescale.multiplier_bits + 1)
    beta_codes, beta_shift = _held(affine.beta)
    builder.graph.append(
        LayerNorm(
            name=node.name,
            a=x.name,
            channel_multiplier=constants["multiplier"],
            channel_shift=constants["shift"],
            gamma=builder.constant(f"{node.name}.gamma", affine.gamma, signed),
            beta=builder.constant(f"{node.name}.beta", beta_codes, BETA),
            epsilon=epsilon,
            sqrt_fraction_bits=fractions.sqrt,
            reciprocal_bits=fractions.reciprocal,
            normalized_fraction_bits=affine.normalized,
            shift=affine.shift,
            rounding=builder.rounding("layernorm"),
            overflow=builder.overflow("layernorm"),
            root_steps=section.root_steps,
            root_start_bits=(
                section.root_start_bits if isinstance(section, NewtonLayerNorm) else 0
            ),
            beta_shift=beta_shift,
        )
    )


def l2norm(builder: Builder, node: FloatNode) -> None:
    """The L2 normalization, by root, reciprocal and fraction bits of the profile's LayerNorm.

    Raises
    ------
    InputError
        If the profile's LayerNorm has no exact root, or scales differ within a row.
    """
    section = _with_exact_root(node, builder.profile)
    rescale = builder.profile.rescale_of("layernorm")
    x = builder.tensor(node.inputs[0])
    unit = builder.scale(node.inputs[0], f"the length of rows in {node.name}")
    y, name = builder.result(node), node.attributes["gain"]
    gain = builder.model.parameter(name).reshape(-1) if name else np.ones(1)
    gain = gain / builder.scale(node.name, node.name)
    # No value exceeds its row's length, or twice that where the root, rounded down, has few bits.
    longest, squares = 2, node.shape[-1] * _largest(x) ** 2
    bits = _fraction_bits(squares, longest, rescale.multiplier_bits, section)
    affine = affine_step(Affine(gain, np.zeros(1), longest, y), rescale, bits.normalized)
    int_type = IntType(bits=rescale.multiplier_bits, signed=False)
    builder.graph.append(
        L2Norm(
            name=node.name,
            a=x.name,
            gain=builder.constant(f"{node.name}.gain", affine.gamma, int_type),
            epsilon=_least_length(node, unit, bits.sqrt),
            sqrt_fraction_bits=bits.sqrt,
            reciprocal_bits=bits.reciprocal,
            normalized_fraction_bits=affine.normalized,
            shift=affine.shift,
            rounding=builder.rounding("layernorm"),
            overflow=builder.overflow("layernorm"),
        )
    )


def _held(beta: NDArray[np.int64]) -> tuple[NDArray[np.int64], int]:
    """Return β as :data:`BETA` holds it, and how far it is shifted to the left before it is added.

    β is added to a product of twice as many fraction bits as its own 32 bits can have.
    """
    excess = max(0, signed_bits(int(beta.min()), int(beta.max())) - BETA.bits)
    half = 1 << excess >> 1
    return np.clip((beta + half) >> excess, BETA.low, BETA.high), excess


def channel_factors(name: str, scales: Scales, profile: NpuProfile) -> NDArray[np.int64]:
    """Return the least whole numbers in proportion to the channels' scales.

    LayerNorm divides by the deviation, so that only the ratios of scales matter.

    Parameters
    ----------
    name
        the tensor that LayerNorm reads, for the message
    scales
        of its codes, [C] or [1]

    Returns
    -------
    factors
        int64 [C] or [1], what the profile's ``layernorm.channel_factor`` can apply

    Raises
    ------
    InputError
        If the chip has no such factors.
    """
    section = profile.layernorm
    bits = section.channel_factor_bits
    factors: NDArray[np.int64]
    ratios = scales / scales.min()
    if np.allclose(ratios, 1, rtol=1e-9, atol=0):
        return np.ones(len(scales), np.int64)
    if section.channel_factor == "shift":
        exponents = np.rint(np.log2(ratios)).astype(np.int64)
        if np.allclose(np.ldexp(1.0, exponents), ratios, rtol=1e-9, atol=0) and (
            exponents.max() < 1 << bits
        ):
            powers: NDArray[np.int64] = np.left_shift(np.int64(1), exponents)
            return powers
        able = f"powers of two up to 2^{(1 << bits) - 1} apart"
    elif section.channel_factor == "multiplier":
        # The smallest scale need not be one times the unit: 2 and 3 are fine.
        for smallest in range(1, int(((1 << bits) - 1) / ratios.max() * (1 + 1e-9)) + 1):
            multiples = ratios * smallest
            factors = np.rint(multiples).astype(np.int64)
            if np.allclose(factors, multiples, rtol=1e-9, atol=0):
                return factors
        able = f"in proportion to whole numbers up to {(1 << bits) - 1}"
    else:
        able = "equal"
    raise InputError(
        f"{name}: LayerNorm reads it, and its channels' scales (largest ratio {ratios.max():.6g}) "
        f"are not {able}, which is what profile {profile.name} can apply (layernorm.channel_factor "
        f'= "{section.channel_factor}", channel_factor_bits = {bits}); quantize for this profile '
        "(--profile with its name or file) or choose another"
    )


def check_l2_normalizations(graph: FloatGraph, profile: NpuProfile) -> None:
    """Refuse a network whose L2 normalizations a profile cannot compute; needs no quantization.

    Raises
    ------
    InputError
        If there is one, and the profile's LayerNorm has no exact root.
    """
    for node in graph.nodes:
        if node.op is FloatOp.L2NORM:
            _with_exact_root(node, profile)


def _with_exact_root(node: FloatNode, profile: NpuProfile) -> IntegerLayerNorm:
    section = profile.layernorm
    if not isinstance(section, IntegerLayerNorm) or section.root_steps:
        raise InputError(
            f"{node.name}: L2 normalization takes the exact root of a LayerNorm, and profile "
            f'{profile.name} has layernorm.algorithm = "{section.algorithm}"; choose a profile '
            'with "isqrt_exact"'
        )
    return section


def _least_length(node: FloatNode, unit: float, fraction_bits: int) -> int:
    """Return epsilon in codes, with fraction bits.

    Raises
    ------
    InputError
        If the scale is so small that the chip's 31 bits do not hold it.
    """
    given = float(node.attributes["epsilon"])
    found = given / unit * 2.0**fraction_bits
    if not found < 2.0**31:
        raise InputError(
            f"{node.name}: the epsilon {given:g} of L2 normalization is too large for an input of "
            f"scale {unit:.3g}: it is {found:.3g} in codes, and the op has 31 bits; use a "
            "checkpoint whose queries and keys are larger"
        )
    return round(found)


def _whole_epsilon(node: FloatNode, unit: float) -> int:
    """Return epsilon as a whole number, in codes² times the number of channels².

    Raises
    ------
    InputError
        If the scale is so small that the chip's 64 bits do not hold it.
    """
    given, channels = float(node.attributes["epsilon"]), node.shape[-1]
    try:
        whole = given * (channels / unit) ** 2
    except OverflowError:
        whole = inf
    if not whole < 2.0**63:
        raise InputError(
            f"{node.name}: LayerNorm's epsilon {given:g} is too large for an input of scale "
            f"{unit:.3g}: beside squared sums of {channels} codes it is {whole:.3g}, and integers "
            "have 64 bits; use a checkpoint whose residual stream is larger, or a profile with "
            'layernorm.algorithm = "float32"'
        )
    return round(whole)


class FractionBits(NamedTuple):
    """Fraction bits of LayerNorm's root, reciprocal and normalized value."""

    sqrt: int
    reciprocal: int
    normalized: int


def _fraction_bits(
    squares: int, longest: int, gamma_bits: int, section: IntegerLayerNorm
) -> FractionBits:
    """Return the fraction bits of a normalization: the profile's, or as many as 64 bits can hold.

    The squares of wide codes or of many channels leave less room for fractions; bounds are those
    of :mod:`simulator.graph.ops.normalization`.

    Parameters
    ----------
    squares
        largest number that the root is taken of
    longest
        largest normalized value
    gamma_bits
        of the factors that normalized values are multiplied with
    """
    sqrt_room = (63 - squares.bit_length()) // 2
    # One bit for beta and rounding, which are added to the product: the affine step sees to more.
    normalized_room = 62 - longest.bit_length() - gamma_bits
    sqrt = max(0, min(section.sqrt_fraction_bits, sqrt_room))
    # |d| i <= longest * 2^(reciprocal - sqrt)
    reciprocal = min(section.reciprocal_bits, 62 - longest.bit_length() + sqrt)
    normalized = min(section.normalized_fraction_bits, normalized_room, reciprocal - sqrt)
    return FractionBits(sqrt=sqrt, reciprocal=reciprocal, normalized=max(0, normalized))


def _largest(x: Tensor) -> int:
    """Return the largest magnitude of a tensor's codes less its zero point."""
    return max(x.zero_point - x.code_type.low, x.code_type.high - x.zero_point)
