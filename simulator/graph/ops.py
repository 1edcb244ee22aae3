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

from simulator.graph.elementwise_ops import (
    ELEMENTWISE_OPS,
    TWO_OPERAND_OPS,
    AddShifted,
    GeluPolynomial,
    InterpolatedLookup,
    Mul,
    ShiftGelu,
    SquaredDifference,
)
from simulator.graph.float_ops import Dequantize, FloatFunction, Quantize
from simulator.graph.normalization_ops import LayerNormBisection
from simulator.graph.op import Op, Requantization, TensorId, added
from simulator.graph.softmax_ops import (
    Normalisation,
    Shiftmax,
    SoftmaxFloatTable,
    SoftmaxGemmlowp,
    SoftmaxIBert,
    SoftmaxIta,
    SoftmaxLog2,
    SoftmaxLut513,
)
from simulator.numerics.accumulator import Accumulator
from simulator.numerics.integer_type import Overflow
from simulator.numerics.rounding import Rounding

__all__ = [
    "ELEMENTWISE_OPS",
    "FLOAT_OPS",
    "LAYOUT_OPS",
    "OP_TYPES",
    "SOFTMAX_OPS",
    "TWO_OPERAND_OPS",
    "Add",
    "AddShifted",
    "Concat",
    "Dequantize",
    "FloatFunction",
    "GeluPolynomial",
    "InterpolatedLookup",
    "LayerNorm",
    "LayerNormBisection",
    "Lookup",
    "MatMul",
    "Mean",
    "Mul",
    "Normalisation",
    "Op",
    "Quantize",
    "Requantization",
    "Rescale",
    "Reshape",
    "ShiftGelu",
    "Shiftmax",
    "Slice",
    "Softmax",
    "SoftmaxFloatTable",
    "SoftmaxGemmlowp",
    "SoftmaxIBert",
    "SoftmaxIta",
    "SoftmaxLog2",
    "SoftmaxLut513",
    "SquaredDifference",
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

    a, b : same shape, or b a constant that is repeated along dimensions of a which it lacks, or in
        which it has extent 1; the last dimensions are equal
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
    r     = isqrt(v << 2*sqrt_fraction_bits)               floor of the square root; or Newton's
    i     = floor(2^reciprocal_bits / max(r, 1))
    n[c]  = d[c] * i >> (reciprocal_bits - sqrt_fraction_bits - normalized_fraction_bits)   floor
    y[c]  = fit(round(n[c] * gamma[c] + (beta[c] << beta_shift) >> shift) + z_y)

    n is the normalized value in fixed point. beta carries β/s_y at ``shift - beta_shift`` fraction
    bits, gamma γ/s_y at ``shift - normalized_fraction_bits``, which n's own complete.
    channel_multiplier : constant [C], not negative, the whole-number α of LN_α (AOCQ); or none: 1
    channel_shift : unsigned constant [C], the power-of-two α of LN_α (FQ-ViT, AOCQ); or none: 0
    root_steps : 0, an exact root, or the number of steps ``r <- floor((r + floor(V / r)) / 2)``
        that approach the root of V = v << 2*sqrt_fraction_bits. All are done, and r is what the
        last one leaves, as in I-BERT and I-ViT: too large where they are too few.
    root_start_bits : the steps start from 2^root_start_bits (I-ViT: 16, and 10 steps), or where it
        is 0 from 2^ceil(bits / 2), bits being the width of V
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
    root_steps: int = added(0)
    root_start_bits: int = added(0)
    beta_shift: int = added(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Softmax(Op):
    """Softmax over the last dimension with a table of exponentials (algorithm ``exp_table``).

    e[j] = table[max_j(a) - a[j]]
    i    = floor((2^reciprocal_bits + sum(e) / 2) / sum(e))     one division per row
    y[j] = fit(round(e[j] * i >> shift) + z_y)     shift = reciprocal_bits - log2(1 / s_y)

    With ``normalisation`` division there is no reciprocal, and one division per element:

    y[j] = fit(round(e[j] * 2^(reciprocal_bits - shift) / sum(e)) + z_y)

    table : unsigned constant, one entry for every difference of two codes of a: 2^bits entries
    """

    constant_fields: ClassVar[tuple[str, ...]] = ("table",)

    a: TensorId
    table: TensorId
    reciprocal_bits: int
    shift: int
    rounding: Rounding
    overflow: Overflow
    normalisation: Normalisation = added(Normalisation.RECIPROCAL)


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

    keep_dimension : the dimension stays, with one element
    TensorFlow Lite's multiplier: :func:`simulator.numerics.fixed_point.mean_multiplier_and_shift`.
    """

    a: TensorId
    axis: int
    accumulator: Accumulator
    requantize: Requantization
    keep_dimension: bool = added(False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Concat(Op):
    """Concatenation along ``axis`` of tensors with one type and zero point."""

    operand_fields: ClassVar[tuple[str, ...]] = ("inputs",)

    inputs: tuple[TensorId, ...]
    axis: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice(Op):
    """The part ``start <= index < stop`` of dimension ``axis``, every ``step``-th element of it."""

    a: TensorId
    axis: int
    start: int
    stop: int
    step: int = added(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reshape(Op):
    """The same codes in row-major order under another shape (that of the result)."""

    a: TensorId


@dataclass(frozen=True, slots=True, kw_only=True)
class Transpose(Op):
    """Dimensions permuted: dimension i of the result is dimension ``permutation[i]`` of a."""

    a: TensorId
    permutation: tuple[int, ...]


SOFTMAX_OPS: tuple[type[Op], ...] = (
    Softmax,
    SoftmaxGemmlowp,
    SoftmaxLut513,
    SoftmaxFloatTable,
    SoftmaxIBert,
    Shiftmax,
    SoftmaxIta,
    SoftmaxLog2,
)
LAYOUT_OPS: tuple[type[Op], ...] = (Concat, Slice, Reshape, Transpose)
FLOAT_OPS: tuple[type[Op], ...] = (Quantize, Dequantize, FloatFunction)
OP_TYPES: dict[str, type[Op]] = {
    op.__name__: op
    for op in (
        MatMul,
        Rescale,
        Add,
        LayerNorm,
        LayerNormBisection,
        *SOFTMAX_OPS,
        Lookup,
        Mean,
        *ELEMENTWISE_OPS,
        *LAYOUT_OPS,
        *FLOAT_OPS,
    )
}
