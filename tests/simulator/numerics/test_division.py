# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.numerics.division import divide_toward_zero, divide_toward_zero_kernel


@pytest.mark.parametrize(
    ("dividend", "divisor", "quotient"),
    [
        (7, 2, 3),
        (-7, 2, -3),
        (-8, 2, -4),
        (-1, 5, 0),
        (0, 3, 0),
        (-(1 << 62), 3, -((1 << 62) // 3)),
    ],
)
def test_known_quotients(dividend, divisor, quotient):
    assert divide_toward_zero(dividend, divisor) == quotient
    assert divide_toward_zero_kernel(dividend, divisor) == quotient


@given(st.integers(-(1 << 62), 1 << 62), st.integers(1, 1 << 40) | st.integers(1, 9))
def test_any_quotient(dividend, divisor):
    expected = int(Fraction(dividend, divisor))  # toward zero
    assert divide_toward_zero(dividend, divisor) == expected
    assert divide_toward_zero_kernel(dividend, divisor) == expected
