# SPDX-License-Identifier: Apache-2.0
"""Kernels compute on 64 bits: they must be right for the widest graphs that ``verify`` allows.

Each case grows with a number of bits until ``verify`` refuses it; the last valid one runs on the
most extreme codes.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from one_op_graphs import assert_kernel_equals_reference, operands_with_images
from small_graphs import S8, S16, S32, WRAP, Draft, accumulator

from simulator.graph import verify
from simulator.graph.bounds import bounds
from simulator.graph.ops import Add, L2Norm, LayerNorm, MatMul, Mean, Rescale, ScaledMatMul, Softmax
from simulator.numerics.integer_type import IntType, Overflow
from simulator.numerics.rounding import Rounding

WIDE = accumulator((0, 64, WRAP))
roundings, overflows = st.sampled_from(Rounding), st.sampled_from(Overflow)
shifts = st.integers(0, 62) | st.sampled_from([0, 1, 61, 62])
kinds = st.sampled_from([S8, S16, S32, IntType(bits=40)])


def zero_points(kind):
    return st.integers(-100, 100) | st.sampled_from([kind.low, kind.high])


def widest(build, bits):
    """Return the graph of the largest number of bits that is valid, and its op's bits."""
    valid = None
    for amount in bits:
        d = build(amount)
        graph = d.graph()
        problems = verify(graph)
        if not problems:
            valid = graph
        else:
            assert all("an intermediate may need" in problem for problem in problems)
    if valid is None:
        return None, 0
    return valid, bounds(valid, valid.ops[-1]).widest_bits


def extreme_codes(graph):
    """All lowest, all highest, and rows in which one of them meets the other."""
    operands = {}
    for name in operands_with_images(graph):
        tensor = graph.tensors[name]
        low, high = tensor.type.low, tensor.type.high
        codes = np.full((6, *tensor.shape), low, tensor.type.dtype)
        codes[1] = high
        codes[2, ..., 0] = high
        codes[3] = high
        codes[3, ..., 0] = low
        codes[4, ..., ::2] = high
        codes[5] = tensor.zero_point
        operands[name] = codes
    return operands


def check(build, bits):
    graph, needed = widest(build, bits)
    if graph is None:
        return 0
    assert_kernel_equals_reference(graph, extreme_codes(graph))
    operands = extreme_codes(graph)
    if len(operands) == 2:
        operands["a"] = operands["a"][::-1].copy()
        assert_kernel_equals_reference(graph, operands)
    return needed


def multipliers(bits):
    return ((1 << bits) - 1,)


@given(roundings, overflows, kinds, shifts, st.data())
def test_widest_rescale(rounding, overflow, kind, shift, data):
    zero_a, zero_y = data.draw(zero_points(kind)), data.draw(zero_points(S8))

    def build(bits):
        d = Draft(rounding, overflow)
        d.input("a", (2, 3), kind, zero_a)
        d.op(Rescale, "y", "a", multiplier=multipliers(bits), shift=(shift,), zero_point=zero_y)
        return d

    check(build, range(32))


@given(roundings, overflows, kinds, shifts, st.data())
def test_widest_add(rounding, overflow, kind, shift, data):
    zero_a, zero_b = data.draw(zero_points(kind)), data.draw(zero_points(kind))

    def build(bits):
        d = Draft(rounding, overflow)
        d.input("a", (2, 3), kind, zero_a)
        d.operand("b", (2, 3), kind, zero_b)
        d.op(
            Add,
            "y",
            "a",
            "b",
            multiplier_a=multipliers(bits),
            multiplier_b=multipliers(bits),
            shift=shift,
            zero_point=-128,
        )
        return d

    check(build, range(32))


@given(roundings, overflows, st.integers(1, 9), shifts, st.booleans())
def test_widest_matmul(rounding, overflow, terms, shift, constant):
    def build(bits):
        d = Draft(rounding, overflow)
        d.input("a", (2, terms), S16)
        if constant:
            d.constant("b", np.resize([S16.low, S16.high, -1], (2, terms)), S16)
            bias = d.constant("bias", [-(1 << 47), (1 << 47) - 1], IntType(bits=48))
        else:
            d.operand("b", (2, terms), S16)
            bias = None
        d.op(
            MatMul,
            "y",
            "a",
            "b",
            bias=bias,
            transpose_b=True,
            accumulator=WIDE,
            multiplier=multipliers(bits),
            shift=(shift,),
            zero_point=127,
        )
        return d

    check(build, range(32))


@given(roundings, overflows, st.sampled_from([1, 3, 5]), shifts, st.booleans())
def test_widest_scaled_matmul(rounding, overflow, block, shift, constant):
    def build(bits):
        d = Draft(rounding, overflow)
        d.input("a", (2, 15), S8)
        d.operand("e", (2, 15 // block), IntType(bits=4, signed=False))
        d.operand("row", (2, 1), IntType(bits=8, signed=False))
        given = {"row_factor": "row", "block_exponent": "e", "block": block}
        if constant:
            d.constant("b", np.resize([S8.low, S8.high, -1], (3, 15)), S8)
            bias = [-(1 << 47), (1 << 47) - 1, 0]
            given["bias"] = d.constant("bias", bias, IntType(bits=48))
        else:
            d.operand("b", (3, 15), S8)
            given["column_factor"] = d.operand("column", (3, 1), IntType(bits=6, signed=False))
        d.op(
            ScaledMatMul,
            "y",
            "a",
            "b",
            transpose_b=True,
            accumulator=WIDE,
            multiplier=multipliers(bits),
            shift=(shift,),
            zero_point=127,
            **given,
        )
        return d

    check(build, range(32))


@given(roundings, overflows, st.integers(1, 9), shifts, st.data())
def test_widest_mean(rounding, overflow, terms, shift, data):
    zero_point = data.draw(zero_points(S32))

    def build(bits):
        d = Draft(rounding, overflow)
        d.input("a", (terms, 3), S32, zero_point)
        d.op(
            Mean,
            "y",
            "a",
            accumulator=WIDE,
            multiplier=multipliers(bits),
            shift=(shift,),
            zero_point=-128,
        )
        return d

    check(build, range(32))


@given(
    roundings,
    overflows,
    st.sampled_from([S8, S16, IntType(bits=24)]),
    st.integers(1, 5),
    st.integers(0, 12),
    st.integers(0, 30),
    shifts,
    st.data(),
)
@settings(max_examples=150)
def test_widest_layer_norm(
    rounding, overflow, kind, channels, sqrt_bits, normalized_bits, shift, data
):
    zero_point = data.draw(zero_points(kind))
    channel_shift = data.draw(st.none() | st.just([0, 5, 1, 9, 2][:channels]))
    channel_multiplier = data.draw(st.none() | st.just([255, 1, 3, 65535, 2][:channels]))
    gamma = data.draw(st.sampled_from([1, 1 << 10, (1 << 31) - 1]))
    spare = data.draw(st.integers(0, 20))

    epsilon = data.draw(st.sampled_from([0, 1, 1 << 20]))

    def build(reciprocal_bits):
        d = Draft(rounding, overflow)
        d.input("a", (3, channels), kind, zero_point)
        d.op(
            LayerNorm,
            "y",
            "a",
            gamma=[gamma * (-1) ** c for c in range(channels)],
            beta=[(1 << 31) - 1] * channels,
            channel_multiplier=channel_multiplier,
            channel_shift=channel_shift,
            epsilon=epsilon,
            sqrt_fraction_bits=sqrt_bits,
            normalized_fraction_bits=normalized_bits,
            reciprocal_bits=reciprocal_bits,
            shift=shift,
            zero_point=127,
        )
        return d

    fewest = min(sqrt_bits + normalized_bits, 62)
    check(build, range(fewest, min(fewest + spare, 62) + 1))


@given(
    roundings,
    overflows,
    st.sampled_from([S8, S16, IntType(bits=24)]),
    st.integers(1, 5),
    st.integers(0, 12),
    st.integers(0, 30),
    shifts,
    st.data(),
)
@settings(max_examples=150)
def test_widest_l2norm(rounding, overflow, kind, channels, sqrt_bits, normalized_bits, shift, data):
    zero_point = data.draw(zero_points(kind))
    gain = data.draw(st.sampled_from([[1], [1 << 10], [(1 << 31) - 1], [(1 << 31) - 1, 0, 3]]))
    epsilon = data.draw(st.sampled_from([0, 1, 1 << 20, (1 << 31) - 1]))
    spare = data.draw(st.integers(0, 62))

    def build(reciprocal_bits):
        d = Draft(rounding, overflow)
        d.input("a", (3, 2, channels), kind, zero_point)
        d.op(
            L2Norm,
            "y",
            "a",
            gain=gain,
            epsilon=epsilon,
            sqrt_fraction_bits=sqrt_bits,
            normalized_fraction_bits=normalized_bits,
            reciprocal_bits=reciprocal_bits,
            shift=shift,
            zero_point=127,
        )
        return d

    fewest = min(sqrt_bits + normalized_bits, 62)
    check(build, range(fewest, min(fewest + spare, 62) + 1))


@pytest.mark.parametrize(
    ("kind", "sqrt_bits", "normalized_bits", "reciprocal_bits", "gain"),
    [
        (S8, 0, 0, range(63), 1),  # the product with the reciprocal
        (S8, 2, 30, range(32, 63), 1 << 31),  # the gain
        (IntType(bits=24), 6, 0, range(6, 63), 1),  # the sum of squares
    ],
)
def test_the_widest_intermediates_of_an_l2norm(
    kind, sqrt_bits, normalized_bits, reciprocal_bits, gain
):
    def build(bits):
        d = Draft()
        d.input("a", (3, 2, 8), kind, kind.low)
        d.op(
            L2Norm,
            "y",
            "a",
            gain=[gain],
            epsilon=0,
            sqrt_fraction_bits=sqrt_bits,
            normalized_fraction_bits=normalized_bits,
            reciprocal_bits=bits,
            shift=61 if gain > 1 else 8,
            zero_point=-128,
        )
        return d

    assert check(build, reciprocal_bits) >= 63


@given(
    roundings,
    overflows,
    st.integers(1, 9),
    st.sampled_from([[1], [1000], [65535], [1, 65535], [65535, 1], [3, 0, 65535, 0]]),
    shifts,
)
def test_widest_softmax(rounding, overflow, columns, table, shift):
    def build(bits):
        d = Draft(rounding, overflow)
        d.input("a", (3, columns), S8)
        table_codes = np.resize(table, 256)
        d.op(
            Softmax, "y", "a", table=table_codes, reciprocal_bits=bits, shift=shift, zero_point=255
        )
        return d

    assert check(build, range(63)) >= 62


@pytest.mark.parametrize("kind", [S32, IntType(bits=40)])
def test_the_search_goes_to_the_last_bit(kind):
    def build(bits):
        d = Draft()
        d.input("a", (2, 3), kind)
        d.operand("b", (2, 3), kind)
        d.op(Add, "y", "a", "b", multiplier_a=multipliers(bits), multiplier_b=multipliers(bits))
        return d

    assert check(build, range(32)) == 64


def test_sixteen_bit_activations_may_need_more_than_32_bits():
    d = Draft()
    d.input("a", (2, 5), S16)
    d.operand("b", (5, 2), S16)
    d.op(MatMul, "y", "a", "b", accumulator=WIDE, shift=(26,))
    graph = d.graph()
    assert bounds(graph, graph.ops[-1]).proven_free
    assert_kernel_equals_reference(graph, extreme_codes(graph))
