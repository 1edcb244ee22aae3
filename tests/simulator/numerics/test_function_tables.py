# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from simulator.numerics.function_tables import (
    exponential,
    function_table,
    gelu,
    gelu_tanh,
    interpolation_table,
    logistic,
    rsqrt_table,
)
from simulator.numerics.integer_type import IntType
from simulator.numerics.inverse_square_root import inverse_square_root

INFINITE = np.float32(np.inf)


@pytest.mark.parametrize("value", [-9.0, -1.5, -0.1, 0.0, 0.3, 2.0, 7.0])
def test_functions_in_float32(value):
    x = np.float32(value)
    exact = {
        gelu: value / 2 * (1 + math.erf(value / math.sqrt(2))),
        logistic: 1 / (1 + math.exp(-value)),
        exponential: math.exp(value),
    }
    for function, expected in exact.items():
        assert isinstance(function(x), np.float32)
        assert function(x) == pytest.approx(expected, rel=1e-5, abs=1e-6)
    assert gelu_tanh(x) == pytest.approx(exact[gelu], abs=1e-3)


def test_functions_at_the_ends_of_float32():
    assert (exponential(np.float32(200)), exponential(np.float32(-200))) == (INFINITE, 0)
    assert (logistic(np.float32(-200)), logistic(np.float32(200))) == (0, 1)


def test_values_become_codes_half_away_from_zero():
    # Codes times 1/4 over 1/2: half codes.
    table = function_table(lambda x: x, 0.25, 0, 0.5, 0)
    codes = list(range(-128, 128))
    assert table.tolist() == [
        int(math.copysign((abs(code) + 1) // 2, code)) if code else 0 for code in codes
    ]


def test_codes_are_clamped_with_their_zero_point():
    table = function_table(lambda x: x, 1.0, 10, 0.5, -100)
    assert [table[128 + code] for code in (10, 11, 9, -4, -5, 123, 124)] == [
        -100,
        -98,
        -102,
        -128,
        -128,
        126,
        127,
    ]
    infinite = function_table(lambda x: INFINITE, 1.0, 0, 1.0, 50)
    assert infinite[128] == 127


def test_tables_of_other_types():
    unsigned, wide = IntType(bits=4, signed=False), IntType(bits=16)
    table = function_table(lambda x: x * x, 1.0, 2, 0.1, 1, input_type=unsigned, output_type=wide)
    assert table.tolist() == [1 + 10 * (code - 2) ** 2 for code in range(16)]


def test_a_table_of_the_logistic_function():
    table = function_table(logistic, 0.1, 0, 1 / 256, -128)
    assert (table[128], table[0], table[255]) == (0, -128, 127)
    assert (np.diff(table) >= 0).all()


@pytest.mark.parametrize(
    ("value", "bits"), [(1, 20), (2, 20), (3, 20), (4, 20), (100, 20), (255, 20), (1 << 28, 30)]
)
def test_inverse_square_roots_are_close(value, bits):
    exact = Fraction(1 << bits) / Fraction(math.sqrt(value))
    assert abs(inverse_square_root(value, bits) - exact) < 2


def test_inverse_square_roots_fall():
    found = [inverse_square_root(value, 20) for value in range(1, 1000)]
    assert found[:4] == [1048576, 741454, 605396, 524288]
    assert found == sorted(found, reverse=True)


@pytest.mark.parametrize("value", [0, -1, 1 << 29])
def test_inverse_square_roots_of_other_numbers_are_refused(value):
    with pytest.raises(ValueError, match=r"must be in 1 \.\. 2\^29 - 1"):
        inverse_square_root(value, 20)


def test_rsqrt_table():
    # Steps of 1/4 from code -28: 1 / sqrt(x / 4) is 2, 1 at 1 and 4, in steps of 1/16.
    table = rsqrt_table(0.25, -28, 1 / 16, -128)
    by_code = dict(zip(range(-128, 128), table.tolist(), strict=True))
    assert [by_code[-28 + step] for step in (1, 4, 16, 64)] == [-96, -112, -120, -124]
    assert all(by_code[code] == 127 for code in range(-128, -27))
    assert (np.diff(table[100:]) <= 0).all()


def test_interpolation_table_of_a_straight_line():
    # 128 codes between samples, and no error in the middle. The range ends at 32767, not at 32768,
    # and so do the last samples.
    table = interpolation_table(lambda x: x, 1.0, 1.0)
    assert table.shape == (513,)
    expected = -32768 + np.arange(513) * 65535 / 512
    assert np.abs(table - expected * 65536 / 65535).max() <= 1


def test_interpolation_table_lowers_samples_by_half_the_error_between_them():
    scale = 2.0**-15
    for function, sign in ((lambda x: x * x, -1), (lambda x: np.float32(0.05) - x * x, 1)):
        # The chord of x² lies (step / 2)² above the middle of its interval.
        table = interpolation_table(function, scale, scale / 16)
        step = np.float32(np.float32(65535) * np.float32(scale) / np.float32(512))
        inner = np.arange(200, 312)
        plain = [float(function(np.float32(-1) + i * step)) * 16 / scale for i in inner]
        error = float(step) ** 2 / 4 * 16 / scale
        assert np.abs(table[inner] - (np.array(plain) + sign * error / 2)).max() <= 1.5
