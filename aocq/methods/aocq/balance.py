# SPDX-License-Identifier: Apache-2.0
"""Channel factors α of Add_α, LN_α and the inputs of linear layers (AOCQ's operator level).

A tensor is held as ``x / α`` under one scale. Where the stream is concerned, LayerNorm applies α
before its statistics, and every sum's channels carry ratios of factors; a linear layer's input
factors are folded into the columns of its weights. All of it is exact in real arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from aocq.capture.parts import in_threads
from aocq.methods.quantizers import ActivationQuantizer
from aocq.methods.scale_form import ANY_SCALE, ScaleForm, activation_form
from aocq.recipes.aocq_options import Alpha
from aocq.recipes.limits import ChipLimits
from aocq.recipes.recipe import Recipe
from simulator.numerics.integer_type import IntType

# Shares of a channel's range that the search of least squared error tries.
SHRINK = np.linspace(1.0, 0.4, 25)
# How many times longer than its negative side a codes' positive side may be.
ASYMMETRIES = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True, slots=True)
class ChannelRange:
    """Least and greatest value of every channel, float64 [C]."""

    low: Tensor
    high: Tensor

    @property
    def reach(self) -> tuple[Tensor, Tensor]:
        """How far every channel goes below and above 0, [C] each, at least a millionth of all."""
        least = float(self.magnitude.max()) * 1e-6
        return (-self.low).clamp_min(least), self.high.clamp_min(least)

    @property
    def magnitude(self) -> Tensor:
        """Greatest absolute value of every channel, above 0, [C]; 1 where all are 0."""
        largest = torch.maximum(self.low.abs(), self.high.abs())
        top = float(largest.max())
        return largest.clamp_min(top * 1e-6) if top else torch.ones_like(largest)

    def widened(self, other: ChannelRange) -> ChannelRange:
        """Return the range that holds both."""
        return ChannelRange(
            torch.minimum(self.low, other.low), torch.maximum(self.high, other.high)
        )


def form(recipe: Recipe, limits: ChipLimits, alpha: Alpha | None = None) -> str:
    """Return the form of α that a recipe and a chip allow: none, pot<K>, or free.

    A chip that can only shift, or whose scales are powers of two, gets powers of two where free
    factors were asked for; K is at most what the chip's shifts or multipliers reach. ``alpha`` is
    what a rule asks for one tensor; None: what the recipe asks for all.
    """
    asked = alpha or recipe.aocq.alpha
    if asked == "none" or limits.channel_factor == "none":
        return "none"
    if limits.activation_granularity == "per_tensor":
        return "none"
    bits = limits.channel_factor_bits
    reach = 2**bits - 1 if limits.channel_factor == "shift" else bits - 1
    if asked == "free" and _has_free_multipliers(limits):
        return "free"
    return f"pot{min(reach, int(asked.removeprefix('pot') if asked != 'free' else 7))}"


def _has_free_multipliers(limits: ChipLimits) -> bool:
    return limits.channel_factor == "multiplier" and not activation_form(limits).power_of_two


def balances_inputs(recipe: Recipe, limits: ChipLimits) -> bool:
    """Return whether inputs of linear layers get factors: a chip may want one scale per tensor."""
    return recipe.aocq.balance_inputs and limits.activation_granularity == "per_channel"


def snap(
    magnitude: Tensor, recipe: Recipe, limits: ChipLimits, alpha: Alpha | None = None
) -> Tensor:
    """Return α that the chip can hold, in proportion to the channels' magnitudes or just above.

    Multipliers are ``m / (2^bits - 1)`` with whole m; shifts, and factors of scales that are powers
    of two, are ``2^(k - K)``. ``alpha`` as in :func:`form`.
    """
    relative = (magnitude / magnitude.max()).double()
    alpha_form = form(recipe, limits, alpha)
    largest = 2**limits.channel_factor_bits - 1
    if alpha_form == "free":
        factors: Tensor = torch.clamp(torch.ceil(relative * largest - 1e-9), 1, largest) / largest
        return factors
    most = int(alpha_form.removeprefix("pot"))
    unit = largest if _has_free_multipliers(limits) else 2.0**most
    exponents = torch.clamp(torch.ceil(torch.log2(relative) - 1e-9) + most, 0, most)
    return torch.ldexp(torch.ones_like(exponents), exponents) / unit


def balanced_quantizer(
    magnitude: Tensor, bits: int, alpha: Tensor, form: ScaleForm = ANY_SCALE
) -> ActivationQuantizer:
    """Return the symmetric quantizer that covers ``magnitude`` [C] with factors ``alpha`` [C]."""
    int_type = IntType(bits=bits)
    scale = form.nearest(float((magnitude.double() / alpha).max()) / int_type.high)
    return ActivationQuantizer(
        type=int_type, scale=scale, zero_point=0, alpha=tuple(alpha.tolist())
    )


def stream_quantizer(
    magnitude: Tensor, recipe: Recipe, limits: ChipLimits, alpha: Alpha | None = None
) -> ActivationQuantizer:
    """Return the quantizer of a stream tensor whose channels reach ``magnitude`` [C].

    ``alpha`` is as in :func:`form`.
    """
    factors = snap(magnitude, recipe, limits, alpha)
    return balanced_quantizer(magnitude, limits.residual_bits, factors, activation_form(limits))


def columns_quantizer(seen: ChannelRange, bits: int, limits: ChipLimits) -> ActivationQuantizer:
    """Return a quantizer with a scale for each channel, which reaches exactly as far as it does.

    All channels have one zero point, as a tensor of codes has: the one whose scales are least, each
    in relation to the least that its channel could have (the sum of their squares).
    """
    int_type, form = IntType(bits=bits), activation_form(limits)
    below, above = seen.reach
    own = (below + above) / (int_type.high - int_type.low)

    def scales_at(zero_point: int) -> Tensor:
        room_below, room_above = zero_point - int_type.low, int_type.high - zero_point
        return torch.maximum(below / room_below, above / room_above)

    # Wider codes have zero points in between that change next to nothing.
    step = 1 << max(bits - 8, 0)
    zero_points = range(int_type.low + step, int_type.high, step)
    if limits.zero_point == "symmetric":
        zero_points = range(1)
    best = min(zero_points, key=lambda each: float((scales_at(each) / own).square().sum()))
    scales = scales_at(best)
    if form.power_of_two:
        scales = form.nearest(scales)
    top = float(scales.max())
    return ActivationQuantizer(
        type=int_type,
        scale=form.nearest(top),
        zero_point=best,
        alpha=tuple((scales / top).tolist()),
    )


def clipped_magnitude(x: Tensor, seen: ChannelRange, weights: Tensor, bits: int) -> Tensor:
    """Return for every channel the clipping of least weighted squared error, [C].

    Parameters
    ----------
    x
        values [tokens, C]
    weights
        of the tokens, [tokens, 1]; see :func:`aocq.methods.aocq.token_norm.token_weights`
    """
    int_type = IntType(bits=bits)
    full = seen.magnitude.to(x)
    best, least = full, torch.full_like(full, float("inf"))

    def error_of(share: float) -> Tensor:
        scale = full * (share / int_type.high)
        error = (x / scale).round_().clamp_(int_type.low, int_type.high).mul_(scale).sub_(x)
        return error.square_().mul_(weights).sum(0)

    shares = SHRINK.tolist()
    for share, error in zip(shares, in_threads(error_of, shares, x.device.type), strict=True):
        best = torch.where(error < least, full * share, best)
        least = torch.minimum(error, least)
    return best.double().cpu()


def linear_input_quantizer(
    seen: ChannelRange,
    columns: Tensor,
    exponent: float,
    bits: int,
    limits: ChipLimits,
    *,
    through_table: bool,
) -> ActivationQuantizer:
    """Return the quantizer of a linear layer's input, its channels balanced.

    ``α_c = range_c^exponent`` up to a constant: 1 spends all codes on every channel, but trusts
    the range that a channel showed on the calibration images; 0 is one scale for all.

    Parameters
    ----------
    columns
        squared norm of the reading weights' columns, [C]: what an error in a channel costs
    through_table
        whether a function's table yields the tensor, see ``ActivationQuantizer.table_scale``
    """
    int_type, form = IntType(bits=bits), activation_form(limits)
    choices = (1,) if limits.zero_point == "symmetric" else ASYMMETRIES
    best, least = None, float("inf")
    for ratio in choices:
        reach = torch.maximum(seen.high.clamp_min(0), -seen.low.clamp_max(0) * ratio)
        # A channel's own range decides its factor; no channel needs more than the widest one.
        top = float(reach.max()) or 1.0
        reach = top * (reach.double() / top).clamp_min(1e-6) ** exponent
        zero_point = (
            0 if ratio == 1 else round(int_type.low + (int_type.high - int_type.low) / (1 + ratio))
        )
        scales = reach / (int_type.high - zero_point)
        if form.power_of_two:
            scales = form.nearest(scales)
        cost = float((scales**2 * columns).sum())
        if cost < least:
            best, least = (scales, zero_point), cost
    assert best is not None
    scales, zero_point = best
    top = float(scales.max())
    scale = form.nearest(top)
    furthest = max(zero_point - int_type.low, int_type.high - zero_point) + 0.5
    return ActivationQuantizer(
        type=int_type,
        scale=scale,
        zero_point=zero_point,
        alpha=tuple((scales / top).tolist()) if exponent else (),
        table_scale=(
            form.nearest(furthest * scale / (2**15 - 1)) if through_table and exponent else 0.0
        ),
    )
