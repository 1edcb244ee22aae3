# SPDX-License-Identifier: Apache-2.0
"""The requantizations of targets, by our kernels: name, multiplier derivation, rounding."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.numerics.fixed_point import q15_multiplier_and_shift, q31_multiplier_and_shift
from simulator.numerics.integer_type import IntType, Overflow
from simulator.numerics.requantization import build_requantizer
from simulator.numerics.rescaling import Arithmetic, LeftShift, RescaleRule, ZeroPointStage
from simulator.numerics.rounding import DoubleRounding, Rounding

Integers = NDArray[np.integer[Any]]
# (sums [..., columns], real factors [1] or [columns], zero point, bits of the result) -> codes
Rule = Callable[[NDArray[np.int64], NDArray[np.float64], int, int], Integers]


def _fixed(
    derive: Callable[[float], tuple[int, int]],
    rounding: Rounding,
    double: DoubleRounding = DoubleRounding.NONE,
    left_shift: LeftShift = LeftShift.WRAP,
) -> Rule:
    def rule(
        sums: NDArray[np.int64], factors: NDArray[np.float64], zero_point: int, bits: int
    ) -> Integers:
        pairs = np.array([derive(float(factor)) for factor in factors], np.int64)
        kernel = build_requantizer(
            RescaleRule(
                rounding=rounding,
                overflow=Overflow.SATURATE,
                double_rounding=double,
                left_shift=left_shift,
            ),
            multiplier=pairs[:, 0],
            shift=pairs[:, 1],
            channels=sums.shape[-1],
            zero_point=zero_point,
            kind=IntType(bits=bits),
        )
        return kernel(sums)[0]

    return rule


def _real(
    arithmetic: Arithmetic,
    rounding: Rounding,
    stage: ZeroPointStage = ZeroPointStage.AFTER_ROUND,
) -> Rule:
    def rule(
        sums: NDArray[np.int64], factors: NDArray[np.float64], zero_point: int, bits: int
    ) -> Integers:
        kernel = build_requantizer(
            RescaleRule(
                rounding=rounding,
                overflow=Overflow.SATURATE,
                zero_point_stage=stage,
                arithmetic=arithmetic,
            ),
            multiplier=factors,
            shift=None,
            channels=sums.shape[-1],
            zero_point=zero_point,
            kind=IntType(bits=bits),
        )
        return kernel(sums)[0]

    return rule


SYMMETRIC, ASYMMETRIC = DoubleRounding.SYMMETRIC, DoubleRounding.ASYMMETRIC
RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "Q31 double symmetric": _fixed(q31_multiplier_and_shift, Rounding.HALF_UP, SYMMETRIC),
        "Q31 double asymmetric": _fixed(q31_multiplier_and_shift, Rounding.HALF_UP, ASYMMETRIC),
        "Q31 double symmetric, wide left shift": _fixed(
            q31_multiplier_and_shift, Rounding.HALF_UP, SYMMETRIC, LeftShift.WIDEN
        ),
        "Q31 half up": _fixed(q31_multiplier_and_shift, Rounding.HALF_UP),
        "Q31 half away": _fixed(q31_multiplier_and_shift, Rounding.HALF_AWAY),
        "Q15 half up": _fixed(
            q15_multiplier_and_shift, Rounding.HALF_UP, left_shift=LeftShift.WIDEN
        ),
        "Q15 half away": _fixed(
            q15_multiplier_and_shift, Rounding.HALF_AWAY, left_shift=LeftShift.WIDEN
        ),
        "float64 half away": _real(Arithmetic.FLOAT64, Rounding.HALF_AWAY),
        "float64 half even": _real(Arithmetic.FLOAT64, Rounding.HALF_EVEN),
        "float64 half up": _real(Arithmetic.FLOAT64, Rounding.HALF_UP),
        "float32 half even": _real(Arithmetic.FLOAT32, Rounding.HALF_EVEN),
        "float32 half away": _real(Arithmetic.FLOAT32, Rounding.HALF_AWAY),
        "float32 half even, zero point first": _real(
            Arithmetic.FLOAT32, Rounding.HALF_EVEN, ZeroPointStage.BEFORE_ROUND
        ),
        "float64 half even, zero point first": _real(
            Arithmetic.FLOAT64, Rounding.HALF_EVEN, ZeroPointStage.BEFORE_ROUND
        ),
    }
)


def by_rules(
    names: tuple[str, ...],
    sums: NDArray[np.int64],
    factors: NDArray[np.float64],
    zero_point: int,
    bits: int = 8,
) -> dict[str, Integers]:
    """Requantize by several rules."""
    return {name: RULES[name](sums, factors, zero_point, bits) for name in names}
