# SPDX-License-Identifier: Apache-2.0
"""What every op computes, on numbers small enough to follow by hand."""

from __future__ import annotations

import numpy as np
import pytest
from one_op_graphs import assert_kernel_equals_reference, operands_with_images
from small_graphs import S4, S8, S16, S32, SATURATE, U8, Draft, accumulator

from simulator.graph import verify
from simulator.graph.ops import (
    Add,
    Concat,
    LayerNorm,
    Lookup,
    MatMul,
    Mean,
    Rescale,
    Reshape,
    Slice,
    Softmax,
    Transpose,
)
from simulator.numerics.integer_type import Overflow
from simulator.numerics.rounding import Rounding


def outcome(d, *codes):
    """Run the draft's last op on one image; return codes and counts."""
    graph = d.graph()
    assert verify(graph) == []
    operands = {
        name: np.array([values]).astype(graph.tensors[name].type.dtype)
        for name, values in zip(operands_with_images(graph), codes, strict=True)
    }
    result = assert_kernel_equals_reference(graph, operands)
    overflowed = result.sums.overflowed if result.sums else 0
    return result.codes[0].tolist(), result.saturated, overflowed


@pytest.mark.parametrize("transpose_b", [False, True])
def test_matmul_with_weights(transpose_b):
    d = Draft()
    d.input("a", (2, 2))
    weights = np.array([[3, -4], [5, 6]])
    d.constant("w", weights.T if transpose_b else weights, S8)
    d.constant("bias", [7, -1], S32)
    d.op(
        MatMul,
        "y",
        "a",
        "w",
        bias="bias",
        transpose_b=transpose_b,
        multiplier=(1, 3),
        shift=(2, 1),
        zero_point=1,
    )
    # [1, 2]: 3 + 10 + 7 = 20 -> 5; -4 + 12 - 1 = 7, times 3 = 21 -> 10.5 -> 11
    # [-3, 100]: 498 -> 124.5 -> 125; 611 -> 916.5 -> 917, too large
    assert outcome(d, [[1, 2], [-3, 100]]) == ([[6, 12], [126, 127]], 1, 0)


@pytest.mark.parametrize("transpose_b", [False, True])
def test_matmul_of_activations(transpose_b):
    d = Draft()
    d.input("a", (2, 1, 2), U8)
    d.operand("b", (2, 3, 2) if transpose_b else (2, 2, 3), S8)
    d.op(MatMul, "y", "a", "b", transpose_b=transpose_b, accumulator=accumulator((0, 10, SATURATE)))
    b = np.array([[[1, 2, 3], [-1, 0, 1]], [[0, 4, -4], [5, 5, 5]]])
    # [200, 100]: 100, 400, 511 (600, then 700); [10, 255]: 511 (1275), 511, 511
    # times 1 / 64: 1.56, 6.25, 7.98
    codes = b.swapaxes(1, 2) if transpose_b else b
    assert outcome(d, [[[200, 100]], [[10, 255]]], codes) == ([[[2, 6, 8]], [[8, 8, 8]]], 0, 4)


def test_rescale():
    d = Draft()
    d.input("a", (1, 3), S8, 3)
    d.op(Rescale, "y", "a", multiplier=(3,), shift=(2,), zero_point=5)
    # (-7 - 3) * 3 / 4 = -7.5 -> -7; 0; 124 * 0.75 = 93
    assert outcome(d, [[-7, 3, 127]]) == ([[-2, 5, 98]], 0, 0)


def test_add():
    d = Draft()
    d.input("a", (1, 3), S8, -2)
    d.operand("b", (1, 3), S8, 1)
    d.op(Add, "y", "a", "b", multiplier_a=(3,), multiplier_b=(5, 5, 1), shift=2, zero_point=4)
    # 12 * 3 - 6 * 5 = 6 -> 1.5 -> 2; 129 * 3 + 0 = 387 -> 96.75 -> 97
    # 2 * 3 + 6 * 1 = 12 -> 3, where rounding 1.5 and 1.5 one by one gives 4
    assert outcome(d, [[10, 127, 0]], [[-5, 1, 7]]) == ([[6, 101, 7]], 0, 0)


def test_add_of_a_constant_to_every_row():
    d = Draft()
    d.input("a", (2, 2, 2))
    d.constant("b", [[1, 2], [3, 4]], S8)
    d.op(Add, "y", "a", "b", multiplier_a=(1,), multiplier_b=(10,), shift=0)
    codes = [[[0, 0], [1, 1]], [[2, 2], [-3, -3]]]
    assert outcome(d, codes) == ([[[10, 20], [31, 41]], [[12, 22], [27, 37]]], 0, 0)


def layer_norm(codes, zero_a=0, **fields):
    d = Draft()
    d.input("a", (1, len(codes)), S8, zero_a)
    ones = [1] * len(codes)
    defaults = {"gamma": ones, "beta": [0] * len(codes), "epsilon": 0, "shift": 0, "type": S16}
    d.op(LayerNorm, "y", "a", **defaults | fields)
    (row,), saturated, _ = outcome(d, [codes])
    return row if not saturated else (row, saturated)


def test_layer_norm():
    fields = {"sqrt_fraction_bits": 4, "reciprocal_bits": 16, "normalized_fraction_bits": 8}
    # u = 2, 4; d = -2, 2; v = 2 * 20 - 36 = 4; r = isqrt(4 * 256) = 32; i = 2048; n = -256, 256
    assert layer_norm([3, 5], 1, **fields) == [-256, 256]
    # times 3 and 5, plus 10 and -7: -758 / 256 = -2.96; 1273 / 256 = 4.97
    affine = {"gamma": [3, 5], "beta": [10, -7], "shift": 8}
    assert layer_norm([3, 5], 1, **fields, **affine) == [-3, 5]
    assert layer_norm([3, 5], 1, **fields, **affine, zero_point=125, type=S8) == ([122, 127], 1)
    # v = 3 * 2 - 4 = 2; r = isqrt(512) = 22; i = 65536 / 22 = 2978; n = -372.25 -> -373, 186.1
    assert layer_norm([0, 1, 1], **fields) == [-373, 186, 186]


def test_layer_norm_of_shifted_channels():
    fields = {
        "sqrt_fraction_bits": 0,
        "reciprocal_bits": 8,
        "normalized_fraction_bits": 4,
        "channel_shift": [0, 2],
    }
    # u = 2, 16; d = -14, 14; v = 2 * 260 - 324 = 196; r = 14; i = 18; n = -252 / 16 = -15.75
    assert layer_norm([3, 5], 1, **fields) == [-16, 15]
    # v = 196 + 60 = 256; r = 16; i = 16; n = -224 / 16
    assert layer_norm([3, 5], 1, **fields, epsilon=60) == [-14, 14]


def test_layer_norm_of_the_smallest_variance():
    fields = {"sqrt_fraction_bits": 0, "reciprocal_bits": 8, "normalized_fraction_bits": 4}
    # u = 0, 1; d = -1, 1; v = 2 - 1 = 1; r = 1; i = 256; n = -256 / 16, 256 / 16
    assert layer_norm([0, 1], **fields) == [-16, 16]


@pytest.mark.parametrize("epsilon", [0, 1, 1000])
@pytest.mark.parametrize("code", [-128, 0, 5, 127])
def test_layer_norm_of_a_constant_row_is_beta(code, epsilon):
    found = layer_norm([code] * 3, 5, epsilon=epsilon, gamma=[1000] * 3, beta=[7, 9, -9], shift=1)
    assert found == [4, 5, -4]  # 3.5, 4.5, -4.5


def test_layer_norm_without_shifts_is_that_with_shifts_of_zero():
    codes = [3, -100, 7, 127, -128, 0]
    assert layer_norm(codes, 9) == layer_norm(codes, 9, channel_shift=[0] * 6)


def test_layer_norm_of_multiplied_channels():
    fields = {"sqrt_fraction_bits": 0, "reciprocal_bits": 8, "normalized_fraction_bits": 4}
    # u = 6, 16; d = -10, 10; v = 2 * 292 - 484 = 100; r = 10; i = 25; n = -250 / 16, 250 / 16
    assert layer_norm([3, 5], 1, **fields, channel_multiplier=[3, 4]) == [-16, 15]
    # u = 6, 16 << 1; d = -26, 26; v = 2 * 1060 - 1444 = 676; r = 26; i = 9; n = -234 / 16
    both = {"channel_multiplier": [3, 4], "channel_shift": [0, 1]}
    assert layer_norm([3, 5], 1, **fields, **both) == [-15, 14]


def test_multipliers_that_are_powers_of_two_are_shifts():
    codes = [3, -100, 7, 127, -128, 0]
    assert layer_norm(codes, 9, channel_multiplier=[1, 8, 2, 4, 1, 16]) == layer_norm(
        codes, 9, channel_shift=[0, 3, 1, 2, 0, 4]
    )


def test_layer_norm_without_multipliers_is_that_with_multipliers_of_one():
    codes = [3, -100, 7, 127, -128, 0]
    assert layer_norm(codes, 9) == layer_norm(codes, 9, channel_multiplier=[1] * 6)


TABLE = [8, 4, 2, 1] + [0] * 12


def softmax(codes, zero_point=0, **fields):
    d = Draft()
    d.input("a", (1, len(codes)), S4, zero_point)
    d.op(Softmax, "y", "a", **{"table": TABLE, "reciprocal_bits": 8, "shift": 0} | fields)
    (row,), saturated, _ = outcome(d, [codes])
    return row, saturated


def test_softmax():
    # e = 8, 4, 1, 0; i = (256 + 6) / 13 = 20, where 256 / 13 is 19
    assert softmax([3, 2, 0, -5]) == ([160, 80, 20, 0], 0)
    assert softmax([3, 2, 0, -5], shift=3, zero_point=5) == ([20, 10, 3, 0], 0)  # 2.5 is 3


def test_softmax_does_not_depend_on_the_zero_point_of_its_operand():
    d = Draft()
    d.input("a", (1, 4), S4, 7)
    d.op(Softmax, "y", "a", table=TABLE, reciprocal_bits=8, shift=0, zero_point=9)
    assert outcome(d, [[3, 2, 0, -5]]) == ([[169, 89, 29, 9]], 0, 0)


@pytest.mark.parametrize("code", [-8, 0, 7])
def test_softmax_of_equal_codes_is_uniform(code):
    assert softmax([code] * 4) == ([64] * 4, 0)


@pytest.mark.parametrize("place", range(4))
def test_softmax_of_one_dominant_code_passes_the_largest_result(place):
    codes = [-8] * 4
    codes[place] = 7
    expected = [0] * 4
    expected[place] = 255  # 256 does not fit eight bits
    assert softmax(codes) == (expected, 1)


def test_lookup():
    d = Draft()
    d.input("a", (1, 4), S4, 1)
    d.op(Lookup, "y", "a", table=range(100, 116), type=S8)
    assert outcome(d, [[-8, 7, 0, -1]]) == ([[100, 115, 108, 107]], 0, 0)
    d = Draft()
    d.input("a", (1, 3), U8)
    d.op(Lookup, "y", "a", table=range(255, -1, -1), type=U8)
    assert outcome(d, [[0, 255, 100]]) == ([[255, 0, 155]], 0, 0)


def test_mean():
    d = Draft()
    d.input("a", (3, 2), S8, -1)
    d.op(Mean, "y", "a", multiplier=(5,), shift=(4,), zero_point=-3)
    # 11 + 21 + 32 = 64 -> 20; -4 + 0 + 1 = -3 -> -0.94
    assert outcome(d, [[10, -5], [20, -1], [31, 0]]) == ([17, -4], 0, 0)


def test_mean_in_a_narrow_register():
    d = Draft()
    d.input("a", (3, 2), S8, -1)
    d.op(Mean, "y", "a", accumulator=accumulator((0, 8, SATURATE)), shift=(0,))
    # 101, 127 (from 202), 27; and 27 + 40 + 50
    assert outcome(d, [[100, 26], [100, 39], [-101, 49]]) == ([27, 117], 0, 1)


def test_layout_ops():
    codes = [[1, 2, 3], [4, 5, 6]]
    d = Draft()
    d.input("a", (2, 3))
    d.constant("c", [[7], [8]], S8)
    d.op(Concat, "y", "a", "c", "a", axis=1)
    assert outcome(d, codes) == ([[1, 2, 3, 7, 1, 2, 3], [4, 5, 6, 8, 4, 5, 6]], 0, 0)
    for op_type, given, expected in (
        (Slice, {"start": 1, "stop": 3, "axis": 1}, [[2, 3], [5, 6]]),
        (Slice, {"start": 0, "stop": 3, "step": 2, "axis": 1}, [[1, 3], [4, 6]]),
        (Slice, {"start": 0, "stop": 2, "step": 5}, [[1, 2, 3]]),
        (Reshape, {"shape": (3, 2)}, [[1, 2], [3, 4], [5, 6]]),
        (Transpose, {"permutation": (1, 0)}, [[1, 4], [2, 5], [3, 6]]),
    ):
        d = Draft()
        d.input("a", (2, 3))
        d.op(op_type, "y", "a", **given)
        assert outcome(d, codes) == (expected, 0, 0)


@pytest.mark.parametrize(
    ("overflow", "expected"),
    [
        (Overflow.SATURATE, [-128, 127]),
        (Overflow.SATURATE_SYMMETRIC, [-127, 127]),
        (Overflow.WRAP, [98, -56]),  # -158 and 200
    ],
)
def test_overflow_of_a_sum(overflow, expected):
    d = Draft(Rounding.FLOOR, overflow)
    d.input("a", (1, 2))
    d.op(Add, "y", "a", "a", multiplier_a=(1,), multiplier_b=(1,), shift=0)
    assert outcome(d, [[-79, 100]]) == ([expected], 2, 0)
