# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from math import isqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.numerics.square_root import isqrt_kernel


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


@given(st.integers(0, 1 << 62))
def test_any_value(value):
    assert isqrt_kernel(value) == isqrt(value)
