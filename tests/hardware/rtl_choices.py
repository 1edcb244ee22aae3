# SPDX-License-Identifier: Apache-2.0
"""The choices of units as their parameters have them, and the rules of the emulator's kernels."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

from simulator.export.rtl.instances import position
from simulator.numerics.integer_type import IntType, Overflow
from simulator.numerics.rescaling import LeftShift, RescaleRule, ZeroPointStage
from simulator.numerics.rounding import DoubleRounding, Rounding

S8 = IntType(bits=8)
U8 = IntType(bits=8, signed=False)

ROUNDINGS = [
    *((mode, DoubleRounding.NONE) for mode in Rounding),
    (Rounding.HALF_UP, DoubleRounding.SYMMETRIC),
    (Rounding.HALF_UP, DoubleRounding.ASYMMETRIC),
]


@dataclass(frozen=True, slots=True)
class Rescaling:
    """A rule and the type of its result."""

    rule: RescaleRule
    kind: IntType = S8

    @property
    def parameters(self) -> dict[str, int]:
        """Parameters of ``requantizer``."""
        return {
            "ROUNDING": position(self.rule.rounding),
            "DOUBLE_ROUNDING": position(self.rule.double_rounding),
            "OVERFLOW": position(self.rule.overflow),
            "ZERO_POINT_STAGE": position(self.rule.zero_point_stage),
            "LEFT_SHIFT": position(self.rule.left_shift),
            "OUT_BITS": self.kind.bits,
            "OUT_SIGNED": int(self.kind.signed),
        }

    @property
    def takes_residual(self) -> bool:
        """Whether a residual may join."""
        return (self.rule.zero_point_stage, self.rule.left_shift) == (
            ZeroPointStage.AFTER_ROUND,
            LeftShift.WIDEN,
        )

    @property
    def mode(self) -> str:
        """The rounding, in words."""
        double = self.rule.double_rounding
        return f"double {double}" if double is not DoubleRounding.NONE else self.rule.rounding


def every_rescaling() -> list[Rescaling]:
    """Return every rounding with every overflow, stage and left shift, and some other types."""
    found = [
        Rescaling(
            RescaleRule(
                rounding=rounding,
                double_rounding=double,
                overflow=overflow,
                zero_point_stage=stage,
                left_shift=left,
            )
        )
        for (rounding, double), overflow, stage, left in product(
            ROUNDINGS, Overflow, ZeroPointStage, LeftShift
        )
        if left is LeftShift.WIDEN or overflow is Overflow.SATURATE
    ]
    for (rounding, double), kind in zip(
        ROUNDINGS,
        [U8, IntType(bits=16), IntType(bits=4), IntType(bits=4, signed=False)] * 2,
        strict=True,
    ):
        rule = RescaleRule(rounding=rounding, double_rounding=double, overflow=Overflow.SATURATE)
        found.append(Rescaling(rule, kind))
    return found
