# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.numerics.common_scale import (
    ADD_LEFT_SHIFT,
    SQUARE_LEFT_SHIFT,
    squared_difference_constants,
    sum_constants,
)

ONE = 1 << 30
scales = st.floats(2.0**-4, 2.0**3)  # no factor below 2^-32, which is 0


def test_constants_of_a_sum():
    # T = 1: 1/2, 1/4, and 1 / (2^3 * 1/4)
    assert sum_constants(0.5, 0.25, 0.25, 3) == (3, ONE, 31, ONE, 32, ONE, 31)
    # T = 2: 1/8, 1/2, and 2 / (2^20 * 4)
    assert sum_constants(0.25, 1.0, 4.0, 20) == (20, ONE, 33, ONE, 31, ONE, 51)


def test_constants_of_a_squared_difference():
    # T = 1: 1/2, 1/4, and 1 / (2^6 * 1/4)
    assert squared_difference_constants(0.5, 0.25, 0.25, 3) == (3, ONE, 31, ONE, 32, ONE, 34)
    # T = 2: and 4 / (2^14 * 8)
    assert squared_difference_constants(0.25, 1.0, 8.0, 7)[5:] == (ONE, 45)


@given(scales, scales, scales)
def test_factors_are_those_of_float32_scales(a, b, y):
    a, b, y = (float(np.float32(scale)) for scale in (a, b, y))
    largest = 2 * max(a, b)
    found = sum_constants(a, b, y, ADD_LEFT_SHIFT[8])
    assert found.multiplier_a / 2**found.shift_a == pytest.approx(a / largest, rel=2**-30)
    assert found.multiplier_b / 2**found.shift_b == pytest.approx(b / largest, rel=2**-30)
    whole = found.multiplier / 2.0**found.shift * 2 ** ADD_LEFT_SHIFT[8]
    assert whole == pytest.approx(largest / y, rel=2**-30)
    found = squared_difference_constants(a, b, y, SQUARE_LEFT_SHIFT[8])
    whole = found.multiplier / 2.0**found.shift * 4 ** SQUARE_LEFT_SHIFT[8]
    assert whole == pytest.approx(largest**2 / y, rel=2**-30)
    for multiplier in (found.multiplier_a, found.multiplier_b, found.multiplier):
        assert ONE <= multiplier < 2 * ONE


def test_scales_are_rounded_to_float32_first():
    assert sum_constants(0.1, 0.3, 0.7, 20) == sum_constants(
        float(np.float32(0.1)), float(np.float32(0.3)), float(np.float32(0.7)), 20
    )
