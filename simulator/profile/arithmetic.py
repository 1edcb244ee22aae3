# SPDX-License-Identifier: Apache-2.0
"""Tables of a profile that decide how matrix products are stored, summed up and rescaled."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_serializer, model_validator

from simulator.numerics.accumulator import (
    Accumulator,
    AccumulatorLevel,
    BiasStage,
    OverflowPolicy,
)
from simulator.numerics.fixed_point import LARGEST_SHIFT
from simulator.numerics.hadamard_orders import LARGEST_ORDER
from simulator.numerics.integer_type import Overflow
from simulator.numerics.rescaling import Arithmetic, LeftShift, RescaleRule, ZeroPointStage
from simulator.numerics.rounding import DoubleRounding, Rounding
from simulator.profile.aliases import normalised, normalised_overflow
from simulator.profile.section import AS_TEXT, LARGEST_GROUP, Section

Scales = Literal["any", "power_of_two"]
Granularity = Literal["per_tensor", "per_channel"]


class ActivationSection(Section):
    """Activations: every tensor between two ops.

    Attributes
    ----------
    bits
        width of what the vector unit reads and writes
    operand_bits
        width of the operands of matrix products, that of the others where it is absent. The array
        reads both widths: pixels have at least 8 bits
    residual_bits
        width of the residual stream
    output_bits
        width of the network's result, which no other op reads; where it is absent, that of the
        vector unit or 8, whichever is more
    """

    bits: Annotated[int, Field(ge=3, le=16)]
    operand_bits: Annotated[int, Field(ge=3, le=16)] | None = None
    residual_bits: Annotated[int, Field(ge=8, le=16)]
    output_bits: Annotated[int, Field(ge=8, le=16)] | None = None
    zero_point: Literal["symmetric", "asymmetric"]
    granularity: Granularity = "per_channel"
    scale: Scales = "any"

    @model_validator(mode="after")
    def _operands_are_no_wider(self) -> Self:
        if self.operand_width > self.bits:
            raise ValueError(
                f"operand_bits = {self.operand_bits}: operands are no wider than what the vector "
                f"unit writes, bits = {self.bits}"
            )
        return self

    @property
    def operand_width(self) -> int:
        """Width of the operands of matrix products."""
        return self.bits if self.operand_bits is None else self.operand_bits


class DynamicSection(Section):
    """Steps of matrix products' operands that are found as the chip runs.

    ``row_scale``: one for each row (token, or token and head), applied to the sums. ``block``:
    a power of two for each so many terms of a sum, whose partial sum is shifted; 0: there are none.
    ``block_trim``: powers of two, of blocks and of rows, are made of a largest magnitude m as
    ``m - (m >> block_trim)``; 0: of m itself.
    """

    row_scale: Literal["power_of_two", "multiplier"] | None = None
    block: Annotated[int, Field(ge=0, le=1 << 16)] = 0
    block_trim: Annotated[int, Field(ge=0, le=7)] = 0

    @model_validator(mode="after")
    def _blocks_are_powers_of_two(self) -> Self:
        if self.block and (self.block < 8 or self.block & (self.block - 1)):
            raise ValueError(f"block = {self.block}: must be 0 or a power of two of 8 to 2^16")
        return self

    @model_validator(mode="after")
    def _only_powers_of_two_are_trimmed(self) -> Self:
        if self.block_trim and not self.block and self.row_scale != "power_of_two":
            raise ValueError(
                f"block_trim = {self.block_trim}: has no effect without block or "
                'row_scale = "power_of_two"'
            )
        return self


class HadamardSection(Section):
    """Rotations of activations by Hadamard matrices, as the chip runs.

    ``largest_order``: of the matrix, which is that of how many channels are rotated together.
    """

    largest_order: Annotated[int, Field(ge=2, le=LARGEST_ORDER)]


class WeightSection(Section):
    """Weights of matrix products."""

    bits: Annotated[list[Annotated[int, Field(ge=2, le=8)]], Field(min_length=1)]
    granularity: Granularity
    scale: Scales = "any"


def _products_in_group(value: object) -> object:
    """Read a group size; the graph writes "all" as 0."""
    if value == "all":
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= LARGEST_GROUP:
        raise ValueError('must be "all" or a whole number of 1 to 2^30')
    return value


class LevelSection(Section):
    """One level of partial sums, innermost first: ``group`` products, a register of ``bits``."""

    group: Annotated[int, BeforeValidator(_products_in_group)]
    bits: Annotated[int, Field(ge=8, le=64)]
    overflow: Annotated[Literal["wrap", "saturate"], BeforeValidator(normalised_overflow)]

    @field_serializer("group")
    def _as_written(self, group: int) -> int | str:
        return group or "all"

    def level(self) -> AccumulatorLevel:
        """Return the level as the graph holds it."""
        return AccumulatorLevel(group=self.group, bits=self.bits, overflow=Overflow(self.overflow))


class AccumulatorSection(Section):
    """Accumulation of products."""

    levels: Annotated[list[LevelSection], Field(min_length=1)]
    # The only order there is; kept because the sha256 of profiles hangs on it.
    order: Literal["k_ascending"] = "k_ascending"
    bias: Annotated[BiasStage, AS_TEXT]
    bias_bits: Annotated[int, Field(ge=8, le=48)]
    policy: Annotated[OverflowPolicy, AS_TEXT] = OverflowPolicy.APPLY

    @model_validator(mode="after")
    def _levels_nest(self) -> AccumulatorSection:
        problems = self.accumulator().problems()
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def accumulator(self) -> Accumulator:
        """Return the accumulator as the graph holds it."""
        return Accumulator(
            levels=tuple(level.level() for level in self.levels),
            bias=self.bias,
            policy=self.policy,
        )


Derivation = Literal["normalized", "q31", "q15", "fraction_8"]
# Bits of the multipliers that a derivation makes, where it decides that.
MULTIPLIER_BITS = {"q31": 31, "q15": 15}


class RescaleSection(Section):
    """Requantization of a sum to a code: times a factor, rounded, fitted.

    ``kind``: in fixed point (a multiplier and a right shift), by a power of two (a shift), or in
    float. ``derivation``: how a real factor becomes a multiplier and a shift. ``scale_type``: the
    type in which scales are held and, with ``float32_product``, in which those of two operands are
    multiplied, or with ``float32_ratio``, in which the whole factor is computed.
    """

    kind: Literal["fixed_point", "power_of_two", "float32", "float64"] = "fixed_point"
    multiplier_bits: Annotated[int, Field(ge=1, le=31)]
    shift: Annotated[
        list[Annotated[int, Field(ge=0, le=LARGEST_SHIFT)]],
        Field(min_length=2, max_length=2, default_factory=lambda: [0, LARGEST_SHIFT]),
    ]
    derivation: Derivation = "normalized"
    scale_type: Literal["float64", "float32", "float32_product", "float32_ratio"] = "float64"
    rounding: Annotated[Rounding, AS_TEXT]
    double_rounding: Annotated[DoubleRounding, AS_TEXT] = DoubleRounding.NONE
    zero_point_stage: Annotated[ZeroPointStage, AS_TEXT] = ZeroPointStage.AFTER_ROUND
    left_shift: Annotated[LeftShift, AS_TEXT] = LeftShift.WIDEN
    overflow: Annotated[Overflow, AS_TEXT]

    @model_validator(mode="before")
    @classmethod
    def _vendors_words(cls, values: Any) -> Any:
        return normalised(values)

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        problems = []
        if self.shift[0] > self.shift[1]:
            problems.append(f"shift = {self.shift}: the smallest comes first")
        problems += self.rule.problems()
        fixed = self.arithmetic is Arithmetic.FIXED_POINT
        q31 = (self.kind, self.derivation) == ("fixed_point", "q31")
        if self.left_shift is LeftShift.WRAP and not q31 and fixed:
            problems.append(
                'left_shift = "wrap": belongs to kind = "fixed_point" and derivation = "q31", from '
                "whose shift of 31 it starts"
            )
        wanted = MULTIPLIER_BITS.get(self.derivation, self.multiplier_bits)
        if self.multiplier_bits != wanted:
            problems.append(f'multiplier_bits: derivation = "{self.derivation}" makes {wanted}')
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def arithmetic(self) -> Arithmetic:
        """In what products of sums and factors are computed."""
        floats = {"float32": Arithmetic.FLOAT32, "float64": Arithmetic.FLOAT64}
        return floats.get(self.kind, Arithmetic.FIXED_POINT)

    @property
    def rule(self) -> RescaleRule:
        """The table's choices as a graph holds them."""
        return RescaleRule(
            rounding=self.rounding,
            overflow=self.overflow,
            double_rounding=self.double_rounding,
            zero_point_stage=self.zero_point_stage,
            left_shift=self.left_shift,
            arithmetic=self.arithmetic,
        )
