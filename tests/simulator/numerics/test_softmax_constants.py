# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math
from decimal import Decimal, localcontext

import numpy as np
import pytest

from simulator.numerics.softmax_constants import (
    float_table,
    gemmlowp_constants,
    ibert_constants,
    log2_constants,
    lut513_multiplier,
    lut513_tables,
    shiftmax_constants,
)


def test_constants_in_fixed_point():
    # 0.1 * 2^26 = 6710886.4 = 0.8 * 2^23; 31 * 2^26 / 2^23 = 248
    assert gemmlowp_constants(0.1) == (1717986918, 23, -248)
    assert gemmlowp_constants(0.25) == (1 << 30, 25, -62)
    assert gemmlowp_constants(0.25, beta=2.0) == (1 << 30, 26, -31)
    # The factor ends at 2^31 - 1.
    assert gemmlowp_constants(1000.0) == ((1 << 31) - 1, 31, 0)
    assert gemmlowp_constants(31.5) == (63 << 25, 31, 0)


def test_scales_that_are_too_small_are_refused():
    assert gemmlowp_constants(2.0**-25) == (1 << 30, 2, -31 << 24)
    with pytest.raises(ValueError, match=r"scale .* must be above 2\^-26"):
        gemmlowp_constants(2.0**-26)


@pytest.mark.parametrize("scale", [0.0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize(
    "build",
    [
        gemmlowp_constants,
        lut513_multiplier,
        float_table,
        ibert_constants,
        shiftmax_constants,
        log2_constants,
    ],
)
def test_scales_must_be_positive(build, scale):
    with pytest.raises(ValueError, match="must be positive"):
        build(scale)


def test_the_multiplier_of_sixteen_bit_scores():
    # The scale at which a code is worth a code of the table.
    multiplier, left_shift = lut513_multiplier(10 / 65535)
    assert abs(multiplier / 2**31 * 2.0**left_shift - 1) < 1e-7
    assert lut513_multiplier(2.0**-60) == (0, 0)
    assert lut513_multiplier(0.5, beta=0.5) == lut513_multiplier(0.25)


def round_half_away(value):
    assert abs(value - int(value)) != Decimal("0.5")
    return int(value.to_integral())


@pytest.mark.parametrize("name", ["exp_table", "reciprocal_table"])
def test_tables_of_513_entries_by_exact_arithmetic(name):
    table = getattr(lut513_tables(), name)
    assert table.shape == (513,)
    assert table.dtype == np.int16
    with localcontext() as context:
        context.prec = 40

        def value(step):
            if name == "exp_table":
                return (Decimal(10) * (step - 512) / 512).exp() * 32768
            return 32768 / (1 + Decimal(step) / 512)

        expected = []
        for index in range(512):
            sample = round_half_away(value(Decimal(index)))
            # At a tie of the drawn line's middle, away from zero is up.
            drawn = math.floor((value(Decimal(index + 1)) + sample) / 2 + Decimal("0.5"))
            error = drawn - round_half_away(value(index + Decimal("0.5")))
            half = math.floor(abs(error) / 2 + 0.5)
            expected.append(min(sample - (half if error > 0 else -half), 32767))
        expected.append(min(round_half_away(value(Decimal(512))), 32767))
    assert table.tolist() == expected


def test_single_precision_changes_two_reciprocals():
    double, single = lut513_tables(), lut513_tables(np.float32)
    assert (double.exp_table == single.exp_table).all()
    changed = np.nonzero(double.reciprocal_table != single.reciprocal_table)[0]
    assert changed.tolist() == [160, 294]


def test_the_float_table():
    table = float_table(0.25)
    assert table.dtype == np.float32
    assert table.shape == (256,)
    assert table[:2].tolist() == [1.0, float(np.float32(math.exp(-0.25)))]
    assert float_table(0.125, beta=2.0).tolist() == table.tolist()
    assert float_table(0.25, bits=4).tolist() == table[:16].tolist()
    # The argument is a product in float32: 0.1 is not.
    argument = float(-np.float32(0.1) * np.float32(3))
    assert float_table(0.1)[3] == np.float32(math.exp(argument))
    assert float_table(5.0)[-1] == 0


def test_ibert():
    # 1.353 / 0.05 = 27.06, 0.344 / (0.3585 * 0.0025) = 383.8, 0.693 / 0.05 = 13.9
    assert ibert_constants(0.05) == (1, 27, 383, 13)
    with pytest.raises(ValueError, match=r"an octave of 0\.6931 needs a code or more"):
        ibert_constants(0.7)


def test_shiftmax():
    assert shiftmax_constants(0.0625) == -16
    assert shiftmax_constants(0.3) == -4
    assert shiftmax_constants(7.0) == -1


def test_log2():
    # -0.6931 / 0.05 = -13.9, 2.70732 / 0.05 = 54.1, 2.79211 / 0.0025 = 1116.8
    assert log2_constants(0.05) == (-14, 54, 1116)
