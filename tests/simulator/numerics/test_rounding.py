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
    DEFINITIONS,
    OFFSETS,
    Rounding,
    offsets,
    shift_right,
    shift_right_kernel,
)

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


def test_every_mode_has_an_offset_a_definition_and_known_values():
    assert set(Rounding) == OFFSETS.keys() == DEFINITIONS.keys() == KNOWN.keys()


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
        expected = OFFSETS[rounding](1 << (shift - 1)) if shift else (0, 0, 0)
        assert tuple(column) == tuple(expected)
