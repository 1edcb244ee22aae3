# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import pytest

from simulator.numerics.polynomial_gelu import polynomial_gelu_constants, shift_gelu_octave


def test_constants_of_the_polynomial():
    # s' = 0.05 / √2 = 0.0353553: -1.769 / s' = -50.03; 1 / (-0.2888 * 0.00125) = -2770.08
    found = polynomial_gelu_constants(0.05)
    assert (found.clip, found.constant, found.one) == (51, -2771, -2771)
    assert found.scale == pytest.approx(-0.05 * 0.2888 * 0.00125 / 2)
    found = polynomial_gelu_constants(0.05, nearest=True)
    assert (found.clip, found.constant, found.one) == (50, -2770, -2770)


def test_the_shift_makes_one_smaller_and_the_scale_larger():
    found = polynomial_gelu_constants(0.001, erf_shift=14)
    plain = polynomial_gelu_constants(0.001)
    assert found.clip == plain.clip
    assert found.constant == plain.constant == math.floor(2 / (-0.2888 * 1e-6))
    assert found.one == math.floor(2 / (-0.2888 * 1e-6 * 2**14)) == -423
    assert found.scale == pytest.approx(plain.scale * 2**14)


@pytest.mark.parametrize(
    ("scale", "octave"), [(0.1, 6), (0.05, 12), (0.01, 59), (1.0, 1), (0.5, 2)]
)
def test_octave(scale, octave):
    assert shift_gelu_octave(scale) == octave
