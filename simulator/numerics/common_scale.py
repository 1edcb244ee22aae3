# SPDX-License-Identifier: Apache-2.0
"""Constants of ops that bring two operands to one scale first: AddShifted, SquaredDifference."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from simulator.numerics.fixed_point import q31_multiplier_and_shift

ADD_LEFT_SHIFT = {8: 20, 16: 15}  # by bits of the operands, in TFLite's ADD and SUB
SQUARE_LEFT_SHIFT = {8: 7, 16: 0}  # in TFLite's SQUARED_DIFFERENCE


class CommonScale(NamedTuple):
    """Fields of such an op: the factors of a, of b and of the result, each of 31 bits."""

    input_left_shift: int
    multiplier_a: int
    shift_a: int
    multiplier_b: int
    shift_b: int
    multiplier: int
    shift: int


def _common_scale(
    scale_a: float, scale_b: float, left_shift: int, numerator_power: int, scale_y: float
) -> CommonScale:
    # Scales are float32 in a TFLite file; the quotients are taken in float64.
    a, b, y = (float(np.float32(scale)) for scale in (scale_a, scale_b, scale_y))
    common = 2 * max(a, b)
    result = common**numerator_power / ((1 << left_shift * numerator_power) * y)
    pairs = (q31_multiplier_and_shift(factor) for factor in (a / common, b / common, result))
    return CommonScale(left_shift, *(number for pair in pairs for number in pair))


def sum_constants(
    scale_a: float, scale_b: float, scale_y: float, input_left_shift: int
) -> CommonScale:
    """Return the constants of TFLite's ADD and SUB.

    With T = 2 max(s_a, s_b): s_a / T, s_b / T and T / (2^left_shift s_y).
    """
    return _common_scale(scale_a, scale_b, input_left_shift, 1, scale_y)


def squared_difference_constants(
    scale_a: float, scale_b: float, scale_y: float, input_left_shift: int
) -> CommonScale:
    """Return the constants of TFLite's SQUARED_DIFFERENCE.

    With T = 2 max(s_a, s_b): s_a / T, s_b / T and T² / (2^(2 left_shift) s_y).
    """
    return _common_scale(scale_a, scale_b, input_left_shift, 2, scale_y)
