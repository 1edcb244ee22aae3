# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from itertools import combinations
from math import ceil, floor, trunc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.numerics.rounding import (
    ROUNDING_MODES,
    DoubleRounding,
    Rounding,
    RoundingMode,
    divide,
    divide_kernel,
    offsets,
    round_real,
    round_real_kernel,
    shift_right,
    shift_right_kernel,
)


def nearest(value, tie):
    below = floor(value)
    remainder = value - below
    if remainder == Fraction(1, 2):
        return tie(value)
    return below + (remainder > Fraction(1, 2))


# What each mode means, on exact fractions.
DEFINITIONS = {
    Rounding.FLOOR: floor,
    Rounding.TOWARD_ZERO: int,
    Rounding.HALF_UP: lambda value: nearest(value, ceil),
    Rounding.HALF_DOWN: lambda value: nearest(value, floor),
    Rounding.HALF_AWAY: lambda value: nearest(value, floor if value < 0 else ceil),
    Rounding.HALF_EVEN: lambda value: nearest(value, lambda v: floor(v) + floor(v) % 2),
}

QUARTERS = (-10, -7, -6, -5, -3, -2, -1, 0, 1, 2, 3, 5, 6, 7, 10)  # -2.5, -1.75, -1.5 …
KNOWN = {
    Rounding.FLOOR: (-3, -2, -2, -2, -1, -1, -1, 0, 0, 0, 0, 1, 1, 1, 2),
    Rounding.TOWARD_ZERO: (-2, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 2),
    Rounding.HALF_UP: (-2, -2, -1, -1, -1, 0, 0, 0, 0, 1, 1, 1, 2, 2, 3),
    Rounding.HALF_DOWN: (-3, -2, -2, -1, -1, -1, 0, 0, 0, 0, 1, 1, 1, 2, 2),
    Rounding.HALF_AWAY: (-3, -2, -2, -1, -1, -1, 0, 0, 0, 1, 1, 1, 2, 2, 3),
    Rounding.HALF_EVEN: (-2, -2, -2, -1, -1, 0, 0, 0, 0, 0, 1, 1, 2, 2, 2),
}
# Other people's words for the same modes.
ELSEWHERE = {
    Rounding.FLOOR: floor,
    Rounding.TOWARD_ZERO: trunc,
    Rounding.HALF_UP: lambda value: floor(value + Fraction(1, 2)),
    Rounding.HALF_DOWN: lambda value: ceil(value - Fraction(1, 2)),
    Rounding.HALF_AWAY: lambda value: int(
        (Decimal(value.numerator) / Decimal(value.denominator)).to_integral_value(ROUND_HALF_UP)
    ),
    Rounding.HALF_EVEN: round,
}
every_mode = pytest.mark.parametrize("rounding", Rounding)


def kernel(value, shift, rounding):
    parts = offsets(np.array([shift]), rounding)[:, 0]
    return int(shift_right_kernel(value, shift, *parts))


@st.composite
def values_and_shifts(draw):
    """Quotient and remainder: ties, their neighbours, and whatever 64 bits leave room for."""
    shift = draw(st.integers(0, 62))
    unit = 1 << shift
    room = (1 << 63) - unit
    near = st.sampled_from([0, 1, unit // 2 - 1, unit // 2, unit // 2 + 1, unit - 1])
    remainder = draw(near | st.integers(0, unit - 1)) % unit
    largest = (room - remainder) // unit - 1
    smallest = -(room // unit)
    ends = st.sampled_from(sorted({smallest, min(smallest + 1, largest), max(largest, smallest)}))
    quotient = draw(st.integers(-9, 9) | st.integers(smallest, max(largest, smallest)) | ends)
    value = min(max(quotient, smallest), max(largest, smallest)) * unit + remainder
    return value, shift


def test_every_mode_has_a_row_a_definition_and_known_values():
    modes = set(Rounding)
    assert modes == ROUNDING_MODES.keys() == DEFINITIONS.keys() == KNOWN.keys() == ELSEWHERE.keys()


def test_a_row_makes_0_or_1():
    for row in ({"always": 2}, {"if_negative": -1}, {"if_negative": 1, "if_odd": 1}):
        with pytest.raises(ValueError, match="must make 0 or 1"):
            RoundingMode(nearest=True, **row)


@every_mode
def test_known_values(rounding):
    assert tuple(shift_right(value, 2, rounding) for value in QUARTERS) == KNOWN[rounding]
    assert tuple(kernel(value, 2, rounding) for value in QUARTERS) == KNOWN[rounding]


def test_the_known_values_tell_any_two_modes_apart():
    assert all(KNOWN[one] != KNOWN[other] for one, other in combinations(Rounding, 2))


@every_mode
@given(st.fractions(min_value=-50, max_value=50, max_denominator=8))
def test_definition_means_what_others_mean_by_it(rounding, value):
    assert DEFINITIONS[rounding](value) == ELSEWHERE[rounding](value)


@every_mode
@pytest.mark.parametrize("shift", range(8))
def test_reference_is_definition_for_every_small_value(rounding, shift):
    for value in range(-400, 401):
        expected = DEFINITIONS[rounding](Fraction(value, 1 << shift))
        assert shift_right(value, shift, rounding) == expected, value


@every_mode
@given(st.integers(), st.integers(0, 200), st.sampled_from([-1, 0, 1]))
def test_reference_is_definition_for_integers_of_any_size(rounding, quotient, shift, beside):
    # Ties and their neighbours, far beyond 64 bits.
    value = (quotient << shift >> 1) + beside
    assert shift_right(value, shift, rounding) == DEFINITIONS[rounding](Fraction(value, 1 << shift))


@given(st.integers(), st.integers(32, 200), st.sampled_from([-1, 0, 1]))
def test_two_roundings_are_definitions_one_after_the_other(quotient, shift, beside):
    half_up, half_away = DEFINITIONS[Rounding.HALF_UP], DEFINITIONS[Rounding.HALF_AWAY]
    value = (quotient << shift >> 1) + beside
    first = Fraction(half_up(Fraction(value, 1 << 31)), 1 << shift - 31)
    for double, second in (
        (DoubleRounding.SYMMETRIC, half_away),
        (DoubleRounding.ASYMMETRIC, half_up),
    ):
        assert shift_right(value, shift, Rounding.HALF_UP, double) == second(first)


@every_mode
@given(st.integers(-(1 << 70), 1 << 70) | st.integers(-60, 60), st.integers(1, 12))
def test_division_is_definition(rounding, value, divisor):
    assert divide(value, divisor, rounding) == DEFINITIONS[rounding](Fraction(value, divisor))


reals = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-41, 41).map(
    lambda quarters: quarters / 4
)


@every_mode
@given(reals)
def test_rounding_of_real_numbers_is_definition(rounding, value):
    expected = DEFINITIONS[rounding](Fraction(value))
    assert round_real(value, rounding) == expected
    assert int(round_real_kernel(value, ROUNDING_MODES[rounding].arguments)) == expected


@every_mode
def test_real_numbers_next_to_ties_and_to_whole_numbers(rounding):
    for middle in (-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0**52, -(2.0**52)):
        for value in (np.nextafter(middle, -np.inf), middle, np.nextafter(middle, np.inf)):
            expected = DEFINITIONS[rounding](Fraction(float(value)))
            assert round_real(float(value), rounding) == expected
            assert round_real_kernel(value, ROUNDING_MODES[rounding].arguments) == expected
    for value in (np.inf, -np.inf):
        assert round_real_kernel(value, ROUNDING_MODES[rounding].arguments) == value


@every_mode
@given(st.integers(-(1 << 61), 1 << 61) | st.integers(-40, 40), st.integers(1, 1 << 61))
def test_kernel_divides_as_the_reference(rounding, value, divisor):
    for by in (divisor, divisor % 12 + 1):
        found = divide_kernel(np.int64(value), np.int64(by), ROUNDING_MODES[rounding].arguments)
        assert found == divide(value, by, rounding)


@every_mode
@pytest.mark.parametrize("shift", range(8))
def test_formula_is_definition_for_every_small_value(rounding, shift):
    for value in range(-400, 401):
        assert kernel(value, shift, rounding) == shift_right(value, shift, rounding), value


@every_mode
@given(values_and_shifts())
def test_formula_is_definition_at_any_shift(rounding, value_and_shift):
    value, shift = value_and_shift
    assert kernel(value, shift, rounding) == shift_right(value, shift, rounding)


@every_mode
@pytest.mark.parametrize("shift", range(1, 63))
def test_formula_is_definition_at_ties_and_extremes(rounding, shift):
    half = 1 << (shift - 1)
    extreme = (1 << 63) - 2 * half
    ties = [sign * odd * half for odd in (1, 3) for sign in (-1, 1) if odd * half <= extreme]
    for value in [-extreme, 1 - extreme, extreme - 1, extreme, *ties]:
        for neighbour in {max(value - 1, -extreme), value, min(value + 1, extreme)}:
            expected = shift_right(neighbour, shift, rounding)
            assert kernel(neighbour, shift, rounding) == expected, neighbour


@every_mode
@given(st.integers(-(1 << 63), (1 << 63) - 1))
def test_a_shift_by_nothing_changes_nothing(rounding, value):
    assert kernel(value, 0, rounding) == shift_right(value, 0, rounding) == value


@every_mode
def test_offsets_are_one_column_per_shift(rounding):
    shifts = np.array([0, 1, 62, 7])
    columns = offsets(shifts, rounding)
    assert columns.shape == (3, 4)
    assert columns.dtype == np.int64
    assert columns.flags.c_contiguous
    for shift, column in zip(shifts.tolist(), columns.T.tolist(), strict=True):
        half, whole = (1 << shift) // 2, (1 << shift) - 1
        expected = {
            Rounding.FLOOR: (0, 0, 0),
            Rounding.TOWARD_ZERO: (0, whole, 0),
            Rounding.HALF_UP: (half, 0, 0),
            Rounding.HALF_DOWN: (half - 1, 0, 0),
            Rounding.HALF_AWAY: (half, -1, 0),
            Rounding.HALF_EVEN: (half - 1, 0, 1),
        }[rounding]
        assert tuple(column) == (expected if shift else (0, 0, 0))
