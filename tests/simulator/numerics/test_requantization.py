# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.numerics.integer_type import IntType, Overflow
from simulator.numerics.requantization import Requantizer, requantize
from simulator.numerics.rescaling import LeftShift, RescaleRule, ZeroPointStage
from simulator.numerics.rounding import DoubleRounding, Rounding

S4, S8 = IntType(bits=4), IntType(bits=8)
U8 = IntType(bits=8, signed=False)
roundings, overflows = st.sampled_from(Rounding), st.sampled_from(Overflow)


def rule_of(rounding, overflow, **choices):
    return RescaleRule(rounding=rounding, overflow=overflow, **choices)


def requantizer(multiplier, shift, rounding, zero_point, kind, overflow, channels=None, **choices):
    return Requantizer.build(
        rule_of(rounding, overflow, **choices),
        multiplier=np.array(multiplier),
        shift=np.array(shift),
        channels=channels or len(multiplier),
        zero_point=zero_point,
        kind=kind,
    )


def one(value, multiplier, shift, rounding, zero_point, kind, overflow, **choices):
    rule = rule_of(rounding, overflow, **choices)
    return requantize(value, multiplier, shift, rule, zero_point, kind)


def assert_same(rows, multiplier, shift, rounding, zero_point, kind, overflow, **rules):
    """Hold kernel and reference equal under rules that the kernel keeps folded."""
    kernel = requantizer(multiplier, shift, rounding, zero_point, kind, overflow, **rules)
    codes, count = kernel(rows)
    expected = [
        [
            one(int(x), m, s, rounding, zero_point, kind, overflow, **rules)
            for x, m, s in zip(row, multiplier, shift, strict=True)
        ]
        for row in rows
    ]
    assert codes.tolist() == [[code for code, _ in row] for row in expected]
    assert count == sum(flag for row in expected for _, flag in row)
    return codes


def assert_equal_to_reference(kernel, rows, rounding, addend=None):
    added = [0] * rows.shape[-1] if addend is None else addend
    expected, outside = np.empty(rows.shape, kernel.kind.dtype), 0
    for index in np.ndindex(*rows.shape):
        channel = index[-1]
        expected[index], flag = one(
            int(rows[index]) + int(added[channel]),
            int(kernel.multiplier[channel]),
            int(kernel.shift[channel]),
            rounding,
            kernel.zero_point,
            kernel.kind,
            kernel.overflow,
        )
        outside += flag
    codes, count = kernel(rows, None if addend is None else np.array(addend, np.int64))
    assert codes.dtype == kernel.kind.dtype
    assert codes.tolist() == expected.tolist()
    assert count == outside
    return outside


@pytest.mark.parametrize(
    ("accumulator", "shift", "expected"),
    [(8388607, 24, 0), (16777215, 25, 0), (-8388609, 24, -1)],
)
def test_half_up_at_the_values_where_a_float_model_of_a_chip_was_wrong(
    accumulator, shift, expected
):
    # ITA's hardware gives these; its golden model in floats gives 1, 1, 0.
    finish = (Rounding.HALF_UP, 0, S8, Overflow.SATURATE)
    assert one(accumulator, 1, shift, *finish) == (expected, False)
    codes, _ = requantizer([1], [shift], *finish)(np.array([[accumulator]]))
    assert codes.tolist() == [[expected]]


@pytest.mark.parametrize(
    ("value", "overflow", "expected"),
    [
        (1000, Overflow.SATURATE, (127, True)),
        (1000, Overflow.WRAP, (-125, True)),  # 375 + 12 = 387 = 512 - 125
        (-1000, Overflow.SATURATE, (-128, True)),
        (-1000, Overflow.SATURATE_SYMMETRIC, (-127, True)),
        (-373, Overflow.SATURATE, (-128, False)),  # -139.875 + 12
        (-373, Overflow.SATURATE_SYMMETRIC, (-127, True)),
        (4, Overflow.SATURATE, (14, False)),  # 1.5 + 12, a tie: up
        (-4, Overflow.SATURATE, (11, False)),  # -1.5 + 12
    ],
)
def test_known_values(value, overflow, expected):
    assert one(value, 3, 3, Rounding.HALF_UP, 12, S8, overflow) == expected


def test_one_multiplier_serves_all_channels_and_each_channel_may_have_its_own():
    rows = np.array([[10, 10, 10], [-7, 0, 7]])
    finish = (Rounding.FLOOR, 1, S8, Overflow.SATURATE)
    codes, _ = requantizer([3], [1], *finish, channels=3)(rows)
    assert codes.tolist() == [[16, 16, 16], [-10, 1, 11]]
    codes, _ = requantizer([3, 1, 2], [1, 0, 2], *finish)(rows)
    assert codes.tolist() == [[16, 11, 6], [-10, 1, 4]]


def test_the_addend_comes_before_the_multiplier():
    kernel = requantizer([3, 5], [1, 1], Rounding.FLOOR, 0, S8, Overflow.SATURATE)
    codes, _ = kernel(np.array([[1, 1]]), np.array([10, -10], np.int64))
    assert codes.tolist() == [[16, -23]]


def test_leading_dimensions_are_kept():
    kernel = requantizer([1], [0], Rounding.FLOOR, 0, S8, Overflow.SATURATE, channels=2)
    assert kernel(np.zeros((3, 4, 2), np.int32))[0].shape == (3, 4, 2)
    assert kernel(np.zeros(2, np.int32))[0].shape == (2,)


@given(
    roundings,
    overflows,
    st.sampled_from([S4, S8, U8]),
    st.integers(-8, 7),
    st.lists(st.tuples(st.integers(0, (1 << 31) - 1), st.integers(0, 62)), min_size=1, max_size=3),
    st.data(),
)
def test_kernel_equals_reference(rounding, overflow, kind, zero_point, factors, data):
    multipliers, shifts = zip(*factors, strict=True)
    kernel = requantizer(multipliers, shifts, rounding, zero_point, kind, overflow)
    # Sums as wide as 63 bits allow, and sums that come out near the ends of the type.
    columns = []
    for multiplier, shift in factors:
        room = ((1 << 63) - 1 - (1 << shift)) // max(multiplier, 1) - 300
        room = min(max(room, 0), 1 << 62)
        near = min(max(300 << shift, 1) // max(multiplier, 1), room)
        one = st.integers(-room, room) | st.integers(-near, near) | st.sampled_from([-room, room])
        columns.append(data.draw(st.lists(one, min_size=3, max_size=3)))
    addend = data.draw(st.none() | st.lists(st.integers(-200, 200), min_size=3, max_size=3))
    rows = np.array(columns, np.int64).T
    assert_equal_to_reference(kernel, rows, rounding, addend and addend[: len(factors)])


@pytest.mark.parametrize("overflow", Overflow)
@pytest.mark.parametrize("rounding", Rounding)
def test_kernel_equals_reference_at_every_tie(rounding, overflow):
    # Multiples of half a step, and their neighbours, beyond both ends of four bits.
    shifts = [1, 2, 7, 20, 40]
    multiplier = [1, 1, 2, 1, 4]
    steps = np.arange(-24, 25)
    columns = []
    for factor, shift in zip(multiplier, shifts, strict=True):
        half = (1 << (shift - 1)) // factor
        columns.append((steps[:, None] * max(half, 1) + np.array([-1, 0, 1])).ravel())
    kernel = requantizer(multiplier, shifts, rounding, -1, S4, overflow)
    assert assert_equal_to_reference(kernel, np.array(columns, np.int64).T, rounding) > 0


# --- two roundings, the zero point inside, left shifts that wrap ----------------------------------

TWICE = {"symmetric": DoubleRounding.SYMMETRIC, "asymmetric": DoubleRounding.ASYMMETRIC}


@pytest.mark.parametrize(
    ("value", "shift", "once", "symmetric", "asymmetric"),
    [
        # 2^32 - 1 over 2^33 is just below a half; the first rounding makes it one.
        ((1 << 32) - 1, 33, 0, 1, 1),
        (-(1 << 32) - 1, 33, -1, -1, 0),  # just beyond minus a half: -2 over 4, away or up
        (-(1 << 32), 33, 0, -1, 0),
        (1 << 32, 33, 1, 1, 1),
        (3 << 30, 31, 2, 2, 2),  # a shift of 31 or less is rounded once
        (-(3 << 30), 31, -1, -1, -1),
        (5, 1, 3, 3, 3),
    ],
)
def test_known_values_of_two_roundings(value, shift, once, symmetric, asymmetric):
    finish = (Rounding.HALF_UP, 0, S8, Overflow.SATURATE)
    for rule, expected in (
        (DoubleRounding.NONE, once),
        (DoubleRounding.SYMMETRIC, symmetric),
        (DoubleRounding.ASYMMETRIC, asymmetric),
    ):
        assert one(value, 1, shift, *finish, double_rounding=rule) == (expected, False)
        codes, _ = requantizer([1], [shift], *finish, double_rounding=rule)(np.array([[value]]))
        assert codes.tolist() == [[expected]]


@pytest.mark.parametrize("stage", ZeroPointStage)
@pytest.mark.parametrize("left", LeftShift)
@pytest.mark.parametrize("double", DoubleRounding)
def test_kernel_equals_reference_under_every_rule(double, left, stage):
    rng = np.random.default_rng(4)
    shifts = [30, 31, 32, 33, 38, 20, 1]
    multipliers = [1 << 30, 3 << 28, (1 << 31) - 1, 1 << 30, 1 << 30, 1 << 15, 1]
    near = np.array([(200 << s) // m for m, s in zip(multipliers, shifts, strict=True)])
    rows = rng.integers(-near, near, (400, 7))
    halves = np.array([max((1 << s - 1) // m, 1) for m, s in zip(multipliers, shifts, strict=True)])
    rows[200:] = rng.integers(-300, 300, (200, 7)) * halves + rng.integers(-1, 2, (200, 7))
    rows = rows.clip(-(1 << 31), (1 << 31) - 1)
    rules = {"double_rounding": double, "left_shift": left, "zero_point_stage": stage}
    finish = (Rounding.HALF_UP, -5, S8, Overflow.SATURATE)
    assert_same(rows, multipliers, shifts, *finish, **rules)


@pytest.mark.parametrize("rounding", Rounding)
@pytest.mark.parametrize("overflow", Overflow)
def test_kernel_equals_reference_with_the_zero_point_inside(rounding, overflow):
    rows = np.arange(-60, 61)[:, None] * np.array([1, 8])
    rule = {"zero_point_stage": ZeroPointStage.BEFORE_ROUND}
    assert_same(rows, [1, 1], [1, 4], rounding, -3, S4, overflow, **rule)


def test_a_left_shift_loses_bits_of_the_word_or_none():
    rows = np.array([[1 << 28], [(1 << 28) + 3], [-(1 << 28) - 1], [5]])
    finish = (Rounding.HALF_UP, 0, IntType(bits=32), Overflow.SATURATE)
    wide = assert_same(rows, [1 << 30], [27], *finish)
    lossy = assert_same(rows, [1 << 30], [27], *finish, left_shift=LeftShift.WRAP)
    assert wide.ravel().tolist() == [(1 << 31) - 1, (1 << 31) - 1, -(1 << 31), 40]
    assert lossy.ravel().tolist() == [0, 24, -8, 40]


def test_two_roundings_round_half_up():
    for rule in TWICE.values():
        with pytest.raises(ValueError, match="half_up twice"):
            requantizer([1], [40], Rounding.FLOOR, 0, S8, Overflow.SATURATE, double_rounding=rule)


def test_only_channels_with_a_left_shift_lose_bits():
    rows = np.array([[1 << 33, 1 << 33]])
    finish = (Rounding.HALF_UP, 0, IntType(bits=32), Overflow.SATURATE)
    codes = assert_same(rows, [1 << 30, 1 << 20], [30, 40], *finish, left_shift=LeftShift.WRAP)
    assert codes.tolist() == [[0, 1 << 13]]
