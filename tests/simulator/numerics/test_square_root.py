# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from math import isqrt

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from simulator.numerics.square_root import (
    bisect_root,
    bisect_root_kernel,
    isqrt_kernel,
    newton_root,
    newton_root_kernel,
)


def test_every_small_value():
    assert [isqrt_kernel(value) for value in range(5000)] == [isqrt(v) for v in range(5000)]


@pytest.mark.parametrize("bits", range(63))
def test_powers_of_two_and_their_neighbours(bits):
    for value in {(1 << bits) - 1, 1 << bits, min((1 << bits) + 1, 1 << 62)}:
        assert isqrt_kernel(value) == isqrt(value), value


@given(st.integers(1, 1 << 31))
def test_squares_and_their_neighbours(root):
    assert isqrt_kernel(root * root - 1) == root - 1
    assert isqrt_kernel(root * root) == root
    assert isqrt_kernel(min(root * root + 1, 1 << 62)) == root


@pytest.mark.parametrize("root", [1 << 31, (1 << 31) + 1, 2718281828, 3037000498, 3037000499])
def test_squares_from_2_62_on_and_their_neighbours(root):
    assert 1 << 62 <= root * root < 1 << 63
    assert isqrt_kernel(root * root - 1) == root - 1
    assert isqrt_kernel(root * root) == root
    assert isqrt_kernel(root * root + 1) == root


def test_the_largest_value():
    assert isqrt_kernel((1 << 63) - 1) == 3037000499


@given(st.integers(1 << 31, 3037000499))
def test_any_square_from_2_62_on(root):
    assert isqrt_kernel(root * root - 1) == root - 1
    assert isqrt_kernel(root * root) == root


@given(st.integers(0, (1 << 63) - 1))
def test_any_value(value):
    assert isqrt_kernel(value) == isqrt(value)


# --- by halving -----------------------------------------------------------------------------------


def test_bisection_finds_the_root_of_every_small_value():
    expected = [isqrt(value) for value in range(5000)]
    assert [bisect_root(value) for value in range(5000)] == expected
    assert [bisect_root_kernel(value) for value in range(5000)] == expected


@given(st.integers(0, (1 << 62) - 1) | st.integers(0, 62).map(lambda bits: (1 << bits) - 1))
def test_bisection_finds_the_root_of_any_value(value):
    assert bisect_root(value) == bisect_root_kernel(value) == isqrt(value)


# --- a given number of steps ----------------------------------------------------------------------


def test_newton_steps_by_hand():
    # 7 bits: from 2^4: (16 + 6) / 2 = 11, (11 + 9) / 2 = 10, and there it stays.
    assert [newton_root(100, steps) for steps in range(4)] == [16, 11, 10, 10]
    # 2 bits, from 2: (2 + 1) / 2 = 1, (1 + 3) / 2 = 2: it swings.
    assert [newton_root(3, steps) for steps in range(5)] == [2, 1, 2, 1, 2]
    # From 2^16, ten steps are too few for a small value.
    assert newton_root(96 * 36, 10, 16) == 80
    assert newton_root(96 * 36, 16, 16) == 58


@pytest.mark.parametrize("start_bits", [0, 1, 16, 31])
@given(st.integers(-3, (1 << 62) - 1) | st.integers(-3, 300), st.integers(0, 20))
@example(1, 3)
def test_newton_steps_of_any_value(start_bits, value, steps):
    found = newton_root(value, steps, start_bits)
    assert newton_root_kernel(value, steps, start_bits) == found
    if value <= 0:
        assert found == 0
    elif steps:
        assert found >= isqrt(value)


@given(st.integers(1, (1 << 62) - 1))
def test_six_steps_from_the_width_are_enough(value):
    # The start is less than twice the root, so the error is squared from there on: it may still
    # swing between the root and the number above it.
    assert newton_root(value, 6) - isqrt(value) in {0, 1}
