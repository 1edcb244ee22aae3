# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from fractions import Fraction
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.numerics.fixed_point import (
    mean_multiplier_and_shift,
    multiplier_and_shift,
)

bit_widths = st.integers(1, 31)


def factors_below(bits):
    """Factors that need no left shift, rounding included."""
    return st.floats(0, 2.0**bits - 1)


def distance(factor, multiplier, shift):
    return abs(Fraction(factor) - Fraction(multiplier, 1 << shift))


@pytest.mark.parametrize(
    ("factor", "bits", "expected"),
    [
        (0.0, 31, (0, 0)),
        (1.0, 31, (1 << 30, 30)),
        (1.0, 1, (1, 0)),
        (0.75, 8, (192, 8)),
        (1 / 3, 8, (171, 9)),  # 170.67
        (0.1, 31, (1717986918, 34)),
        (5 / 512, 2, (3, 8)),  # 2.5, a tie: away from zero
        (7 / 512, 2, (2, 7)),  # 3.5 is 4: one bit too many
        (1 - 2.0**-40, 31, (1 << 30, 30)),
        (100.0, 8, (200, 1)),
        (2.0**31 - 1, 31, ((1 << 31) - 1, 0)),
    ],
)
def test_known_factors(factor, bits, expected):
    assert multiplier_and_shift(factor, bits) == expected


@given(bit_widths.flatmap(lambda bits: st.tuples(factors_below(bits), st.just(bits))))
def test_error_is_at_most_half_a_unit_and_no_bit_is_wasted(factor_and_bits):
    factor, bits = factor_and_bits
    multiplier, shift = multiplier_and_shift(factor, bits)
    assert 0 <= shift <= 62
    assert 0 <= multiplier < 1 << bits
    assert distance(factor, multiplier, shift) <= Fraction(1, 2 << shift)
    assert multiplier >= 1 << (bits - 1) or shift == 62 or factor == 0


@given(bit_widths, st.integers(-62, 30))
def test_powers_of_two_are_exact(bits, exponent):
    factor = 2.0 ** min(exponent, bits - 1)
    multiplier, shift = multiplier_and_shift(factor, bits)
    assert Fraction(multiplier, 1 << shift) == Fraction(factor)


@pytest.mark.parametrize("bits", [1, 8, 31])
@pytest.mark.parametrize(
    ("factor", "multiplier"),
    [
        (2.0**-62, 1),
        (2.0**-63, 1),  # half a unit: away from zero
        (2.0**-63 * (1 - 2.0**-53), 0),  # the float just below it
        (2.0**-64, 0),
        (5e-324, 0),
    ],
)
def test_tiny_factors_end_at_shift_62(factor, multiplier, bits):
    assert multiplier_and_shift(factor, bits) == (multiplier, 62)


def test_a_smaller_largest_shift_ends_there_with_fewer_bits():
    assert multiplier_and_shift(0.3, 8) == (154, 9)
    assert multiplier_and_shift(0.3, 8, 9) == (154, 9)
    assert multiplier_and_shift(0.3, 8, 5) == (10, 5)
    assert multiplier_and_shift(0.0007, 8, 12) == (3, 12)


@pytest.mark.parametrize("factor", [-1.0, -5e-324, nan, inf, -inf])
def test_a_factor_must_be_finite_and_not_negative(factor):
    with pytest.raises(ValueError, match="must be finite and not negative"):
        multiplier_and_shift(factor, 31)


@pytest.mark.parametrize(("factor", "bits"), [(2.0, 1), (256.0, 8), (255.5, 8), (2.0**31, 31)])
def test_a_factor_may_not_need_a_left_shift(factor, bits):
    with pytest.raises(ValueError, match=f"needs more than {bits} multiplier bits"):
        multiplier_and_shift(factor, bits)


@pytest.mark.parametrize(
    ("factor", "count", "expected"),
    [
        (1.0, 1, (1 << 30, 30)),
        (1.0, 2, (1 << 30, 31)),
        (1.0, 3, ((1 << 31) // 3, 31)),
        (0.75, 192, (3 * (1 << 29) * 128 // 192, 31 + 7)),
        (0.1, 197, (1717986918 * 128 // 197, 34 + 7)),
        (2.0**-31, 1 << 20, (1 << 11, 62)),  # no shift beyond 62: 19 of 20 bits are lost
    ],
)
def test_the_divisor_of_a_mean_goes_into_its_multiplier(factor, count, expected):
    assert mean_multiplier_and_shift(factor, count) == expected


@given(st.floats(2.0**-10, 1000), st.integers(1, 5000))
def test_the_multiplier_of_a_mean_is_rounded_down_and_loses_one_bit(factor, count):
    multiplier, shift = mean_multiplier_and_shift(factor, count)
    assert 1 << 29 <= multiplier < 1 << 31
    exact = Fraction(factor) / count * 2**shift
    assert abs(multiplier - exact) <= 2
