# SPDX-License-Identifier: Apache-2.0
"""The choices that targets make when they rescale, and which of them go together."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from simulator.numerics.added_field import added
from simulator.numerics.integer_type import Overflow
from simulator.numerics.rounding import DoubleRounding, Rounding, double_rounding_problem


class Arithmetic(StrEnum):
    """In what the product of a sum and its factor is computed."""

    FIXED_POINT = "fixed_point"  # integer multiplier, right shift
    FLOAT32 = "float32"  # XNNPACK, ONNX Runtime, Gemmini
    FLOAT64 = "float64"  # LiteRT's reference fully connected layer


class ZeroPointStage(StrEnum):
    """Stage at which the result's zero point is added: to the rounded code, or before rounding."""

    AFTER_ROUND = "after_round"  # TFLite, TOSA, ONNX Runtime
    BEFORE_ROUND = "before_round"  # the reference implementation of ONNX, Ascend


class LeftShift(StrEnum):
    """Treatment of a factor of 1 or more, whose shift is below 31."""

    WIDEN = "widen"  # the shift is smaller, the product as wide as it needs; TOSA
    WRAP = "wrap"  # the sum is shifted left in 32 bits, which wrap, then 31 to the right; TFLite


@dataclass(frozen=True, slots=True, kw_only=True)
class RescaleRule:
    """Rules by which a sum becomes a code, apart from the factor itself.

    Attributes
    ----------
    rounding, double_rounding
        what becomes of the fraction; ``symmetric``, ``asymmetric``: first at bit 31, then at the
        shift
    overflow
        what becomes of codes outside their type
    zero_point_stage
        ``before_round``: the zero point is part of what is rounded
    left_shift
        ``wrap``: a shift below 31 is a left shift of the sum in 32 bits, which wraps, before a
        shift by 31
    arithmetic
        ``float32``, ``float64``: the factor is a number of that type, and so is its product with
        the sum
    """

    rounding: Rounding
    overflow: Overflow
    double_rounding: DoubleRounding = added(DoubleRounding.NONE)
    zero_point_stage: ZeroPointStage = added(ZeroPointStage.AFTER_ROUND)
    left_shift: LeftShift = added(LeftShift.WIDEN)
    arithmetic: Arithmetic = added(Arithmetic.FIXED_POINT)

    def problems(self) -> list[str]:
        """Return which choices do not go together, empty if all do."""
        problem = double_rounding_problem(self.rounding, self.double_rounding)
        found = [] if problem is None else [problem]
        if self.arithmetic is not Arithmetic.FIXED_POINT:
            if self.overflow is Overflow.WRAP:
                found.append(
                    f'overflow = "wrap": a rescaling in {self.arithmetic} saturates, it has no '
                    "low bits to keep"
                )
            if (self.double_rounding, self.left_shift) != (DoubleRounding.NONE, LeftShift.WIDEN):
                found.append(
                    f"double_rounding, left_shift: a factor in {self.arithmetic} has no shift"
                )
        return found

    def check(self) -> None:
        """Refuse choices that do not go together.

        Raises
        ------
        ValueError
            If :meth:`problems` finds any: all of them in one message.
        """
        found = self.problems()
        if found:
            raise ValueError("; ".join(found))
