# SPDX-License-Identifier: Apache-2.0
"""Normalization over the last dimension."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import isqrt
from typing import ClassVar

import numpy as np

from simulator.graph.graph import IntGraph
from simulator.graph.last_steps import Channels, shifted
from simulator.graph.op import Op, TensorId, added
from simulator.graph.ops.spec import OpSpec
from simulator.graph.parameters import within
from simulator.graph.ranges import (
    Intermediate,
    centred_range,
    code_range,
    shifted_left,
    shifted_right,
    times,
)
from simulator.graph.row_bounds import (
    RowBounds,
    largest_normalized,
    reciprocal_bounds,
    root_bounds,
)
from simulator.graph.shapes import same_shape
from simulator.numerics.fixed_point import LARGEST_SHIFT
from simulator.numerics.integer_type import Overflow
from simulator.numerics.rounding import Rounding


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerNorm(Op):
    """Layer normalization over the last dimension, of C channels, with an integer square root.

    rb, sf and nf are ``reciprocal_bits``, ``sqrt_fraction_bits`` and ``normalized_fraction_bits``::

        u[c] = (a[c] - z_a) * channel_multiplier[c] << channel_shift[c]
        d[c] = C * u[c] - sum(u)                                  C times the deviation
        v    = C * sum(u^2) - sum(u)^2 + epsilon                  C^2 (var + ε), in codes
        r    = floor(sqrt(v << 2*sf))                             or Newton's, see root_steps
        i    = floor(2^rb / max(r, 1))
        n[c] = d[c] * i >> (rb - sf - nf)                         floor
        y[c] = fit(round(n[c] * gamma[c] + (beta[c] << beta_shift) >> shift) + z_y)

    n is the normalized value in fixed point. The product to which β is added has all of the
    ``shift`` fraction bits, some 57 bits where the result's codes have 8; β has 32 bits and is
    shifted to the left.

    Source: FQ-ViT's integer form of the statistics (arXiv 2111.13824), with the division by the
    standard deviation kept in integers.

    Attributes
    ----------
    channel_multiplier
        constant [C], not negative, the whole-number α of LN_α (AOCQ); or none: 1
    channel_shift
        unsigned constant [C], the power-of-two α of LN_α (FQ-ViT, AOCQ); or none: 0
    gamma
        signed constant [C], γ / s_y with ``shift - nf`` fraction bits; s_y may differ by channel
    beta
        signed constant [C], β / s_y with ``shift - beta_shift`` fraction bits
    epsilon
        an integer, ε (C / s)^2, where s is what 1 is worth in u: s_a where channels have no factors
    root_steps
        0, an exact root, or the number of steps ``r = floor((r + floor(V / r)) / 2)`` that approach
        the root of V = ``v << 2*sf``. All are done, whether they still change r or not, and r is
        what the last one leaves, as in I-BERT and I-ViT: too large where they are too few. The root
        of 0 is 0.
    root_start_bits
        the steps start from 2^root_start_bits (I-ViT: 16, and 10 steps), or where it is 0 from
        2^ceil(bits / 2), bits being the width of V
    beta_shift
        the fraction bits of the product that beta lacks
    """

    constant_fields: ClassVar[tuple[str, ...]] = (
        "channel_multiplier",
        "channel_shift",
        "gamma",
        "beta",
    )

    a: TensorId
    channel_multiplier: TensorId | None
    channel_shift: TensorId | None
    gamma: TensorId
    beta: TensorId
    epsilon: int
    sqrt_fraction_bits: int
    reciprocal_bits: int
    normalized_fraction_bits: int
    shift: int
    rounding: Rounding
    overflow: Overflow
    root_steps: int = added(0)
    root_start_bits: int = added(0)
    beta_shift: int = added(0)


def spare_reciprocal_bits(op: LayerNorm | L2Norm) -> int:
    """Return the right shift from a product with the reciprocal to a normalized value."""
    return op.reciprocal_bits - op.sqrt_fraction_bits - op.normalized_fraction_bits


def _reciprocal_rules(op: LayerNorm | L2Norm) -> Iterator[str]:
    yield from within("reciprocal_bits", op.reciprocal_bits, 0, LARGEST_SHIFT)
    if min(op.sqrt_fraction_bits, op.normalized_fraction_bits, spare_reciprocal_bits(op)) < 0:
        yield "fraction bits and the spare reciprocal bits must not be negative"


def _layernorm_rules(_: IntGraph, op: LayerNorm) -> Iterator[str]:
    yield from _reciprocal_rules(op)
    if op.epsilon < 0:
        yield f"epsilon {op.epsilon}: must not be negative"
    yield from within("root_steps", op.root_steps, 0, 64)
    yield from within("root_start_bits", op.root_start_bits, 0, 31)
    if op.root_start_bits and not op.root_steps:
        yield "root_start_bits without root_steps: an exact root has no start"


def _layernorm_intermediates(graph: IntGraph, op: LayerNorm) -> Iterator[Intermediate]:
    row = RowBounds.of(centred_range(graph, op.a), _channel_factors(graph, op))
    yield Intermediate("centred", row.values)
    yield Intermediate("sum", row.sum)
    squares = row.square_sum
    # The emulator multiplies the sum of squares by C before it takes the squared sum away.
    yield Intermediate("square_sum", squares, (0, row.channels * squares[1] + op.epsilon))
    variance = op.epsilon, row.largest_variance + op.epsilon
    yield Intermediate("variance", variance)
    radicand = shifted_left(variance, 2 * op.sqrt_fraction_bits)
    yield Intermediate("radicand", radicand)
    root = root_bounds(radicand, op.root_steps, op.root_start_bits)
    yield Intermediate("root", root)
    inverse = reciprocal_bounds(op.reciprocal_bits, root)
    yield Intermediate("reciprocal", inverse, (0, 1 << op.reciprocal_bits))
    deviation = row.deviation
    yield Intermediate("deviation", deviation)
    # d != 0 only with a variance of 1 or more, before epsilon; then r is not below this.
    least_root = max(isqrt(op.epsilon + 1 << 2 * op.sqrt_fraction_bits), 1)
    largest = largest_normalized(_kept_bits(op), row.channels - 1, least_root)
    product = (
        max(-largest, deviation[0] * inverse[1]),
        min(largest, deviation[1] * inverse[1]),
    )
    yield Intermediate("normalized_product", product)
    normalized = shifted_right(product, spare_reciprocal_bits(op))
    yield Intermediate("normalized", normalized)
    terms = Channels.all_alike(normalized).times(graph.constants[op.gamma])
    beta = graph.constants[op.beta].astype(object) * (1 << op.beta_shift)
    scaled = terms.plus(Channels(beta, beta)).interval
    yield from shifted(graph, op, scaled, terms.interval)


def _kept_bits(op: LayerNorm | L2Norm) -> int:
    """Return the fraction bits of the product with the reciprocal."""
    return op.reciprocal_bits - op.sqrt_fraction_bits


def _channel_factors(graph: IntGraph, op: LayerNorm) -> list[int]:
    """Return ``multiplier << shift`` of each channel."""
    factors = [1] * graph.tensors[op.a].shape[-1]
    if op.channel_multiplier is not None:
        factors = [int(m) for m in graph.constants[op.channel_multiplier]]
    if op.channel_shift is not None:
        shifts = graph.constants[op.channel_shift].tolist()
        factors = [m << shift for m, shift in zip(factors, shifts, strict=True)]
    return factors


def _layernorm_text(graph: IntGraph, op: LayerNorm) -> str:
    factors = ""  # the range of each kind that channels have: `` × 3..255 << 0..2``
    for sign, name in (("×", op.channel_multiplier), ("<<", op.channel_shift)):
        if name is not None:
            codes = graph.constants[name]
            factors += f" {sign} {codes.min()}..{codes.max()}"
    beta = f"(β << {op.beta_shift})" if op.beta_shift else "β"
    return (
        f"{op.a}{factors}   {_root_text(op)}, 2^-{op.sqrt_fraction_bits}; normalized "
        f"2^-{op.normalized_fraction_bits} × γ + {beta} >> {op.shift} {op.rounding} {op.overflow}"
    )


def _root_text(op: LayerNorm) -> str:
    if not op.root_steps:
        return "isqrt exact"
    start = f" from 2^{op.root_start_bits}" if op.root_start_bits else ""
    return f"isqrt {op.root_steps} Newton steps{start}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerNormBisection(Op):
    """Layer normalization over the last dimension, C channels, by whole-number means and divisions.

    ``/`` is C's division: it drops the fraction, toward zero::

        u[c] = a[c] - z_a
        mean = sum(u) / C
        r    = floor(sqrt(sum((u - mean)^2) / C + 1))             by bisection, exact
        y[c] = fit(round((u[c] - mean) * weight[c] / r + bias[c] >> shift) + z_y)

    The mean is a whole code, and with 1 added to the variance a constant row divides by 1.

    Source: Deeploy's 8-bit Layernorm: ``floor``, ``wrap``, z_y = 0.

    Attributes
    ----------
    weight, bias
        signed constants [C]: γ / s_y and β / s_y with ``shift`` fraction bits
    """

    constant_fields: ClassVar[tuple[str, ...]] = ("weight", "bias")

    a: TensorId
    weight: TensorId
    bias: TensorId
    shift: int
    rounding: Rounding
    overflow: Overflow


def _bisection_intermediates(graph: IntGraph, op: LayerNormBisection) -> Iterator[Intermediate]:
    low, high = centred_range(graph, op.a)
    channels = graph.tensors[op.a].shape[-1]
    yield Intermediate("centred", (low, high))
    yield Intermediate("sum", (channels * low, channels * high))
    yield Intermediate("mean", (low, high))
    # A mean lies between the lowest and the highest code, so no deviation is longer than their
    # distance. Twice the squares, because the bisection squares up to twice what it looks for.
    farthest = high - low
    yield Intermediate("deviation", (-farthest, farthest))
    # About the real mean at most C (distance / 2)^2, and it is less than 1 from the whole one.
    squares = min(channels * farthest**2, channels * farthest**2 // 4 + channels)
    yield Intermediate("square_sum", (0, squares), (0, 2 * (channels * farthest**2 + 1)))
    radicand = 1, squares // channels + 1
    yield Intermediate("radicand", radicand)
    yield Intermediate("root", (isqrt(radicand[0]), isqrt(radicand[1])))
    weights = [abs(int(weight)) for weight in graph.constants[op.weight]]
    product = farthest * max(weights)
    yield Intermediate("product", (-product, product))
    # deviation^2 <= sum of squares < C (r^2 + 2 r) <= 3 C r^2
    quotients = np.array(
        [min(farthest * each, isqrt(3 * channels * each**2)) for each in weights], object
    )
    quotient = int(quotients.max())
    yield Intermediate("quotient", (-quotient, quotient))
    bias = graph.constants[op.bias].astype(object)
    scaled = Channels(bias - quotients, bias + quotients).interval
    yield from shifted(graph, op, scaled, (-quotient, quotient))


def _bisection_text(_: IntGraph, op: LayerNormBisection) -> str:
    return f"{op.a}   whole mean and root × weight + bias >> {op.shift} {op.rounding} {op.overflow}"


@dataclass(frozen=True, slots=True, kw_only=True)
class L2Norm(Op):
    """L2 normalization over the last dimension: each row divided by its length.

    ::

        u[c] = a[c] - z_a
        r    = max(isqrt(sum(u²) << 2*sqrt_fraction_bits), epsilon, 1)      floor of the root
        i    = floor(2^reciprocal_bits / r)
        n[c] = u[c] * i >> (reciprocal_bits - sqrt_fraction_bits - normalized_fraction_bits)   floor
        y[c] = fit(round(n[c] * gain[h] >> shift) + z_y)

    n is the normalized value in fixed point, the root and the reciprocal are those of LayerNorm
    without the mean. A row of zeros stays zeros.

    Attributes
    ----------
    gain
        unsigned constant, [1] or one factor for each index h of dimension -3 (the heads of
        attention): the gain over s_y, with ``shift - normalized_fraction_bits`` fraction bits
    epsilon
        least length of a row, with ``sqrt_fraction_bits`` fraction bits

    Source: cosine attention of Swin Transformer V2 (arXiv 2111.09883), ``x / max(‖x‖, ε)`` as in
    ``torch.nn.functional.normalize``.
    """

    constant_fields: ClassVar[tuple[str, ...]] = ("gain",)

    a: TensorId
    gain: TensorId
    epsilon: int
    sqrt_fraction_bits: int
    reciprocal_bits: int
    normalized_fraction_bits: int
    shift: int
    rounding: Rounding
    overflow: Overflow


def _l2norm_rules(graph: IntGraph, op: L2Norm) -> Iterator[str]:
    yield from _reciprocal_rules(op)
    yield from within("epsilon", op.epsilon, 0, (1 << 31) - 1)
    gains, shape = graph.tensors[op.gain].shape, graph.result(op).shape
    if gains != (1,) and gains != shape[-3:-2]:
        yield f"gain {op.gain} has shape {gains}, wanted (1,) or one for each index of {shape}[-3]"


def _l2norm_intermediates(graph: IntGraph, op: L2Norm) -> Iterator[Intermediate]:
    row = RowBounds.of(centred_range(graph, op.a), [1] * graph.tensors[op.a].shape[-1])
    yield Intermediate("centred", row.values)
    squares = row.square_sum
    yield Intermediate("square_sum", squares)
    radicand = shifted_left(squares, 2 * op.sqrt_fraction_bits)
    yield Intermediate("radicand", radicand)
    least = max(op.epsilon, 1)
    root = max(isqrt(radicand[0]), least), max(isqrt(radicand[1]), least)
    yield Intermediate("root", root)
    inverse = reciprocal_bounds(op.reciprocal_bits, root)
    yield Intermediate("reciprocal", inverse, (0, 1 << op.reciprocal_bits))
    # Codes that are not 0 have a root of 2^f or more.
    largest = largest_normalized(_kept_bits(op), 1, max(1 << op.sqrt_fraction_bits, least))
    product = (
        max(-largest, min(row.values[0], 0) * inverse[1]),
        min(largest, max(row.values[1], 0) * inverse[1]),
    )
    yield Intermediate("normalized_product", product)
    normalized = shifted_right(product, spare_reciprocal_bits(op))
    yield Intermediate("normalized", normalized)
    yield from shifted(graph, op, times(normalized, code_range(graph, op.gain)))


def _l2norm_text(graph: IntGraph, op: L2Norm) -> str:
    gains = graph.constants[op.gain]
    return (
        f"{op.a}   isqrt exact, 2^-{op.sqrt_fraction_bits}; normalized "
        f"2^-{op.normalized_fraction_bits} × {gains.min()}..{gains.max()} >> {op.shift} "
        f"{op.rounding} {op.overflow}"
    )


SPECS = (
    OpSpec(
        op=LayerNorm,
        name="layernorm",
        shape=same_shape,
        intermediates=_layernorm_intermediates,
        text=_layernorm_text,
        rate="layernorm",
        rules=_layernorm_rules,
        shifts=("shift", "beta_shift", "channel_shift"),
        multipliers=("channel_multiplier",),
        per_channel=("gamma", "beta", "channel_multiplier", "channel_shift"),
    ),
    OpSpec(
        op=LayerNormBisection,
        name="layernorm_bisection",
        shape=same_shape,
        intermediates=_bisection_intermediates,
        text=_bisection_text,
        rate="layernorm",
        shifts=("shift",),
        per_channel=("bias", "weight"),
    ),
    OpSpec(
        op=L2Norm,
        name="l2norm",
        shape=same_shape,
        intermediates=_l2norm_intermediates,
        text=_l2norm_text,
        rate="layernorm",
        rules=_l2norm_rules,
        shifts=("shift",),
        multipliers=("gain",),
        own_shapes=("gain",),
    ),
)
