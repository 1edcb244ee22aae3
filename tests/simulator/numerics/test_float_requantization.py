# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.numerics.float_requantization import RealRequantizer, requantize_real
from simulator.numerics.integer_type import IntType, Overflow
from simulator.numerics.rescaling import Arithmetic, RescaleRule, ZeroPointStage
from simulator.numerics.rounding import Rounding

S8, U4 = IntType(bits=8), IntType(bits=4, signed=False)
SATURATING = (Overflow.SATURATE, Overflow.SATURATE_SYMMETRIC)
every_rounding = pytest.mark.parametrize("rounding", Rounding)


def requantizer(multiplier, rounding, zero_point=0, kind=S8, overflow=SATURATING[0], stage=None):
    rule = RescaleRule(
        rounding=rounding,
        overflow=overflow,
        zero_point_stage=stage or ZeroPointStage.AFTER_ROUND,
        arithmetic=Arithmetic(str(multiplier.dtype)),
    )
    return RealRequantizer(rule=rule, multiplier=multiplier, zero_point=zero_point, kind=kind)


def assert_equal_to_reference(kernel, rows, addend=None):
    added = np.zeros(rows.shape[1], np.int64) if addend is None else addend
    expected, outside = np.empty(rows.shape, kernel.kind.dtype), 0
    for i, c in np.ndindex(*rows.shape):
        expected[i, c], flag = requantize_real(
            int(rows[i, c]) + int(added[c]),
            kernel.multiplier[c],
            kernel.rule,
            kernel.zero_point,
            kernel.kind,
        )
        outside += flag
    codes, count = kernel(rows, addend)
    assert codes.dtype == kernel.kind.dtype
    assert codes.tolist() == expected.tolist()
    assert count == outside
    return codes


KNOWN = {  # of -2.5, -1.75, -1.5, -0.5, -0.25, 0, 0.25, 0.5, 1.5, 1.75, 2.5
    Rounding.FLOOR: [-3, -2, -2, -1, -1, 0, 0, 0, 1, 1, 2],
    Rounding.TOWARD_ZERO: [-2, -1, -1, 0, 0, 0, 0, 0, 1, 1, 2],
    Rounding.HALF_UP: [-2, -2, -1, 0, 0, 0, 0, 1, 2, 2, 3],
    Rounding.HALF_DOWN: [-3, -2, -2, -1, 0, 0, 0, 0, 1, 2, 2],
    Rounding.HALF_AWAY: [-3, -2, -2, -1, 0, 0, 0, 1, 2, 2, 3],
    Rounding.HALF_EVEN: [-2, -2, -2, 0, 0, 0, 0, 0, 2, 2, 2],
}


@every_rounding
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_known_values(rounding, dtype):
    rows = np.array([[-10, -7, -6, -2, -1, 0, 1, 2, 6, 7, 10]])
    kernel = requantizer(np.full(11, 0.25, dtype), rounding)
    assert assert_equal_to_reference(kernel, rows).tolist() == [KNOWN[rounding]]


def test_sums_above_24_bits_are_rounded_to_float32_first():
    rows = np.array([[(1 << 24) + 1, (1 << 24) + 3]])  # ties: to 2^24 and to 2^24 + 4
    one = requantizer(np.full(2, 2.0**-20, np.float32), Rounding.FLOOR)
    assert one(rows)[0].tolist() == [[16, 16]]
    wide = IntType(bits=32)
    for dtype, expected in ((np.float32, [1 << 24, (1 << 24) + 4]), (np.float64, rows[0].tolist())):
        kernel = requantizer(np.ones(2, dtype), Rounding.HALF_EVEN, kind=wide)
        assert assert_equal_to_reference(kernel, rows).tolist() == [expected]


def test_a_zero_point_behind_the_rounding_is_added_exactly():
    wide = IntType(bits=31)
    kernel = requantizer(np.ones(2, np.float32), Rounding.HALF_EVEN, -(1 << 28) - 1, kind=wide)
    assert_equal_to_reference(kernel, np.array([[1, 4]]))


@pytest.mark.parametrize("rounding", [Rounding.HALF_AWAY, Rounding.HALF_DOWN, Rounding.HALF_EVEN])
def test_what_is_next_below_a_half_is_0(rounding):
    below_half = np.nextafter(0.5, 0)
    kernel = requantizer(np.array([below_half, -below_half]), rounding)
    assert assert_equal_to_reference(kernel, np.array([[1, 1]])).tolist() == [[0, 0]]


def test_products_are_rounded_to_the_type():
    # 3 * float32(1/6) is a little above 1/2, by less than float32 can tell: a tie there.
    sixth = np.float32(1 / 6)
    assert float(sixth) * 3 > 0.5
    assert np.float32(3) * sixth == 0.5
    rows = np.array([[3]])
    for factor, expected in ((np.array([sixth]), 0), (np.array([float(sixth)]), 1)):
        kernel = requantizer(factor, Rounding.HALF_EVEN)
        assert assert_equal_to_reference(kernel, rows).tolist() == [[expected]]


def test_where_the_zero_point_is_added_decides_ties_to_even():
    rows = np.array([[2, 6, 10]])  # 0.5, 1.5, 2.5
    factor = np.full(3, 0.25, np.float32)
    after = requantizer(factor, Rounding.HALF_EVEN, zero_point=1)
    before = requantizer(factor, Rounding.HALF_EVEN, 1, stage=ZeroPointStage.BEFORE_ROUND)
    assert assert_equal_to_reference(after, rows).tolist() == [[1, 3, 3]]
    assert assert_equal_to_reference(before, rows).tolist() == [[2, 2, 4]]


def test_what_does_not_fit_saturates_an_infinite_product_too():
    rows = np.array([[1 << 40, -(1 << 40), 300, -300]])
    factor = np.array([3e38, 3e38, 1.0, 1.0], np.float32)
    for overflow, low in zip(SATURATING, (-128, -127), strict=True):
        for stage in ZeroPointStage:
            kernel = requantizer(factor, Rounding.HALF_AWAY, 3, overflow=overflow, stage=stage)
            assert assert_equal_to_reference(kernel, rows).tolist() == [[127, low, 127, low]]
            assert kernel(rows)[1] == 4


def test_it_cannot_wrap():
    with pytest.raises(ValueError, match="no low bits"):
        requantizer(np.ones(1, np.float32), Rounding.FLOOR, overflow=Overflow.WRAP)


def test_multipliers_are_of_the_arithmetic_s_type():
    rule = requantizer(np.ones(1, np.float32), Rounding.FLOOR).rule
    with pytest.raises(ValueError, match="multiplier is float64, the arithmetic float32"):
        RealRequantizer(rule=rule, multiplier=np.ones(1), zero_point=0, kind=S8)


@given(
    st.sampled_from(Rounding),
    st.sampled_from(SATURATING),
    st.sampled_from([S8, U4]),
    st.sampled_from([np.float32, np.float64]),
    st.sampled_from(ZeroPointStage),
    st.integers(-9, 9),
    st.lists(st.floats(2.0**-40, 4.0), min_size=1, max_size=3),
    st.booleans(),
    st.data(),
)
def test_kernel_equals_reference(
    rounding, overflow, kind, dtype, stage, zero_point, factors, with_addend, data
):
    kernel = requantizer(np.array(factors, dtype), rounding, zero_point, kind, overflow, stage)
    columns = []
    for factor in factors:
        near = int(300 / factor)
        one = st.integers(-near, near) | st.integers(-(1 << 40), 1 << 40)
        columns.append(data.draw(st.lists(one, min_size=3, max_size=3)))
    addend = np.arange(len(factors), dtype=np.int64) * 7 - 3 if with_addend else None
    assert_equal_to_reference(kernel, np.array(columns, np.int64).T, addend)


@every_rounding
@pytest.mark.parametrize("stage", ZeroPointStage)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_kernel_equals_reference_at_every_tie(rounding, stage, dtype):
    steps = np.arange(-80, 81)
    rows = (steps[:, None] * np.array([1, 8, 128])).astype(np.int64)
    kernel = requantizer(
        np.array([0.5, 0.0625, 2.0**-8], dtype), rounding, -3, U4, Overflow.SATURATE, stage
    )
    assert_equal_to_reference(kernel, rows)
