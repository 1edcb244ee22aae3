# SPDX-License-Identifier: Apache-2.0
"""Element-wise ops and LayerNorm by bisection: values by hand, and formulas written in other ways.

What has no other implementation to compare with is compared, code by code, with an expression of
the source's formula that shares nothing with the op's own.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from functools import partial
from math import erf, floor, isqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from one_op_graphs import assert_kernel_equals_reference, operands_with_images
from small_graphs import S4, S8, S16, S32, U8, WRAP, Draft

from simulator.graph import verify
from simulator.graph.bounds import bounds
from simulator.graph.ops import (
    AddShifted,
    GeluPolynomial,
    InterpolatedLookup,
    LayerNorm,
    LayerNormBisection,
    Mean,
    Mul,
    ShiftGelu,
    SquaredDifference,
)
from simulator.numerics.integer_type import IntType
from simulator.numerics.polynomial_gelu import polynomial_gelu_constants
from simulator.numerics.rounding import DoubleRounding, Rounding


def outcome(d, *codes):
    """Run the draft's last op on one image; return its codes and how many did not fit."""
    graph = d.graph()
    assert verify(graph) == []
    operands = {
        name: np.array([values]).astype(graph.tensors[name].type.dtype)
        for name, values in zip(operands_with_images(graph), codes, strict=True)
    }
    result = assert_kernel_equals_reference(graph, operands)
    return result.codes[0].tolist(), result.saturated


# --- two operands ---------------------------------------------------------------------------------


def pair(op_type, a, b, *, zero_a=0, zero_b=0, **fields):
    d = Draft()
    d.input("a", np.shape(a), S8, zero_a)
    d.operand("b", np.shape(b), S8, zero_b)
    d.op(op_type, "y", "a", "b", **fields)
    return outcome(d, a, b)


def test_a_sum_rounds_three_times():
    factors = ((1, 1), (1, 1), (1, 1))
    plain = {"factors": factors, "input_left_shift": 0}
    # 1/2 -> 1, 1/2 -> 1; (1 + 1) / 2. Rounded once it would be 1/2, too: the next tells.
    assert pair(AddShifted, [[1]], [[1]], **plain) == ([[1]], 0)
    # 3/2 -> 2 and 3/2 -> 2: 4 / 2, where 3 / 2 / 2 is 3/4
    assert pair(AddShifted, [[3]], [[3]], **plain) == ([[2]], 0)
    # Two bits more: 3 * 4 / 2 = 6 each, 12 / 2 = 6
    shifted = plain | {"input_left_shift": 2}
    assert pair(AddShifted, [[3]], [[3]], **shifted) == ([[6]], 0)


def test_a_sum_of_different_scales():
    factors = ((3, 2), (1, 1), (5, 3))
    fields = {"factors": factors, "input_left_shift": 1, "zero_a": 2, "zero_b": -1}
    # (10 - 2) * 2 * 3 / 4 = 12; (7 + 1) * 2 / 2 = 8; 20 * 5 / 8 = 12.5 -> 13
    # (0 - 2): -3; 8; 5 * 5 / 8 = 3.125
    found = pair(AddShifted, [[10, 0]], [[7, 7]], **fields, zero_point=100)
    assert found == ([[113, 103]], 0)
    # 12 - 8 = 4: 2.5 -> 3; -3 - 8 = -11: -6.875
    assert pair(AddShifted, [[10, 0]], [[7, 7]], **fields, subtract=True) == ([[3, -7]], 0)
    found = pair(AddShifted, [[10, 0]], [[7, 7]], **fields, zero_point=120)
    assert found == ([[127, 123]], 1)


def test_both_roundings_of_a_double_one():
    factors = ((1 << 30, 30), (1 << 30, 30), (1 << 30, 33))
    plain = {"factors": factors, "input_left_shift": 0}
    twice = plain | {"double_rounding": DoubleRounding.SYMMETRIC}
    # 3 / 8 is 0.375; first by 2: 1.5 -> 2, then by 4: 0.5 -> 1
    assert pair(AddShifted, [[2]], [[1]], **plain) == ([[0]], 0)
    assert pair(AddShifted, [[2]], [[1]], **twice) == ([[1]], 0)
    # -5 / 8: -2.5 -> -2, then -0.5 -> -1, away from zero
    assert pair(AddShifted, [[-4]], [[-1]], **twice) == ([[-1]], 0)


def test_a_squared_difference():
    factors = ((3, 1), (1, 0), (1, 2))
    fields = {"factors": factors, "input_left_shift": 0, "zero_a": 1, "zero_b": 2}
    # 4 * 3 / 2 = 6; 3: 3² / 4 = 2.25. -3 * 3 / 2 = -4.5 -> -4; 3: 49 / 4. 1.5 -> 2; 2: 0
    found = pair(SquaredDifference, [[5, -2, 2]], [[5, 5, 4]], **fields, zero_point=-10)
    assert found == ([[-8, 2, -10]], 0)


def test_a_product():
    # (5 - 1) * (-3 - 2) = -20: * 3 / 8 = -7.5 -> -7; 127 * 126 = 15876 * 3 / 8
    found = pair(
        Mul, [[5, -126]], [[-3, 128 - 256]], zero_a=1, zero_b=2, multiplier=(3,), shift=(3,)
    )
    assert found == ([[-7, 127]], 1)


@pytest.mark.parametrize("op_type", [AddShifted, SquaredDifference, Mul])
def test_last_dimensions_of_one_are_broadcast(op_type):
    fields = {"type": S16}
    a, b = [[1, 2, 3], [4, 5, 6]], [[7], [8]]
    wide = [[7] * 3, [8] * 3]
    assert pair(op_type, a, b, **fields) == pair(op_type, a, wide, **fields)
    assert pair(op_type, b, a, **fields) == pair(op_type, wide, a, **fields)
    d = Draft()
    d.input("a", (2, 1))
    d.constant("b", [1, 2, 3], S8)
    d.op(op_type, "y", "a", "b", **fields)
    assert outcome(d, b) == pair(op_type, wide, [[1, 2, 3]] * 2, **fields)


def refused(build, *messages):
    d = Draft()
    build(d)
    problems = verify(d.graph())
    for message in messages:
        assert any(message in problem for problem in problems), (message, problems)


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ((2, 3), (3, 3), "leading dimensions differ"),
        ((2, 3), (2, 2), "last dimensions differ"),
        ((1, 3), (2, 3), "leading dimensions differ"),
        ((2, 3), (3,), "only a constant is broadcast"),
    ],
)
@pytest.mark.parametrize("op_type", [AddShifted, SquaredDifference, Mul])
def test_other_dimensions_are_not_broadcast(op_type, a, b, message):
    def build(d):
        d.input("a", a)
        d.operand("b", b)
        d.op(op_type, "y", "a", "b")

    refused(build, message)


def test_a_longer_constant_is_not_broadcast():
    def build(d):
        d.input("a", (3,))
        d.constant("b", [[1, 2, 3]], S8)
        d.op(Mul, "y", "a", "b")

    refused(build, "leading dimensions differ")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"input_left_shift": 32}, "input_left_shift 32: must be 0..31"),
        ({"input_left_shift": -1}, "input_left_shift -1"),
        ({"factors": ((-1, 0), (1, 0), (1, 0))}, "multiplier_a -1"),
        ({"factors": ((1, 0), (1 << 31, 0), (1, 0))}, "multiplier_b 2147483648"),
        ({"factors": ((1, 0), (1, 0), (1, 63))}, "shift 63: must be 0..62"),
        ({"factors": ((1, 0), (1, -1), (1, 3))}, "shift_b -1"),
    ],
)
@pytest.mark.parametrize("op_type", [AddShifted, SquaredDifference])
def test_factors_at_a_common_scale_are_checked(op_type, fields, message):
    def build(d):
        d.input("a", (2, 3))
        d.op(op_type, "y", "a", "a", **fields)

    refused(build, message)


def test_two_roundings_are_half_up():
    def build(d):
        d.defaults["rounding"] = Rounding.FLOOR
        d.input("a", (2, 3))
        d.op(AddShifted, "y", "a", "a", double_rounding=DoubleRounding.SYMMETRIC)

    refused(build, 'double_rounding = "symmetric": rounds half_up twice, not floor')


# --- interpolation --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [S8, U8])
@pytest.mark.parametrize("fraction_bits", [0, 3, 8])
def test_interpolation_is_a_straight_line_between_samples(kind, fraction_bits):
    samples = np.random.default_rng(1).integers(-1000, 1000, (1 << 8 - fraction_bits) + 1)
    codes = np.arange(kind.low, kind.high + 1)
    d = Draft()
    d.input("a", codes.shape, kind, 1)
    d.op(
        InterpolatedLookup,
        "y",
        "a",
        table=samples,
        fraction_bits=fraction_bits,
        shift=fraction_bits,
    )
    width = 1 << fraction_bits
    expected = []
    for distance in range(256):
        left, part = distance // width, Fraction(distance % width, width)
        right = samples[min(left + 1, len(samples) - 1)]
        value = (1 - part) * int(samples[left]) + part * int(right)
        expected.append(floor(value + Fraction(1, 2)))
    assert outcome(d, codes) == (expected, 0)


def test_interpolation_by_hand():
    d = Draft()
    d.input("a", (4,), S4)
    d.op(InterpolatedLookup, "y", "a", table=[0, 10, 7], fraction_bits=3, shift=0, type=S8)
    # 3 fraction bits kept: 0, 10 * 7 / 8, 10 - 3 * 1 / 8, 10 - 3 * 7 / 8
    assert outcome(d, [-8, -1, 1, 7]) == ([0, 70, 77, 59], 0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"fraction_bits": 6}, "table has shape (3,), wanted (5,) for 8-bit codes"),
        ({"fraction_bits": 9}, "fraction_bits 9: must be 0..8"),
        ({"fraction_bits": -1}, "fraction_bits -1"),
        ({"fraction_bits": 7, "shift": 63}, "shift 63"),
    ],
)
def test_tables_of_samples_are_checked(fields, message):
    def build(d):
        d.input("a", (4,), S8)
        d.op(InterpolatedLookup, "y", "a", table=[1, 2, 3], **fields)

    refused(build, message)


# --- GELU -----------------------------------------------------------------------------------------

ALL_CODES = np.arange(-128, 128)


def gelu_products(zero_point=0, **fields):
    """Return the op's products themselves, of all 8-bit codes."""
    d = Draft(overflow=WRAP)
    d.input("a", ALL_CODES.shape, S8, zero_point)
    wide = {"multiplier": (1,), "shift": (0,), "type": IntType(bits=50)}
    d.op(GeluPolynomial, "y", "a", **wide | fields)
    codes, saturated = outcome(d, ALL_CODES)
    assert saturated == 0
    return codes


def low_bits(value, bits):
    value %= 1 << bits
    return value - (1 << bits) if value >> (bits - 1) else value


@pytest.mark.parametrize("scale", [0.01, 0.0231, 0.05, 0.1, 1.3])
@pytest.mark.parametrize("zero_point", [0, -5])
@pytest.mark.parametrize(("bits", "clip_low"), [(26, None), (26, -127), (32, None), (14, None)])
def test_the_polynomial_of_ita_and_gemmini(scale, zero_point, bits, clip_low):
    constants = polynomial_gelu_constants(scale, nearest=True)
    b, c = -constants.clip, constants.constant
    expected = []
    for code in ALL_CODES.tolist():
        q = code - zero_point
        if clip_low is not None and q < clip_low:
            q = clip_low
        # By cases of the sign, and (min(x, -b) + b)² multiplied out.
        a = -b if abs(q) > -b else abs(q)
        polynomial = a * a + 2 * a * b + b * b + c
        signed = polynomial if q > 0 else -polynomial if q < 0 else 0
        # Products and sums modulo 2^bits need no more than the last cut.
        expected.append(low_bits(q * (signed + c), bits))
    found = gelu_products(
        zero_point,
        clip=-b,
        constant=c,
        one=c,
        clip_low=clip_low,
        intermediate_bits=bits,
    )
    assert found == expected


@pytest.mark.parametrize("scale", [0.02, 0.05, 0.4])
def test_the_polynomial_of_deeploy(scale):
    constants = polynomial_gelu_constants(scale)
    b, one = -constants.clip, -constants.constant
    expected = []
    for x in ALL_CODES.tolist():
        d = abs(x) + b if abs(x) <= -b else 0
        signed = (one - d * d) * ((x > 0) - (x < 0))
        expected.append(x * ((one + signed) // 2))
    found = gelu_products(
        clip=-b, constant=one, one=one, negated=True, sum_shift=1, intermediate_bits=32
    )
    assert found == expected


def test_the_shift_of_ibert():
    constants = polynomial_gelu_constants(0.001, erf_shift=14)
    found = gelu_products(
        clip=constants.clip,
        constant=constants.constant,
        one=constants.one,
        erf_shift=14,
        intermediate_bits=40,
    )
    for q, product in zip(ALL_CODES.tolist(), found, strict=True):
        polynomial = (min(abs(q), constants.clip) - constants.clip) ** 2 + constants.constant
        shifted = floor(Fraction(int(np.sign(q)) * polynomial, 1 << 14))
        assert product == q * (shifted + constants.one)


@pytest.mark.parametrize("scale", [0.02, 0.05])
def test_the_polynomial_is_a_gelu(scale):
    constants = polynomial_gelu_constants(scale)
    found = gelu_products(
        clip=constants.clip,
        constant=-constants.constant,
        one=-constants.one,
        negated=True,
        intermediate_bits=40,
    )
    for code, product in zip(ALL_CODES.tolist(), found, strict=True):
        x = scale * code
        assert abs(-constants.scale * product - x / 2 * (1 + erf(x / 2**0.5))) < 0.03


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"erf_shift": 63}, "erf_shift 63: must be 0..62"),
        ({"sum_shift": -1}, "sum_shift -1"),
        ({"intermediate_bits": 1}, "intermediate_bits 1: must be 2..64"),
        ({"intermediate_bits": 65}, "intermediate_bits 65"),
        ({"clip": -1}, "clip -1"),
        ({"clip": 1 << 31}, "clip 2147483648"),
        ({"constant": (1 << 63) - 1}, "an intermediate may need 65 bits"),
        ({"one": -(1 << 63)}, "an intermediate may need"),
    ],
)
def test_parameters_of_the_polynomial_are_checked(fields, message):
    def build(d):
        d.input("a", (4,))
        d.op(GeluPolynomial, "y", "a", **fields)

    refused(build, message)


def by_definition(row, octave, fraction_bits, output_bits):
    """ShiftGELU's integers by the formula of the source, on fractions."""

    def exponential(value):
        value = value + floor(Fraction(value, 2)) - floor(Fraction(value, 16))
        x0 = -octave
        value = max(value, fraction_bits * x0)
        q = floor(Fraction(value, x0))
        r = value - q * x0
        return floor((Fraction(r, 2) - x0) * Fraction(2) ** (fraction_bits - q))

    largest = max(row)
    found = []
    for x in row:
        power = exponential(x - largest)
        total = min(power + exponential(-largest), 2**31 - 1)
        sigmoid = floor(
            Fraction(power * floor(Fraction(2**31 - 1, total)), 2 ** (32 - output_bits))
        )
        found.append(x * sigmoid)
    return found


def shift_gelu(row, octave=12, fraction_bits=23, output_bits=8, zero_point=0, kind=S8):
    d = Draft()
    d.input("a", (1, len(row)), kind, zero_point)
    d.op(
        ShiftGelu,
        "y",
        "a",
        octave=octave,
        fraction_bits=fraction_bits,
        output_bits=output_bits,
        multiplier=(1,),
        shift=(0,),
        type=IntType(bits=40),
    )
    (codes,), _ = outcome(d, [row])
    return codes


@given(
    st.lists(st.integers(-128, 127), min_size=1, max_size=6),
    st.integers(1, 700),
    st.integers(0, 23),
    st.sampled_from([4, 8, 16]),
    st.sampled_from([0, -128, 77]),
)
def test_shift_gelu_by_its_definition(row, octave, fraction_bits, output_bits, zero_point):
    expected = by_definition(
        [code - zero_point for code in row], octave, fraction_bits, output_bits
    )
    assert shift_gelu(row, octave, fraction_bits, output_bits, zero_point) == expected


@pytest.mark.parametrize("octave", [1, 2, 6, 12, 59, 588])
@pytest.mark.parametrize("largest", [-128, -1, 0, 1, 127])
def test_shift_gelu_of_all_codes(octave, largest):
    row = list(range(-128, largest + 1))
    assert shift_gelu(row, octave) == by_definition(row, octave, 23, 8)


def test_shift_gelu_by_hand():
    # Octaves of 8 codes, 4 fraction bits. -16: -16 - 8 + 1 = -23: 2 octaves, 7 codes less:
    # (8 - 3.5) * 2^2 = 18. 0: 8 * 2^4 = 128; exp(-0) the same.
    # (2^31 - 1) / 256 = 8388607: 128 * that >> 24 = 63; (2^31 - 1) / 146 = 14708791: 18 * it: 15
    assert shift_gelu([0, -16], octave=8, fraction_bits=4) == [0, -16 * 15]
    # 16: exp(-16) = 18 again, and exp(0) = 128: 128 * 14708791 >> 24 = 112
    assert shift_gelu([16], octave=8, fraction_bits=4) == [16 * 112]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"octave": 0}, "octave 0: must be 1..2147483647"),
        ({"fraction_bits": -1}, "fraction_bits -1"),
        ({"output_bits": 0}, "output_bits 0: must be 1..32"),
        ({"output_bits": 33}, "output_bits 33"),
        ({"octave": 1 << 30}, "an intermediate may need"),
        ({"octave": 1 << 20, "fraction_bits": 45}, "an intermediate may need"),
    ],
)
def test_parameters_of_shift_gelu_are_checked(fields, message):
    def build(d):
        d.input("a", (4,))
        d.op(ShiftGelu, "y", "a", **fields)

    refused(build, message)


# --- normalization --------------------------------------------------------------------------------


def bisection(row, weight, bias, shift=0, zero_a=0, kind=S8, **fields):
    d = Draft(Rounding.FLOOR, WRAP)
    d.input("a", (1, len(row)), kind, zero_a)
    d.op(LayerNormBisection, "y", "a", weight=weight, bias=bias, shift=shift, **fields)
    (codes,), outside = outcome(d, [row])
    return codes, outside


def test_layer_norm_by_bisection():
    # u = 2, 4, 9: mean 5; deviations -3, -1, 4: 26 / 3 = 8, + 1: root 3
    # -3 * 10 / 3 + 1 = -9; -1 * 10 / 3 = -3 + 1; 4 * 10 / 3 = 13 + 1
    assert bisection([3, 5, 10], [10] * 3, [1] * 3, zero_a=1) == ([-9, -2, 14], 0)
    # The same over 4, downward
    assert bisection([3, 5, 10], [10] * 3, [1] * 3, 2, zero_a=1) == ([-3, -1, 3], 0)
    # The mean of -1, -1, -3 drops the fraction: -1, not -2. Deviations 0, 0, -2: 4 / 3 + 1: root 1
    assert bisection([-1, -1, -3], [5] * 3, [0] * 3) == ([0, 0, -10], 0)
    # Codes wrap: -2 * 100 is 56
    assert bisection([-1, -1, -3], [100] * 3, [0] * 3) == ([0, 0, 56], 1)


@given(
    st.lists(st.integers(-128, 127), min_size=1, max_size=8),
    st.integers(-(1 << 20), 1 << 20),
    st.integers(-(1 << 20), 1 << 20),
    st.integers(0, 14),
    st.sampled_from([0, -128, 127, 5]),
)
def test_layer_norm_by_bisection_with_exact_fractions(row, weight, bias, shift, zero_a):
    u = [code - zero_a for code in row]
    mean = int(Fraction(sum(u), len(u)))  # toward zero, as int() of a fraction is
    deviations = [value - mean for value in u]
    root = isqrt(int(Fraction(sum(value**2 for value in deviations), len(u))) + 1)
    expected = [
        low_bits(floor(Fraction(int(Fraction(value * weight, root)) + bias, 1 << shift)), 8)
        for value in deviations
    ]
    found, _ = bisection(row, [weight] * len(u), [bias] * len(u), shift, zero_a)
    assert found == expected


def test_weights_of_the_bisection_are_one_per_channel():
    def build(d, weight=(1, 2, 3), shift=8):
        d.input("a", (2, 3))
        d.op(LayerNormBisection, "y", "a", weight=weight, bias=[1, 2, 3], shift=shift)

    refused(partial(build, weight=[1]), "weight y.weight has shape (1,), wanted (3,)")
    refused(partial(build, shift=63), "shift 63")


@pytest.mark.parametrize("steps", [1, 2, 5, 10])
@pytest.mark.parametrize("start", [0, 1, 16])
def test_layer_norm_with_newton_steps(steps, start):
    row = [3, -100, 7, 127, -128, 0]
    total, squares = sum(row), sum(code * code for code in row)
    value = 6 * squares - total * total + 1 << 8
    root = Fraction(1 << (start or (value.bit_length() + 1) // 2))
    for _ in range(steps):
        root = Fraction(floor((root + floor(value / root)) / 2))
    inverse = (1 << 32) // int(root)
    expected = [(6 * code - total) * inverse >> 32 - 4 - 10 for code in row]
    d = Draft()
    d.input("a", (1, 6))
    d.op(
        LayerNorm,
        "y",
        "a",
        gamma=[1] * 6,
        beta=[0] * 6,
        shift=0,
        root_steps=steps,
        root_start_bits=start,
        type=S32,
    )
    assert outcome(d, [row]) == ([expected], 0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"root_steps": -1}, "root_steps -1: must be 0..64"),
        ({"root_steps": 65}, "root_steps 65"),
        ({"root_steps": 3, "root_start_bits": 32}, "root_start_bits 32: must be 0..31"),
        ({"root_start_bits": 16}, "root_start_bits without root_steps"),
    ],
)
def test_newton_steps_are_checked(fields, message):
    def build(d):
        d.input("a", (2, 3))
        d.op(LayerNorm, "y", "a", gamma=[1] * 3, beta=[0] * 3, **fields)

    refused(build, message)


# --- means ----------------------------------------------------------------------------------------


def test_a_mean_over_channels():
    d = Draft()
    d.input("a", (2, 3), S8, 1)
    d.op(Mean, "y", "a", axis=1, multiplier=(5,), shift=(4,), zero_point=2)
    # 2 + 3 + 4 = 9: 2.8; 0 - 1 - 3 = -4: -1.25
    assert outcome(d, [[3, 4, 5], [1, 0, -2]]) == ([5, 1], 0)
    d = Draft()
    d.input("a", (2, 3), S8, 1)
    d.op(Mean, "y", "a", axis=1, multiplier=(5,), shift=(4,), zero_point=2, keep_dimension=True)
    assert outcome(d, [[3, 4, 5], [1, 0, -2]]) == ([[5], [1]], 0)


def test_a_mean_of_a_vector_keeps_its_dimension():
    def build(d):
        d.input("a", (3,))
        d.op(Mean, "y", "a")
        d.tensors["y"] = replace(d.tensors["y"], shape=(1,))

    refused(build, "the mean of all of (3,) keeps its dimension")


# --- the widest that is allowed -------------------------------------------------------------------


def run_widest(build, amounts):
    """Grow a graph until ``verify`` refuses it; run the last valid one on extreme codes."""
    valid = None
    for amount in amounts:
        d = Draft()
        build(d, amount)
        graph = d.graph()
        problems = verify(graph)
        if problems:
            assert all("an intermediate may need" in problem for problem in problems), problems
            break
        valid = graph
    else:
        raise AssertionError("never refused")
    assert valid is not None
    names = operands_with_images(valid)
    operands = {}
    for index, name in enumerate(names):
        kind = valid.tensors[name].type
        rows = np.array([[kind.low, kind.high], [kind.high, kind.low], [kind.low] * 2] * 2)
        shape = (6, *valid.tensors[name].shape)
        operands[name] = np.resize(rows[index::1], shape).astype(kind.dtype)
    assert_kernel_equals_reference(valid, operands)
    return bounds(valid, valid.ops[-1]).widest_bits


@pytest.mark.parametrize(("op_type", "shift"), [(AddShifted, 31), (SquaredDifference, 40)])
def test_widest_at_a_common_scale(op_type, shift):
    def build(d, left_shift):
        d.input("a", (2,), S16, -32768)
        d.operand("b", (2,), S16, 32767)
        large = (1 << 31) - 1
        factors = ((large, shift), (large, shift), (large, 62))
        d.op(op_type, "y", "a", "b", factors=factors, input_left_shift=left_shift, type=S16)

    assert run_widest(build, range(32)) >= 62


def test_widest_product():
    def build(d, bits):
        kind = IntType(bits=bits)
        d.input("a", (2,), kind, kind.low)
        d.operand("b", (2,), kind, kind.low)
        d.op(Mul, "y", "a", "b", multiplier=((1 << 20) - 1,), shift=(30,), type=S32)

    assert run_widest(build, range(8, 33)) >= 62


def test_widest_interpolation():
    def build(d, bits):
        kind = IntType(bits=bits)
        d.input("a", (2,), S8)
        table = d.constant("y.table", [kind.low, kind.high, kind.low], kind)
        d.op(InterpolatedLookup, "y", "a", table=table, type=kind, shift=7)

    assert run_widest(build, range(40, 65)) >= 63


def test_widest_polynomial():
    def build(d, bits):
        d.input("a", (2,), S16, -5)
        d.op(
            GeluPolynomial,
            "y",
            "a",
            clip=1 << bits,
            constant=-(1 << 2 * bits),
            one=-(1 << 2 * bits),
            intermediate_bits=64,
            multiplier=(1,),
            shift=(20,),
            type=S32,
        )

    assert run_widest(build, range(8, 31)) >= 62


def test_widest_shift_gelu():
    def build(d, bits):
        d.input("a", (1, 2), S16, 32767)
        d.op(ShiftGelu, "y", "a", octave=(1 << bits) - 1, fraction_bits=30, type=S16)

    assert run_widest(build, range(1, 32)) >= 62


def test_widest_bisection():
    def build(d, bits):
        kind = IntType(bits=bits)
        d.input("a", (3, 2), kind, kind.low)
        d.op(LayerNormBisection, "y", "a", weight=[100, -100], bias=[(1 << 31) - 1] * 2, shift=20)

    assert run_widest(build, range(8, 40)) >= 62
