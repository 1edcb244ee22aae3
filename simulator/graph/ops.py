# SPDX-License-Identifier: Apache-2.0
"""The operations of an IntGraph: pure data, every numeric choice a field.

Shapes are those of one image; the executor adds a batch dimension in front. An op's result is the
tensor that bears the op's name: its shape, type and zero point are declared there.
``fit(v)`` stores ``v`` in the result's type by the op's ``overflow`` rule, ``round(v >> n)`` shifts
right by the op's ``rounding`` mode, ``z_x`` is the zero point of tensor ``x``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from simulator.graph.float_ops import Dequantize, FloatFunction, Quantize
from simulator.graph.op import Op, Requantization, TensorId
from simulator.numerics.accumulator import Accumulator
from simulator.numerics.integer_type import Overflow
from simulator.numerics.rounding import Rounding

__all__ = [
    "FLOAT_OPS",
    "LAYOUT_OPS",
    "OP_TYPES",
    "Add",
    "Concat",
    "Dequantize",
    "FloatFunction",
    "LayerNorm",
    "Lookup",
    "MatMul",
    "Mean",
    "Op",
    "Quantize",
    "Requantization",
    "Rescale",
    "Reshape",
    "Slice",
    "Softmax",
    "TensorId",
    "Transpose",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class MatMul(Op):
    """Matrix product of an activation with weights or with another activation.

    acc[m, n] = bias[n] + sum_k a[m, k] * b[k, n]        in ``accumulator``, ascending k
    y[m, n]   = requantize(acc[m, n])

    With a residual r, the layer ends a branch and its sums go straight into the stream:

    y[m, n]   = fit(round(acc[m, n] * multiplier[n] + (r[m, n] - z_r) * f[n] >> shift[n]) + z_y)
    f[n]      = residual_multiplier[n] << shift[n] - residual_fraction_bits

    a : [..., M, K]  codes. Where its zero point is not 0, the lowering has folded
                     ``-z_a * sum_k b[k, n]`` into the bias: hardware multiplies plain codes.
    b : [..., K, N] or [..., N, K] with ``transpose_b``; weights are [K, N] or [N, K]
    bias : signed constant [N], at the scale of the accumulator; or none
    residual : activation of the result's shape, beside weights only; or none
    residual_multiplier : constant [1] or [N], with ``residual_fraction_bits`` the fixed-point form
        of s_r/s_y (a vector where Add_α balances channels)
    Two activations must both have zero point 0.
    Source of the residual: AOCQ (doi 10.1631/FITEE.2400994), Add_α fused into the layer: one
    rounding, where a MatMul and an Add have two.
    """

    operand_fields: ClassVar[tuple[str, ...]] = ("a", "b", "residual")
    constant_fields: ClassVar[tuple[str, ...]] = ("bias", "residual_multiplier")

    a: TensorId
    b: TensorId
    transpose_b: bool
    bias: TensorId | None
    accumulator: Accumulator
    requantize: Requantization
    residual: TensorId | None = None
    residual_multiplier: TensorId | None = None
    residual_fraction_bits: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescale(Op):
    """A tensor at another scale: y = requantize(a - z_a)."""

    a: TensorId
    requantize: Requantization


@dataclass(frozen=True, slots=True, kw_only=True)
class Add(Op):
    """Residual addition of two tensors with different scales.

    y = fit(round((a - z_a) * multiplier_a[c] + (b - z_b) * multiplier_b[c] >> shift) + z_y)

    a, b : same shape, or b a constant whose leading dimensions are broadcast
    multiplier_a, multiplier_b : constants [1] or [C], the fixed-point forms of s_a/s_y and s_b/s_y
        (a vector where Add_α balances channels)
    One rounding, after the sum: two would lose half a code (docs/decisions/0002).
    Source: AOCQ (doi 10.1631/FITEE.2400994), Add_α.
    """

    operand_fields: ClassVar[tuple[str, ...]] = ("a", "b")
    constant_fields: ClassVar[tuple[str, ...]] = ("multiplier_a", "multiplier_b")

    a: TensorId
    b: TensorId
    multiplier_a: TensorId
    multiplier_b: TensorId
    shift: int
    rounding: Rounding
    overflow: Overflow


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerNorm(Op):
    """Layer normalization over the last dimension with an exact integer square root.

    u[c]  = (a[c] - z_a) * channel_multiplier[c] << channel_shift[c]
    d[c]  = C * u[c] - sum(u)                              C² times the squared deviation is exact
    v     = C * sum(u²) - sum(u)² + epsilon                = C² (var + ε), in codes
    r     = isqrt(v << 2*sqrt_fraction_bits)               floor of the square root
    i     = floor(2^reciprocal_bits / max(r, 1))
    n[c]  = d[c] * i >> (reciprocal_bits - sqrt_fraction_bits - normalized_fraction_bits)   floor
    y[c]  = fit(round(n[c] * gamma[c] + beta[c] >> shift) + z_y)

    n is the normalized value in fixed point. beta carries β/s_y at ``shift`` fraction bits, gamma
    γ/s_y at ``shift - normalized_fraction_bits``, which n's own complete.
    channel_multiplier : constant [C], not negative, the whole-number α of LN_α (AOCQ); or none: 1
    channel_shift : unsigned constant [C], the power-of-two α of LN_α (FQ-ViT, AOCQ); or none: 0
    Source: FQ-ViT's integer form of the statistics (arXiv 2111.13824), with the division by the
    standard deviation kept in integers.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Softmax(Op):
    """Softmax over the last dimension with a table of exponentials (algorithm ``exp_table``).

    e[j] = table[max_j(a) - a[j]]
    i    = floor((2^reciprocal_bits + sum(e) / 2) / sum(e))     one division per row
    y[j] = fit(round(e[j] * i >> shift) + z_y)     shift = reciprocal_bits - log2(1 / s_y)

    table : unsigned constant, one entry for every difference of two codes of a: 2^bits entries
    """

    constant_fields: ClassVar[tuple[str, ...]] = ("table",)

    a: TensorId
    table: TensorId
    reciprocal_bits: int
    shift: int
    rounding: Rounding
    overflow: Overflow


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup(Op):
    """A function by table (GELU and others): y = table[a - lowest code of a].

    table : constant, one entry per code of a, lowest code first
    """

    constant_fields: ClassVar[tuple[str, ...]] = ("table",)

    a: TensorId
    table: TensorId


@dataclass(frozen=True, slots=True, kw_only=True)
class Mean(Op):
    """Mean over dimension ``axis``; the divisor is part of the multiplier.

    acc = sum over axis of (a - z_a)       in ``accumulator``, ascending index
    y   = requantize(acc)
    """

    a: TensorId
    axis: int
    accumulator: Accumulator
    requantize: Requantization


@dataclass(frozen=True, slots=True, kw_only=True)
class Concat(Op):
    """Concatenation along ``axis`` of tensors with one type and zero point."""

    operand_fields: ClassVar[tuple[str, ...]] = ("inputs",)

    inputs: tuple[TensorId, ...]
    axis: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice(Op):
    """The part ``start <= index < stop`` of dimension ``axis``."""

    a: TensorId
    axis: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reshape(Op):
    """The same codes in row-major order under another shape (that of the result)."""

    a: TensorId


@dataclass(frozen=True, slots=True, kw_only=True)
class Transpose(Op):
    """Dimensions permuted: dimension i of the result is dimension ``permutation[i]`` of a."""

    a: TensorId
    permutation: tuple[int, ...]


LAYOUT_OPS: tuple[type[Op], ...] = (Concat, Slice, Reshape, Transpose)
FLOAT_OPS: tuple[type[Op], ...] = (Quantize, Dequantize, FloatFunction)
OP_TYPES: dict[str, type[Op]] = {
    op.__name__: op
    for op in (MatMul, Rescale, Add, LayerNorm, Softmax, Lookup, Mean, *LAYOUT_OPS, *FLOAT_OPS)
}
