# SPDX-License-Identifier: Apache-2.0
"""Many outputs at once, and which of them cannot overflow."""

from __future__ import annotations

from dataclasses import replace
from math import isqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from narrow_accumulators import accumulators
from small_graphs import SATURATE, WRAP, accumulator

from simulator.numerics.accumulator import Event, OverflowPolicy, accumulate
from simulator.numerics.accumulator_kernels import (
    NOT_SHIFTED,
    accumulate_candidates,
    accumulate_rows,
    level_table,
    overflow_bound_squared,
)

codes = st.integers(-128, 127) | st.sampled_from([-128, 127])


@given(accumulators(8, 18), st.integers(0, 10**6))
@settings(max_examples=150)
def test_accumulating_the_candidates_gives_every_sum(levels, seed):
    rng = np.random.default_rng(seed)
    largest = int(rng.choice([3, 20, 128]))
    a = rng.integers(-largest, largest, (4, 9)).astype(np.int8)
    b = rng.integers(-largest, largest, (5, 9)).astype(np.int8)
    bias = rng.integers(-largest, largest, 5)
    exact = a.astype(np.int64) @ b.astype(np.int64).T + bias
    square_a, square_b = ((codes.astype(np.int64) ** 2).sum(axis=1) for codes in (a, b))
    bound = overflow_bound_squared(bias, square_b, levels)
    bias_last = levels.bias == "after_last_block"
    table = level_table(levels, 9)
    events = np.zeros(3, np.int64)
    before = exact.copy()
    accumulate_candidates(
        a, b, bias, bias_last, table, NOT_SHIFTED, square_a, bound, False, before, np.zeros(3, int)
    )
    assert before.tolist() == exact.tolist()
    accumulate_candidates(
        a, b, bias, bias_last, table, NOT_SHIFTED, square_a, bound, True, exact, events
    )
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
def test_accumulating_whole_rows_gives_every_sum(bits, overflow, bias_last, apply, seed):
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
    accumulate_rows(a, b, bias, bias_last, kind.low, kind.high, wraps, apply, exact, events)
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
def test_the_bound_of_squared_lengths(levels, bias, square_b, expected):
    found = overflow_bound_squared(np.array([bias]), np.array([square_b]), accumulator(*levels))
    assert found.tolist() == [expected]


@given(
    accumulators(8, 14),
    st.lists(st.integers(-40, 40), min_size=1, max_size=8),
    st.integers(-200, 200),
    st.data(),
)
@settings(max_examples=300)
def test_no_output_within_the_bound_overflows(levels, b, bias, data):
    # Cauchy-Schwarz is an equality for parallel vectors: the largest multiple of b within the
    # bound, with either sign, in the order given and with all products of one sign first.
    square_b = sum(y * y for y in b)
    bound = int(overflow_bound_squared(np.array([bias]), np.array([square_b]), levels)[0])
    if bound < 0:
        return
    parallel = isqrt(bound // square_b) if square_b else 127
    any_a = data.draw(st.lists(codes, min_size=len(b), max_size=len(b)))
    rows = [[sign * parallel * y for y in b] for sign in (-1, 1)]
    rows += [[parallel * abs(y) for y in b], any_a]
    for a in rows:
        if sum(x * x for x in a) <= bound:
            products = [x * y for x, y in zip(a, b, strict=True)]
            for order in (products, products[::-1], sorted(products), sorted(products)[::-1]):
                assert accumulate(order, bias, levels)[1] == Event.NONE, order


@pytest.mark.parametrize("codes", [[-128, 1, 0], [127, -1, 0], [0, -128, 1], [0, 127, -1]])
def test_whole_rows_may_touch_the_ends_of_a_register(codes):
    a, b = np.array([codes], np.int8), np.ones((3, 1), np.int32)
    exact, events = np.array([[sum(codes)]], np.int64), np.zeros(3, np.int64)
    accumulate_rows(a, b, np.zeros(1, np.int32), False, -128, 127, False, True, exact, events)
    assert accumulate(codes, 0, accumulator((0, 8, SATURATE))) == (sum(codes), Event.NONE)
    assert (exact.tolist(), events.tolist()) == ([[sum(codes)]], [0, 0, 0])
