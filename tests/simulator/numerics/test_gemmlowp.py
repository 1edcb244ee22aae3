# SPDX-License-Identifier: Apache-2.0
"""gemmlowp's functions: kernel and reference, and what they approximate.

``tests/oracles/test_softmax.py`` compares them with gemmlowp.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.numerics import gemmlowp
from simulator.numerics.gemmlowp import (
    INT32_HIGH,
    INT32_LOW,
    exp_on_negative_values,
    exp_on_negative_values_kernel,
    reciprocal,
    reciprocal_kernel,
    rounding_divide_by_pot,
    rounding_divide_by_pot_kernel,
    saturating_rounding_doubling_high_mul,
    saturating_rounding_doubling_high_mul_kernel,
)

int32 = st.integers(INT32_LOW, INT32_HIGH) | st.sampled_from([INT32_LOW, -1, 0, 1, INT32_HIGH])
# Numbers at which exactly half a unit is cut off are hardly ever drawn.
halves = st.integers(0, 15).flatmap(
    lambda shift: st.integers(-(1 << 15), 1 << 15).map(lambda odd: (2 * odd + 1) << shift)
)


@given(int32 | halves, int32 | halves)
def test_products(a, b):
    expected = saturating_rounding_doubling_high_mul(a, b)
    assert INT32_LOW <= expected <= INT32_HIGH
    if (a, b) != (INT32_LOW, INT32_LOW):
        assert saturating_rounding_doubling_high_mul_kernel(np.int64(a), b) == expected


def test_products_of_halves_go_up_and_the_largest_is_clipped():
    for a, expected in ((1, 1), (-1, 0), (3, 2), (-3, -1)):
        assert saturating_rounding_doubling_high_mul(a, 1 << 30) == expected
    assert saturating_rounding_doubling_high_mul(INT32_LOW, INT32_LOW) == INT32_HIGH
    assert saturating_rounding_doubling_high_mul(INT32_LOW, INT32_HIGH) == -INT32_HIGH


@given(int32 | halves, st.integers(0, 45))
def test_quotients(value, exponent):
    expected = rounding_divide_by_pot(value, exponent)
    assert rounding_divide_by_pot_kernel(np.int64(value), np.int64(exponent)) == expected


def test_halves_go_away_from_zero():
    for exponent in (1, 2, 12, 31, 34):
        half = 1 << exponent - 1
        for function in (rounding_divide_by_pot, rounding_divide_by_pot_kernel):
            found = [function(halves * half, exponent) for halves in (-3, -2, -1, 0, 1, 2, 3)]
            assert found == [-2, -1, -1, 0, 1, 1, 2]
            assert [function(sign * (half - 1), exponent) for sign in (-1, 1)] == [0, 0]


quarters = st.integers(0, 127).map(lambda quarter: -(quarter << 24))
arguments = st.integers(INT32_LOW, 0) | quarters | quarters.map(lambda x: max(x - 1, INT32_LOW))


@given(arguments)
def test_exponentials(argument):
    found = exp_on_negative_values(argument)
    assert exp_on_negative_values_kernel(np.int64(argument)) == found
    real = np.exp(argument / 2.0**26) * 2.0**31
    assert abs(found - real) <= 5 * real / 2**24 + 10


@given(st.integers(1 << 19, INT32_HIGH) | st.integers(1, 1 << 20))
def test_reciprocals(total):
    found, exponent = reciprocal(total)
    scale, leading_zeros = reciprocal_kernel(np.int64(total))
    assert (scale, 12 - leading_zeros) == (found, exponent)
    # total is a sum in Q12.19: 1 / sum = found / 2^31 / 2^exponent
    real = 2.0**19 / total * 2.0 ** (31 + exponent)
    assert abs(found - real) <= 8


@pytest.mark.parametrize(
    ("total", "expected"), [(907215347, (1270835544, 10)), (512266369, (1125314456, 9))]
)
def test_reciprocals_that_another_newton_step_would_change(total, expected):
    """What ``one_over_one_plus_x_for_x_in_0_1`` of gemmlowp's fixedpoint.h gives."""
    assert reciprocal(total) == expected


def test_the_reciprocal_of_one_is_clipped():
    assert reciprocal(1 << 19) == (INT32_HIGH, 0)
    assert reciprocal(3 << 19)[1] == 1


@pytest.mark.parametrize("power", range(-2, 5))
def test_factors_are_rounded_exponentials(power):
    with localcontext() as context:
        context.prec = 40
        exact = (-(Decimal(2) ** power)).exp() * 2**31
        assert gemmlowp._EXP_FACTORS[power + 2] == int(exact.to_integral(ROUND_HALF_EVEN))


def test_other_constants_are_rounded_too():
    with localcontext() as context:
        context.prec = 40
        for constant, exact in (
            (gemmlowp._EXP_EIGHTH, Decimal("-0.125").exp() * 2**31),
            (gemmlowp._THIRD, Decimal(2**31) / 3),
            (gemmlowp._NEWTON_START, Decimal(48 * 2**29) / 17),
            (gemmlowp._NEWTON_SLOPE, Decimal(-32 * 2**29) / 17),
        ):
            assert constant == int(exact.to_integral(ROUND_HALF_EVEN))


@pytest.mark.parametrize(
    ("a", "expected"), [((1 << 30) - 1, 0), (1 << 30, 1), (-(1 << 30) - 1, -1)]
)
def test_a_high_product_beside_a_tie(a, expected):
    assert saturating_rounding_doubling_high_mul(a, 1) == expected
    assert saturating_rounding_doubling_high_mul_kernel(np.int64(a), np.int64(1)) == expected
