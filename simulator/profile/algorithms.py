# SPDX-License-Identifier: Apache-2.0
"""Tables of a profile that name an algorithm, with its constants."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from simulator.numerics.rounding import Rounding
from simulator.numerics.softmax_normalisation import Normalisation
from simulator.profile.chip_tables import ChipTable, CodeTable, ExponentialTable, SampleTable
from simulator.profile.section import AS_TEXT, LARGEST_GROUP, Section

ProbabilityBits = Annotated[int, Field(ge=3, le=16)]


class ExpTableSoftmax(Section):
    """A table of exponentials; one reciprocal per row, or one division per element.

    ``table``: the chip's own, instead of one for the scale of each softmax's scores.
    """

    algorithm: Literal["exp_table"]
    table_bits: Annotated[int, Field(ge=8, le=31)]
    reciprocal_bits: Annotated[int, Field(ge=16, le=60)]
    output_bits: ProbabilityBits
    normalisation: Annotated[Normalisation, AS_TEXT] = Normalisation.RECIPROCAL
    table: ExponentialTable | None = None

    @model_validator(mode="after")
    def _reciprocal_resolves_table(self) -> Self:
        if self.reciprocal_bits < self.table_bits + self.output_bits:
            raise ValueError(
                f"reciprocal_bits = {self.reciprocal_bits}: must be at least table_bits + "
                f"output_bits = {self.table_bits + self.output_bits}"
            )
        return self


class GemmlowpSoftmax(Section):
    """Fixed point Q5.26, as TFLite's reference kernels, TFLite Micro and CMSIS-NN."""

    algorithm: Literal["gemmlowp_q5_26"]
    output_bits: Literal[8, 16]


class Lut513Softmax(Section):
    """Two interpolated tables of 513 entries: 16-bit scores of TFLite.

    ``exponential_table``, ``reciprocal_table``: the chip's own, for scores of any scale.
    """

    algorithm: Literal["lut513_q15"]
    output_bits: Literal[15]
    exponential_table: ChipTable | None = None
    reciprocal_table: ChipTable | None = None


class FloatTableSoftmax(Section):
    """A table of float32 exponentials, a float32 sum: LiteRT's optimized kernels, ESP-DL."""

    algorithm: Literal["float32_table"]
    output_bits: ProbabilityBits
    rounding: Annotated[Rounding, AS_TEXT]


class IBertSoftmax(Section):
    """I-BERT's polynomial, in Deeploy's integer form."""

    algorithm: Literal["ibert_poly"]
    output_bits: ProbabilityBits


class ShiftmaxSoftmax(Section):
    """I-ViT's Shiftmax; ``largest_exponent`` is its n."""

    algorithm: Literal["shiftmax"]
    output_bits: ProbabilityBits
    largest_exponent: Annotated[int, Field(ge=1, le=30)]


class ItaSoftmax(Section):
    """ITA's streaming softmax: an octave is 2^octave_bits codes, maxima are found by groups."""

    algorithm: Literal["ita_shift"]
    output_bits: Literal[8]
    octave_bits: Annotated[int, Field(ge=0, le=8)]
    group: Annotated[int, Field(ge=1, le=LARGEST_GROUP)]


class Log2Softmax(Section):
    """FQ-ViT's log-int-softmax: codes of ``code_bits`` bits stand for powers of two."""

    algorithm: Literal["log2"]
    output_bits: ProbabilityBits
    code_bits: Annotated[int, Field(ge=2, le=5)]
    largest_exponent: Annotated[int, Field(ge=1, le=30)]


class DeferredLog2Softmax(Section):
    """Logarithms of exponentials as codes; the division comes after the product with the values.

    ``output_bits``: of a code; ``levels_per_octave``: codes in a factor of two. The reciprocal of a
    row's sum has ``reciprocal_bits`` fraction bits.
    """

    algorithm: Literal["deferred_log2"]
    output_bits: Annotated[int, Field(ge=3, le=8)]
    levels_per_octave: Literal[1, 2]
    reciprocal_bits: Annotated[int, Field(ge=16, le=40)]


class FloatSoftmax(Section):
    """Softmax stays an operator in float, outside the accelerator."""

    algorithm: Literal["float32"]
    output_bits: ProbabilityBits


SoftmaxSection = Annotated[
    ExpTableSoftmax
    | GemmlowpSoftmax
    | Lut513Softmax
    | FloatTableSoftmax
    | IBertSoftmax
    | ShiftmaxSoftmax
    | ItaSoftmax
    | Log2Softmax
    | DeferredLog2Softmax
    | FloatSoftmax,
    Field(discriminator="algorithm"),
]


class TableGelu(Section):
    """A table with one entry per code; ReLU and SiLU too.

    ``evaluated_in``: GELU in float64, rounded half up, or in float32, step by step, rounded half
    away from zero: TFLite's tables. ``table``: the chip's own, of GELU.
    """

    algorithm: Literal["table_256"]
    evaluated_in: Literal["float64", "float32"] = "float64"
    table: CodeTable | None = None


class InterpolatedGelu(Section):
    """A table of 513 samples with straight lines between them, for 16-bit codes.

    ``table``: the chip's own, of GELU.
    """

    algorithm: Literal["table_513"]
    table: SampleTable | None = None


class PolynomialGelu(Section):
    """I-BERT's polynomial for erf: ITA (26 bits), Gemmini (32), Deeploy (32).

    ``constants``: how its real coefficients become codes: ``nearest`` in ITA. Signs are such that
    products have a positive worth, so that ties and floors are mirrored against I-BERT's and ITA's.
    """

    algorithm: Literal["ibert_poly"]
    intermediate_bits: Annotated[int, Field(ge=16, le=32)]
    erf_shift: Annotated[int, Field(ge=0, le=20)]
    constants: Literal["floor", "nearest"] = "floor"


class ShiftPolynomialGelu(Section):
    """I-ViT's ShiftGELU."""

    algorithm: Literal["shift_gelu"]
    fraction_bits: Annotated[int, Field(ge=1, le=24)]


class FloatGelu(Section):
    """GELU stays an operator in float, outside the accelerator."""

    algorithm: Literal["float32"]


GeluSection = Annotated[
    TableGelu | InterpolatedGelu | PolynomialGelu | ShiftPolynomialGelu | FloatGelu,
    Field(discriminator="algorithm"),
]


class IntegerLayerNorm(Section):
    """Exact statistics, an integer square root and one reciprocal per row.

    ``channel_factor`` is what each channel's codes can be multiplied with before the statistics:
    nothing, ``2^k`` with k of ``channel_factor_bits`` bits, or a whole number of so many bits.

    The fraction bits are at most these: where the statistics of wide tensors leave less room in 64
    bits, the lowering takes as many as fit.
    """

    sqrt_fraction_bits: Annotated[int, Field(ge=0, le=24)]
    reciprocal_bits: Annotated[int, Field(ge=24, le=60)]
    normalized_fraction_bits: Annotated[int, Field(ge=8, le=32)]
    channel_factor: Literal["none", "shift", "multiplier"]
    channel_factor_bits: Annotated[int, Field(ge=2, le=16)]
    root_steps: Annotated[int, Field(ge=0, le=40)] = 0

    @model_validator(mode="after")
    def _steps_belong_to_newton(self) -> Self:
        if isinstance(self, NewtonLayerNorm) != (self.root_steps > 0):
            raise ValueError('root_steps: algorithm = "isqrt_newton" needs 1 or more, others none')
        return self


class ExactLayerNorm(IntegerLayerNorm):
    """Integer statistics with an exact root: the floor of the square root."""

    algorithm: Literal["isqrt_exact"]


class NewtonLayerNorm(IntegerLayerNorm):
    """Integer statistics with a root by ``root_steps`` steps of Newton's iteration.

    The steps start from ``2^root_start_bits``, or where that is 0 from a power of two at or above
    the root.
    """

    algorithm: Literal["isqrt_newton"]
    root_start_bits: Annotated[int, Field(ge=0, le=31)] = 0


class _WithoutFactors:
    """A LayerNorm that cannot tell channels apart before the statistics."""

    @property
    def channel_factor(self) -> Literal["none"]:
        """No factors."""
        return "none"

    @property
    def channel_factor_bits(self) -> int:
        """Width of the factors, had it any."""
        return 2


class GraphLayerNorm(_WithoutFactors, Section):
    """A graph of the target's element-wise operators, each with codes of its own.

    ``root_table``: the chip's own table of 1 / √x.
    """

    algorithm: Literal["graph"]
    part_bits: Literal[8, 16] = 8
    root_table: CodeTable | None = None


class PlainLayerNorm(_WithoutFactors, Section):
    """``isqrt_bisect``: whole-number mean and division, as Deeploy; ``float32``: in float."""

    algorithm: Literal["isqrt_bisect", "float32"]


LayerNormSection = Annotated[
    ExactLayerNorm | NewtonLayerNorm | GraphLayerNorm | PlainLayerNorm,
    Field(discriminator="algorithm"),
]


class ShiftedAdd(Section):
    """TFLite's sum of three roundings, operands shifted left by ``input_shift`` first."""

    algorithm: Literal["shifted_q31"]
    input_shift: Annotated[int, Field(ge=0, le=24)] = 20


class PlainAdd(Section):
    """``common_shift``: one rounding, after the sum; ``fixed_20``: XNNPACK's; ``float32``."""

    algorithm: Literal["common_shift", "fixed_20", "float32"]


AddSection = Annotated[ShiftedAdd | PlainAdd, Field(discriminator="algorithm")]


class MeanSection(Section):
    """Mean over tokens: the divisor in the multiplier.

    ``folded``: the factor of sums, as in every requantization; ``folded_q31``: TFLite's, which
    divides a Q31 multiplier; ``float32``: an operator in float.
    """

    algorithm: Literal["folded", "folded_q31", "float32"] = "folded"
