# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from simulator.numerics.function_tables import rsqrt_table
from simulator.numerics.integer_type import IntType, Overflow, fit
from simulator.numerics.inverse_square_root import (
    inverse_square_root,
    inverse_square_roots_kernel,
)
from simulator.numerics.rounding import DoubleRounding, Rounding, shift_right

POWERS = 1 << np.arange(29)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (2, 741454),  # 741455.2: a sixth step would come nearer
        (9539379, 339),  # 339.49998: a larger factor √2 / 2 would round up
    ],
)
def test_values_that_another_constant_would_change(value, expected):
    assert inverse_square_root(value, 20) == expected


@pytest.mark.parametrize("fraction_bits", [0, 12, 20])
def test_kernel_and_plain_python_agree(fraction_bits):
    random = np.random.default_rng(5)
    drawn = random.integers(1, 1 << random.integers(1, 30, 600))
    values = np.unique(np.concatenate([np.arange(1, 300), drawn, POWERS, POWERS[1:] - 1]))
    values = np.append(values, (1 << 29) - 1)
    found = np.empty_like(values)
    inverse_square_roots_kernel(values, fraction_bits, found)
    expected = [inverse_square_root(int(value), fraction_bits) for value in values]
    assert found.tolist() == expected


@pytest.mark.parametrize(
    ("scale", "zero_point", "result_scale", "result_zero_point", "multiplier", "shift"),
    [
        # 1 / (sqrt(s_x) s_y) as multiplier / 2^shift: 32, 2, 1/3 nearly, 1 over 2^12
        (0.25, -28, 1 / 16, -128, 1 << 30, 25),
        (4.0, 17, 0.25, -100, 1 << 30, 29),
        (9.0, -128, 1.0, 5, 1431655765, 32),
        (2.0**20, 0, 4.0, 0, 1 << 30, 42),
    ],
)
def test_table_rounds_twice_as_defined(
    scale, zero_point, result_scale, result_zero_point, multiplier, shift
):
    found = rsqrt_table(scale, zero_point, result_scale, result_zero_point)
    kind = IntType(bits=8)
    for code in range(zero_point + 1, 128):
        product = inverse_square_root(code - zero_point, 20) * multiplier
        real = shift_right(product, shift + 20, Rounding.HALF_UP, DoubleRounding.SYMMETRIC)
        assert found[code + 128] == fit(real + result_zero_point, kind, Overflow.SATURATE)
    assert (found[: zero_point + 129] == 127).all()


def test_table_of_16_bit_codes():
    # 1 / sqrt(q / 2^14) in steps of 2^-8: 1 at 2^14, 2 at 2^12, and so on.
    table = rsqrt_table(2.0**-14, 0, 2.0**-8, 0, bits=16)
    assert table.shape == (1 << 16,)
    assert [table[(1 << 15) + (1 << places)] for places in (14, 12, 10, 0)] == [
        256,
        512,
        1024,
        32767,
    ]
    assert (table[: (1 << 15) + 1] == 32767).all()
    assert (np.diff(table[1 << 15 :]) <= 0).all()
