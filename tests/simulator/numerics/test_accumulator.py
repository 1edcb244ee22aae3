# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
from math import isqrt

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
    accumulate_kernel,
    level_table,
    safe_square,
    walk_rows,
    walk_suspects,
)
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


# --- many outputs at once -------------------------------------------------------------------------


@given(accumulators(8, 18), st.integers(0, 10**6))
@settings(max_examples=150)
def test_walking_the_suspects_gives_every_sum(levels, seed):
    rng = np.random.default_rng(seed)
    largest = int(rng.choice([3, 20, 128]))
    a = rng.integers(-largest, largest, (4, 9)).astype(np.int8)
    b = rng.integers(-largest, largest, (5, 9)).astype(np.int8)
    bias = rng.integers(-largest, largest, 5)
    exact = a.astype(np.int64) @ b.astype(np.int64).T + bias
    square_a, square_b = ((codes.astype(np.int64) ** 2).sum(axis=1) for codes in (a, b))
    safe = safe_square(bias, square_b, levels)
    bias_last = levels.bias == "after_last_block"
    table = level_table(levels, 9)
    events = np.zeros(3, np.int64)
    before = exact.copy()
    walk_suspects(a, b, bias, bias_last, table, square_a, safe, False, before, np.zeros(3, int))
    assert before.tolist() == exact.tolist()
    walk_suspects(a, b, bias, bias_last, table, square_a, safe, True, exact, events)
    expected = [
        [
            accumulate([int(x) * int(y) for x, y in zip(row, column, strict=True)], int(c), levels)
            for column, c in zip(b, bias, strict=True)
        ]
        for row in a
    ]
    assert exact.tolist() == [[total for total, _ in row] for row in expected]
    assert events.tolist() == counted(event for row in expected for _, event in row)


def counted(events):
    found = list(events)
    return [
        sum(kind in event for event in found)
        for kind in (Event.CHANGED, Event.TRANSIENT, Event.PERSISTENT)
    ]


@given(
    st.integers(8, 30),
    st.sampled_from([SATURATE, WRAP]),
    st.booleans(),
    st.booleans(),
    st.integers(0, 10**6),
)
@settings(max_examples=200)
def test_walking_whole_rows_gives_every_sum(bits, overflow, bias_last, apply, seed):
    rng = np.random.default_rng(seed)
    largest = min(128, 1 << max(1, bits - 6))
    a = rng.integers(-largest, largest, (3, 11)).astype(np.int8)
    b = rng.integers(-largest, largest, (11, 19)).astype(np.int32)
    bias = rng.integers(-(1 << bits), 1 << bits, 19).astype(np.int32) // rng.choice([1, 4, 64])
    levels = accumulator((0, bits, overflow), bias_last=bias_last)
    if not apply:
        levels = replace(levels, policy=OverflowPolicy.REPORT)
    kind = levels.levels[0].kind
    exact = a.astype(np.int64) @ b + bias
    events = np.zeros(3, np.int64)
    wraps = overflow is WRAP
    walk_rows(a, b, bias, bias_last, kind.low, kind.high, wraps, apply, exact, events)
    expected = [
        [
            accumulate([int(x) * int(y) for x, y in zip(row, column, strict=True)], int(c), levels)
            for column, c in zip(b.T, bias, strict=True)
        ]
        for row in a
    ]
    assert exact.tolist() == [[total for total, _ in row] for row in expected]
    assert events.tolist() == counted(event for row in expected for _, event in row)


@pytest.mark.parametrize(
    ("levels", "bias", "square_b", "expected"),
    [
        ([(0, 8, SATURATE)], 27, 100, 99),  # |a| |b| < 100
        ([(0, 8, SATURATE)], -27, 100, 99),
        ([(0, 8, SATURATE)], 0, 1, 127 * 127 - 1),
        ([(0, 8, SATURATE)], 0, 0, 127 * 127 - 1),
        ([(2, 8, WRAP), (0, 32, WRAP)], 0, 1, 127 * 127 - 1),
        ([(2, 32, WRAP), (0, 8, WRAP)], 0, 1, 127 * 127 - 1),
        ([(0, 8, SATURATE)], 126, 4, 0),
        ([(0, 8, SATURATE)], 127, 4, -1),
        ([(0, 8, SATURATE)], -128, 4, -1),
        ([(0, 8, SATURATE)], 1 << 40, 4, -1),
        ([(0, 64, SATURATE)], 0, 1 << 40, ((1 << 31) - 1) ** 2 >> 40),
    ],
)
def test_largest_safe_square(levels, bias, square_b, expected):
    found = safe_square(np.array([bias]), np.array([square_b]), accumulator(*levels))
    assert found.tolist() == [expected]


@given(
    accumulators(8, 14),
    st.lists(st.integers(-40, 40), min_size=1, max_size=8),
    st.integers(-200, 200),
    st.data(),
)
@settings(max_examples=300)
def test_no_output_that_overflows_is_called_safe(levels, b, bias, data):
    # Cauchy-Schwarz is an equality for parallel vectors: the largest multiple of b that is called
    # safe, with either sign, in the order given and with all products of one sign first.
    square_b = sum(y * y for y in b)
    safe = int(safe_square(np.array([bias]), np.array([square_b]), levels)[0])
    if safe < 0:
        return
    parallel = isqrt(safe // square_b) if square_b else 127
    any_a = data.draw(st.lists(codes, min_size=len(b), max_size=len(b)))
    rows = [[sign * parallel * y for y in b] for sign in (-1, 1)]
    rows += [[parallel * abs(y) for y in b], any_a]
    for a in rows:
        if sum(x * x for x in a) <= safe:
            products = [x * y for x, y in zip(a, b, strict=True)]
            for order in (products, products[::-1], sorted(products), sorted(products)[::-1]):
                assert accumulate(order, bias, levels)[1] == Event.NONE, order


@pytest.mark.parametrize("codes", [[-128, 1, 0], [127, -1, 0], [0, -128, 1], [0, 127, -1]])
def test_whole_rows_may_touch_the_ends_of_a_register(codes):
    a, b = np.array([codes], np.int8), np.ones((3, 1), np.int32)
    exact, events = np.array([[sum(codes)]], np.int64), np.zeros(3, np.int64)
    walk_rows(a, b, np.zeros(1, np.int32), False, -128, 127, False, True, exact, events)
    assert accumulate(codes, 0, accumulator((0, 8, SATURATE))) == (sum(codes), Event.NONE)
    assert (exact.tolist(), events.tolist()) == ([[sum(codes)]], [0, 0, 0])
