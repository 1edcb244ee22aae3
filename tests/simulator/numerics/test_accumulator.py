# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from narrow_accumulators import accumulators
from small_graphs import SATURATE, WRAP, accumulator

from simulator.numerics.accumulator import (
    Accumulator,
    Event,
    OverflowPolicy,
    accumulate,
)
from simulator.numerics.accumulator_kernels import accumulate_kernel, level_table
from simulator.numerics.integer_type import IntType, Overflow, fit

codes = st.integers(-128, 127) | st.sampled_from([-128, 127])
biases = st.integers(-(1 << 24), 1 << 24)


def by_kernel(a, b, bias, levels: Accumulator):
    registers, sums, counts = np.empty((3, len(levels.levels)), np.int64)
    total, exact, event = accumulate_kernel(
        np.array(a, np.int64),
        np.array(b, np.int64),
        bias,
        levels.bias == "after_last_block",
        level_table(levels, len(a)),
        np.zeros(1, np.uint8),
        1,
        -1,
        registers,
        sums,
        counts,
    )
    assert exact == bias + sum(int(x) * int(y) for x, y in zip(a, b, strict=True))
    return int(total), Event(event)


# --- hand-computed cases, for the reference and for the kernel ------------------------------------

EACH_8 = accumulator((0, 8, SATURATE))
ALL_8 = accumulator((0, 8, WRAP))
EACH_8_BIAS_LAST = accumulator((0, 8, SATURATE), bias_last=True)
CASES = [
    # Saturating at every product: order matters.
    (EACH_8, [100, 100, -100], 0, (27, True)),  # 100, 127, 27
    (EACH_8, [-100, 100, 100], 0, (100, False)),
    (EACH_8, [-100, -100, 100], 0, (-28, True)),  # -100, -128, -28
    (EACH_8, [127, -127, -128], 0, (-128, False)),
    (EACH_8, [127, 1], 0, (127, True)),
    (EACH_8, [-128, -1], 0, (-128, True)),
    (EACH_8, [16256], 0, (127, True)),
    # Saturating after each block of two or four only: less is lost.
    (accumulator((2, 16, SATURATE), (0, 8, SATURATE)), [100, 100, -100], 0, (27, True)),
    (accumulator((4, 16, SATURATE), (0, 8, SATURATE)), [100, 100, -100], 0, (100, False)),
    (accumulator((2, 16, WRAP), (0, 8, SATURATE)), [100, -90, 100, 50], 0, (127, True)),
    (accumulator((2, 8, SATURATE), (0, 16, WRAP)), [100, 100, -100, 1], 0, (28, True)),
    (accumulator((2, 8, SATURATE), (0, 16, WRAP)), [100, -1, 100, 1, 100], 0, (300, False)),
    # The last group is whole: its two products meet in one register.
    (accumulator((2, 8, SATURATE), (0, 16, WRAP)), [1, 1, 100, 100], 0, (129, True)),
    # Wrapping: only the completed sum of the level counts.
    (ALL_8, [100, 100, -100], 0, (100, False)),
    (ALL_8, [100, 100], 0, (-56, True)),
    (ALL_8, [-100, -100], 0, (56, True)),
    (ALL_8, [127, 1], 0, (-128, True)),
    (ALL_8, [128, 128], 0, (0, True)),
    (accumulator((2, 8, WRAP), (0, 32, WRAP)), [100, 100, 1, 1], 0, (-54, True)),
    (accumulator((2, 8, WRAP), (0, 32, WRAP)), [100, -100, 100, 1], 0, (101, False)),
    (accumulator((2, 8, WRAP), (0, 32, SATURATE)), [1, 1, 100, 100, 100], 0, (46, True)),
    # The bias: first or last.
    (EACH_8, [-100], 120, (20, False)),
    (EACH_8, [-100], 200, (27, True)),  # 127, 27
    (EACH_8_BIAS_LAST, [-100], 200, (100, False)),
    (EACH_8, [100, -100], 100, (27, True)),  # 100, 127, 27
    (EACH_8_BIAS_LAST, [100, -100], 100, (100, False)),
    (EACH_8_BIAS_LAST, [100], 100, (127, True)),
    (ALL_8, [-100], 200, (100, False)),
    (accumulator((0, 8, WRAP), bias_last=True), [-100], 200, (100, False)),
    (accumulator((0, 8, WRAP), bias_last=True), [-100], 300, (-56, True)),
    (accumulator((1, 8, SATURATE), (0, 16, WRAP)), [200, 200], 1000, (1254, True)),
    (accumulator((1, 8, SATURATE), (0, 16, WRAP), bias_last=True), [9], 200, (209, False)),
    # Three levels: two products in 9 bits, three such sums in 10 bits, all in 11 bits.
    (
        accumulator((2, 9, SATURATE), (6, 10, SATURATE), (0, 11, SATURATE)),
        [200, 200, 200, 200, 200, -100, 200, 200],
        0,
        (511 + 255, True),  # 255 + 255 + 100 -> 511; then 255
    ),
    (
        accumulator((2, 9, WRAP), (6, 10, WRAP), (0, 11, WRAP)),
        [200, 200, 200, 200, 200, -100, 200, 200],
        5,
        (5 - 124 - 112, True),  # 400 is -112: -112 - 112 + 100 = -124; then -112
    ),
    # Nothing to add.
    (EACH_8, [], 0, (0, False)),
    (EACH_8, [], 300, (127, True)),
    (EACH_8_BIAS_LAST, [], -300, (-128, True)),
    (accumulator((2, 8, WRAP), (0, 16, WRAP)), [], 300, (300, False)),
]


@pytest.mark.parametrize(("levels", "products", "bias", "expected"), CASES)
def test_hand_computed_sums(levels, products, bias, expected):
    assert levels.problems() == []
    found = accumulate(products, bias, levels)
    assert (found[0], Event.CHANGED in found[1]) == expected
    assert by_kernel(products, [1] * len(products), bias, levels) == found


CHANGED, TRANSIENT, PERSISTENT = Event.CHANGED, Event.TRANSIENT, Event.PERSISTENT
EVENTS = [
    (EACH_8, [100, 100, -100], 0, CHANGED | TRANSIENT),
    (ALL_8, [100, 100, -100], 0, TRANSIENT),  # forgiven
    (ALL_8, [100, 100, 100], 0, CHANGED | PERSISTENT),
    (EACH_8, [100, 100], 0, CHANGED | PERSISTENT),
    (EACH_8, [100, 27], 0, Event.NONE),
    # 100, 127, 27, -100, -128, -28: what was clipped above comes back below.
    (EACH_8, [100, 127, -100, -127, -128, 100], 0, TRANSIENT),
    (EACH_8, [100, 100, -128, -128, -128, 100], 0, CHANGED | TRANSIENT),
    # Completed is what a level hands over: 200 there, not the 100 that the output ends with.
    (accumulator((2, 8, SATURATE), (0, 16, WRAP)), [100, 100, -100], 0, CHANGED | PERSISTENT),
    (accumulator((2, 8, WRAP), (0, 16, WRAP)), [100, 27, 5], 0, Event.NONE),
    (accumulator((2, 8, WRAP), (0, 16, WRAP)), [200, -100, 5], 0, TRANSIENT),
    (accumulator((3, 8, WRAP), (0, 16, WRAP)), [100, 100, -100, 5], 0, TRANSIENT),
    (accumulator((3, 8, SATURATE), (0, 16, WRAP)), [100, 100, -100, 5], 0, CHANGED | TRANSIENT),
    # The bias, first and last; what a register starts with counts too.
    (ALL_8, [-100], 200, TRANSIENT),
    (accumulator((0, 8, WRAP), bias_last=True), [-100], 200, Event.NONE),
    (accumulator((0, 8, WRAP), bias_last=True), [100, 100], -100, TRANSIENT),
    (accumulator((0, 8, WRAP), bias_last=True), [100], 100, CHANGED | PERSISTENT),
    # Twice 128 wraps to 0, as the exact sum of 256 does not: two levels that cancel each other.
    (accumulator((1, 8, WRAP), (0, 16, WRAP)), [128, -128], 0, CHANGED | PERSISTENT),
]


@pytest.mark.parametrize(("levels", "products", "bias", "event"), EVENTS)
def test_what_is_transient_and_what_persists(levels, products, bias, event):
    assert accumulate(products, bias, levels)[1] == event
    assert by_kernel(products, [1] * len(products), bias, levels)[1] == event


def test_a_report_leaves_the_exact_sum():
    for overflow in (SATURATE, WRAP):
        levels = replace(accumulator((0, 8, overflow)), policy=OverflowPolicy.REPORT)
        assert accumulate([100, 100, 100], 5, levels) == (305, CHANGED | PERSISTENT)
        assert str(levels) == f"all:8 {overflow} (policy report)"
        stops = replace(levels, policy=OverflowPolicy.ERROR)
        assert str(stops) == f"all:8 {overflow} (policy error)"


@pytest.mark.parametrize("bits", range(8, 65))
def test_every_width_saturates_and_wraps_at_its_own_ends(bits):
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    for bias_last in (False, True):
        saturating = accumulator((0, bits, SATURATE), bias_last=bias_last)
        wrapping = accumulator((0, bits, WRAP), bias_last=bias_last)
        for levels, beyond in ((saturating, (high, low)), (wrapping, (low, high))):
            cases = [
                ([high], 0, (high, False)),
                ([low], 0, (low, False)),
                ([high - 1], 1, (high, False)),
                ([high], 1, (beyond[0], True)),
                ([high, 1], 0, (beyond[0], True)),
                ([low], -1, (beyond[1], True)),
                ([-1, low], 0, (beyond[1], True)),
            ]
            for products, bias, expected in cases:
                total, event = accumulate(products, bias, levels)
                assert (total, Event.CHANGED in event) == expected
                if bits < 64:  # the kernel's own sums have 64 bits
                    ones = [1] * len(products)
                    assert by_kernel(products, ones, bias, levels) == (total, event)


def test_the_result_of_a_wrapping_level_does_not_depend_on_order():
    products = [16256, -3, 200, -16129, 77, 5]
    for bits in range(8, 20):
        levels = accumulator((0, bits, WRAP))
        total = fit(sum(products) + 9, IntType(bits=bits), Overflow.WRAP)
        assert accumulate(products, 9, levels)[0] == total
        assert accumulate(products[::-1], 9, levels)[0] == total


@given(accumulators())
def test_levels_that_nest_are_possible(levels):
    assert levels.problems() == []


@given(accumulators(), st.lists(st.tuples(codes, codes), max_size=14), biases)
@settings(max_examples=400)
def test_kernel_equals_reference(levels, pairs, bias):
    a, b = [x for x, _ in pairs], [y for _, y in pairs]
    expected = accumulate([x * y for x, y in pairs], bias, levels)
    assert by_kernel(a, b, bias, levels) == expected


@given(accumulators(8, 12), st.lists(codes, max_size=14), st.integers(-300, 300))
@settings(max_examples=400)
def test_kernel_equals_reference_on_sums_of_single_codes(levels, addends, bias):
    expected = accumulate(addends, bias, levels)
    assert by_kernel(addends, [1] * len(addends), bias, levels) == expected


# --- which levels are possible --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("levels", "problem"),
    [
        ([], 'exactly the last (outermost) level has group "all"'),
        ([(4, 16, WRAP)], 'exactly the last (outermost) level has group "all"'),
        ([(0, 16, WRAP), (0, 32, WRAP)], 'exactly the last (outermost) level has group "all"'),
        (
            [(0, 16, WRAP), (4, 16, WRAP), (0, 32, WRAP)],
            'exactly the last (outermost) level has group "all"',
        ),
        ([(-4, 16, WRAP), (0, 32, WRAP)], "levels[0].group = -4: must be at least 1"),
        ([(0, 7, WRAP)], "levels[0].bits = 7: must be 8..64"),
        ([(2, 16, WRAP), (0, 65, WRAP)], "levels[1].bits = 65: must be 8..64"),
        (
            [(0, 16, Overflow.SATURATE_SYMMETRIC)],
            "levels[0].overflow: an accumulator saturates or wraps",
        ),
        (
            [(4, 16, WRAP), (6, 16, WRAP), (0, 32, WRAP)],
            "levels[1].group = 6: must be a multiple of 4",
        ),
        (
            [(4, 16, WRAP), (4, 16, WRAP), (0, 32, WRAP)],
            "levels[1].group = 4: must be a multiple of 4",
        ),
        (
            [(4, 16, WRAP), (2, 16, WRAP), (0, 32, WRAP)],
            "levels[1].group = 2: must be a multiple of 4",
        ),
    ],
)
def test_impossible_levels_are_named(levels, problem):
    assert any(problem in found for found in accumulator(*levels).problems())


def test_text_names_every_level():
    levels = accumulator((2, 16, SATURATE), (0, 32, WRAP))
    assert str(levels) == "2:16 saturate, all:32 wrap"
