# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.numerics.rounded_division import TIES, divide, divide_kernel
from simulator.numerics.rounding import Rounding, shift_right


@pytest.mark.parametrize(
    ("rounding", "expected"),
    [
        (Rounding.FLOOR, [0, 0, 0, 1, 1, 2]),
        (Rounding.TOWARD_ZERO, [0, 0, 0, 1, 1, 2]),
        (Rounding.HALF_UP, [0, 1, 1, 1, 2, 3]),
        (Rounding.HALF_AWAY, [0, 1, 1, 1, 2, 3]),
        (Rounding.HALF_DOWN, [0, 0, 1, 1, 1, 2]),
        (Rounding.HALF_EVEN, [0, 0, 1, 1, 2, 2]),
    ],
)
def test_quarters(rounding, expected):
    values = [1, 2, 3, 4, 6, 10]  # 0.25, 0.5, 0.75, 1, 1.5, 2.5
    assert [divide(value, 4, rounding) for value in values] == expected
    assert [divide_kernel(value, 4, TIES[rounding]) for value in values] == expected


def test_every_mode_has_a_kernel():
    assert set(TIES) == set(Rounding)


@given(st.integers(0, (1 << 62) - 1), st.integers(1, 1 << 61), st.sampled_from(Rounding))
def test_kernel_equals_reference(value, divisor, rounding):
    found = divide_kernel(np.int64(value), np.int64(divisor), TIES[rounding])
    assert found == divide(value, divisor, rounding)


@given(st.integers(0, 40), st.integers(1, 12), st.sampled_from(Rounding))
def test_small_numbers_are_often_ties(value, divisor, rounding):
    found = divide_kernel(np.int64(value), np.int64(divisor), TIES[rounding])
    assert found == divide(value, divisor, rounding)
    assert divide(value, 8, rounding) == shift_right(value, 3, rounding)
