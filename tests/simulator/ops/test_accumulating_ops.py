# SPDX-License-Identifier: Apache-2.0
"""MatMul and Mean through registers so narrow that some outputs overflow and others do not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from narrow_accumulators import accumulators
from one_op_graphs import assert_kernel_equals_reference
from small_graphs import S8, S32, SATURATE, U8, WRAP, Draft, accumulator

from simulator.graph import verify
from simulator.graph.ops import MatMul, Mean
from simulator.numerics.integer_type import IntType

S24 = IntType(bits=24)


def linear(levels, weights, bias, kind=S8):
    """Return a product whose result shows every sum: 24 bits, factor 1."""
    d = Draft()
    d.input("a", (4, len(weights)), kind)
    d.constant("w", weights, S8)
    d.constant("bias", bias, S32)
    d.op(MatMul, "y", "a", "w", bias="bias", accumulator=levels, shift=(0,), type=S24)
    graph = d.graph()
    assert verify(graph) == []
    return graph


def some_codes(rng, largest, shape):
    return rng.integers(-largest, largest, shape, endpoint=True)


@given(accumulators(8, 18), st.sampled_from([2, 11, 40, 127]), st.integers(0, 10**6))
@settings(max_examples=150)
def test_products_with_weights(levels, largest, seed):
    rng = np.random.default_rng(seed)
    bias = some_codes(rng, 4 * largest, 5)
    graph = linear(levels, some_codes(rng, largest, (11, 5)), bias)
    codes = some_codes(rng, largest, (2, 4, 11)).astype(np.int8)
    assert_kernel_equals_reference(graph, {"a": codes})


@given(accumulators(8, 18), st.sampled_from([2, 11, 40, 127]), st.integers(0, 10**6), st.booleans())
@settings(max_examples=100)
def test_products_of_activations(levels, largest, seed, transpose_b):
    rng = np.random.default_rng(seed)
    d = Draft()
    d.input("a", (2, 3, 9), U8)
    d.operand("b", (2, 4, 9) if transpose_b else (2, 9, 4), S8)
    d.op(MatMul, "y", "a", "b", transpose_b=transpose_b, accumulator=levels, shift=(0,), type=S24)
    a, b = (
        np.abs(some_codes(rng, largest, (2, 2, 3, 9))).astype(np.uint8),
        some_codes(rng, largest, (2, *d.shape("b"))).astype(np.int8),
    )
    assert_kernel_equals_reference(d.graph(), {"a": a, "b": b})


@given(accumulators(8, 11), st.integers(1, 13), st.integers(-128, 127), st.integers(0, 10**6))
@settings(max_examples=100)
def test_means(levels, terms, zero_point, seed):
    rng = np.random.default_rng(seed)
    d = Draft()
    d.input("a", (2, terms, 3), S8, zero_point)
    d.op(Mean, "y", "a", axis=1, accumulator=levels, shift=(0,), type=S24)
    codes = some_codes(rng, int(rng.choice([5, 60, 127])), (2, 2, terms, 3)).astype(np.int8)
    assert_kernel_equals_reference(d.graph(), {"a": codes})


@pytest.mark.parametrize(
    "levels",
    [
        accumulator((0, 14, SATURATE)),
        accumulator((0, 14, WRAP)),
        accumulator((0, 14, SATURATE), bias_last=True),
        accumulator((2, 13, SATURATE), (0, 16, WRAP)),
        accumulator((2, 13, WRAP), (0, 16, SATURATE), bias_last=True),
        accumulator((1, 11, SATURATE), (4, 13, WRAP), (0, 15, SATURATE)),
    ],
)
def test_some_outputs_overflow_and_others_do_not(levels):
    rng = np.random.default_rng(8)
    # Rows and columns of growing size: small ones are safe, large ones are not.
    weights = some_codes(rng, 60, (24, 5)) // np.array([60, 8, 2, 1, 1])
    graph = linear(levels, weights, [200, -100, 0, 100, -200])
    codes = some_codes(rng, 127, (3, 4, 24)) // np.array([[100], [8], [2], [1]])
    result = assert_kernel_equals_reference(graph, {"a": codes.astype(np.int8)})
    assert 3 <= result.sums.overflowed <= 57


@pytest.mark.parametrize(
    ("codes", "levels", "expected", "overflowed"),
    [
        # Products of 15240 in a register up to 16383; clipped after each, each pair, each four.
        ([0, 120, 120, -120], [(0, 15, SATURATE)], 1143, 1),
        ([-120, 120, 120, 0], [(0, 15, SATURATE)], 15240, 0),
        ([0, 120, 120, -120], [(2, 24, SATURATE), (0, 15, SATURATE)], 15240, 0),
        ([120, 120, -120, -120], [(0, 15, SATURATE)], -14097, 1),
        ([-120, -120, 120, 120], [(0, 15, SATURATE)], 14096, 1),
        ([120, 120, -120, -120], [(2, 24, SATURATE), (0, 15, SATURATE)], -14097, 1),
        ([120, 120, -120, -120], [(4, 24, SATURATE), (0, 15, SATURATE)], 0, 0),
        ([120, 120, -120, -120], [(0, 15, WRAP)], 0, 1),  # on the way only, and forgiven
    ],
)
def test_order_and_block_size_decide_what_is_clipped(codes, levels, expected, overflowed):
    d = Draft()
    d.input("a", (1, 4))
    d.constant("w", [[127]] * 4, S8)
    d.op(MatMul, "y", "a", "w", accumulator=accumulator(*levels), shift=(0,), type=S24)
    result = assert_kernel_equals_reference(d.graph(), {"a": np.array([[codes]], np.int8)})
    assert result.codes.tolist() == [[[expected]]]
    assert (result.saturated, result.sums.overflowed) == (0, overflowed)
