# SPDX-License-Identifier: Apache-2.0
"""Element-wise operations of particular targets: sums, products and functions.

In ops of two tensors, b may be a constant that lacks leading dimensions of a, and the last
dimension of either may be 1: it is then broadcast along the other's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from simulator.graph.op import Op, Requantization, TensorId
from simulator.numerics.integer_type import Overflow
from simulator.numerics.rounding import DoubleRounding, Rounding


@dataclass(frozen=True, slots=True, kw_only=True)
class AddShifted(Op):
    """Sum or difference of two tensors that are first brought to one scale.

    a' = round((a - z_a) * multiplier_a << input_left_shift >> shift_a)
    b' = round((b - z_b) * multiplier_b << input_left_shift >> shift_b)
    y  = fit(round((a' + b') * multiplier >> shift) + z_y)          a' - b' with ``subtract``

    Three roundings, each by ``rounding`` and ``double_rounding``. With T = 2 max(s_a, s_b) the
    factors are s_a / T, s_b / T and T / (2^input_left_shift s_y)
    (:func:`simulator.numerics.common_scale.sum_constants`).
    Source: ADD and SUB of TensorFlow Lite, its 8-bit operands shifted by 20, 16-bit ones by 15.
    """

    operand_fields: ClassVar[tuple[str, ...]] = ("a", "b")

    a: TensorId
    b: TensorId
    subtract: bool
    input_left_shift: int
    multiplier_a: int
    shift_a: int
    multiplier_b: int
    shift_b: int
    multiplier: int
    shift: int
    rounding: Rounding
    double_rounding: DoubleRounding
    overflow: Overflow

    @property
    def kind(self) -> str:
        """The op's name, which is that of what it computes."""
        return "sub_shifted" if self.subtract else "add_shifted"


@dataclass(frozen=True, slots=True, kw_only=True)
class SquaredDifference(Op):
    """Square of the difference of two tensors that are first brought to one scale.

    a', b' as in :class:`AddShifted`
    y = fit(round((a' - b')² * multiplier >> shift) + z_y)

    With T = 2 max(s_a, s_b) the factors are s_a / T, s_b / T and T² / (2^(2 input_left_shift) s_y)
    (:func:`simulator.numerics.common_scale.squared_difference_constants`).
    Source: SQUARED_DIFFERENCE of TensorFlow Lite (8-bit operands shifted by 7) and of TensorFlow
    Lite Micro (16-bit ones by 0).
    """

    operand_fields: ClassVar[tuple[str, ...]] = ("a", "b")

    a: TensorId
    b: TensorId
    input_left_shift: int
    multiplier_a: int
    shift_a: int
    multiplier_b: int
    shift_b: int
    multiplier: int
    shift: int
    rounding: Rounding
    double_rounding: DoubleRounding
    overflow: Overflow

    @property
    def kind(self) -> str:
        """The op's name in lower case."""
        return "squared_difference"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mul(Op):
    """Product of two tensors, element by element: y = requantize((a - z_a) * (b - z_b)).

    The factor of the requantization is s_a s_b / s_y.
    """

    operand_fields: ClassVar[tuple[str, ...]] = ("a", "b")

    a: TensorId
    b: TensorId
    requantize: Requantization


@dataclass(frozen=True, slots=True, kw_only=True)
class InterpolatedLookup(Op):
    """A function by a table of samples, with straight lines between them.

    i = (a - lowest code of a) >> fraction_bits            the interval
    f = (a - lowest code of a) & (2^fraction_bits - 1)     the place in it
    y = fit(round((table[i] << fraction_bits) + (table[i + 1] - table[i]) * f >> shift))

    table : constant of 2^(bits of a - fraction_bits) + 1 samples
    16-bit codes and 7 fraction bits make 513 samples. TOSA's TABLE keeps the fraction (shift 0, a
    32-bit result), TensorFlow Lite's 16-bit tables round it off (shift 7, ``half_up``). Both define
    it only where no two samples side by side differ by more than 16 bits hold; here they may.
    """

    constant_fields: ClassVar[tuple[str, ...]] = ("table",)

    a: TensorId
    table: TensorId
    fraction_bits: int
    shift: int
    rounding: Rounding
    overflow: Overflow

    @property
    def kind(self) -> str:
        """The op's name in lower case."""
        return "interpolated_lookup"


@dataclass(frozen=True, slots=True, kw_only=True)
class GeluPolynomial(Op):
    """GELU by a second-order polynomial for erf (algorithm ``ibert_poly``).

    q = max(a - z_a, clip_low)                                 or a - z_a, without clip_low
    d = min(|q|, clip) - clip
    L = wrap(sgn(q) * (d² + constant))                         constant - d² with ``negated``
    E = wrap((L >> erf_shift) + one >> sum_shift)              floor
    y = requantize(wrap(q * E))

    ``wrap`` keeps the low ``intermediate_bits`` bits; sgn(0) is 0.
    clip     : from this |q| on erf is 1: -b of the source, whose a, b, c are real coefficients
    constant : c, the polynomial's value at the clip
    one      : what 1.0 is worth in L >> erf_shift
    negated  : turns the sign of the polynomial. The source's leading coefficient is negative, and
        so is what its products are worth; with this and positive constants they are positive.
    Sources: I-BERT (arXiv 2101.01321), erf_shift 14; ITA, 26 bits, its Python model with clip_low
    -127; Gemmini, 32 bits; Deeploy, 32 bits, negated, sum_shift 1. Shifts are 0 where not named.
    Constants: :func:`simulator.numerics.polynomial_gelu.polynomial_gelu_constants`.
    """

    a: TensorId
    clip: int
    constant: int
    one: int
    negated: bool
    erf_shift: int
    sum_shift: int
    clip_low: int | None
    intermediate_bits: int
    requantize: Requantization

    @property
    def kind(self) -> str:
        """The op's name in lower case."""
        return "gelu_polynomial"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShiftGelu(Op):
    """GELU as x σ(1.702 x), exponentials by shifts (ShiftGELU); rows are the last dimension.

    x[j]   = a[j] - z_a,  m = max(x)
    exp(v) = floor((r / 2 + octave) * 2^(fraction_bits - h))
             w = max(v + floor(v / 2) - floor(v / 16), -fraction_bits * octave)
             h = floor(-w / octave),  r = w + h * octave
    t[j]   = min(exp(x[j] - m) + exp(-m), 2^31 - 1)
    σ[j]   = exp(x[j] - m) * floor((2^31 - 1) / t[j]) >> (32 - output_bits)      floor
    y[j]   = requantize(x[j] * σ[j])

    v + v/2 - v/16 is v log2(e), nearly; ``octave`` is the number of codes that halve the
    exponential, 1 / (1.702 s_a) rounded up. x σ is worth s_a / 2^(output_bits - 1).
    Source: I-ViT (arXiv 2207.01405): fraction_bits 23, output_bits 8. Its x0 is -octave.
    """

    a: TensorId
    octave: int
    fraction_bits: int
    output_bits: int
    requantize: Requantization

    @property
    def kind(self) -> str:
        """The op's name in lower case."""
        return "shift_gelu"


TWO_OPERAND_OPS: tuple[type[Op], ...] = (AddShifted, SquaredDifference, Mul)
ELEMENTWISE_OPS: tuple[type[Op], ...] = (
    *TWO_OPERAND_OPS,
    InterpolatedLookup,
    GeluPolynomial,
    ShiftGelu,
)
