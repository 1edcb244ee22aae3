# SPDX-License-Identifier: Apache-2.0
"""Rotations and scales of groups: known values, shapes of networks, ends of bounds."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from one_op_graphs import assert_kernel_equals_reference, results
from small_graphs import S4, S8, S16, U4, U8, U16, Draft, random_codes

from simulator.executor import Executor
from simulator.graph import verify
from simulator.graph.bounds import intermediates
from simulator.graph.ops import GroupExponent, GroupMaximum, GroupQuantize, GroupShift, Hadamard
from simulator.graph.ops.groups import exponent_of
from simulator.numerics.hadamard import hadamard_matrix
from simulator.numerics.integer_type import IntType, Overflow
from simulator.numerics.rounding import Rounding

S30 = IntType(bits=30)


def run(draft, codes):
    graph = draft.graph(*(op.name for op in draft.ops))
    assert verify(graph) == []
    return Executor(graph, gemm="numba").run(np.asarray(codes)[None]).outputs


def rotation(shape, order, kind=S8, zero_point=0, **given):
    draft = Draft()
    draft.input("a", shape, kind, zero_point)
    draft.op(Hadamard, "y", "a", order=order, **{"multiplier": (1,), "shift": (0,)} | given)
    return draft.graph()


@pytest.mark.parametrize(("channels", "order"), [(192, 192), (768, 64), (768, 768), (192, 16)])
def test_rotations_of_networks_are_products_with_the_matrix(channels, order):
    graph = rotation((197, channels), order, zero_point=-9, type=S30)
    codes = random_codes(graph.tensors["a"], 1, 4)
    draft = Executor(graph, gemm="numba")
    blocks = (codes.astype(np.int64) + 9).reshape(-1, order)
    wanted = (blocks @ hadamard_matrix(order)).reshape(codes.shape)
    assert (draft.run(codes).outputs["y"] == wanted).all()


@pytest.mark.parametrize("order", [2, 12, 20, 64])
@pytest.mark.parametrize("kind", [S4, S8, U8, S16])
def test_the_bounds_of_sums_are_attained(order, kind):
    graph = rotation((order,), order, kind, zero_point=3, type=S30)
    found = {one.name: one.interval for one in intermediates(graph, graph.ops[0])}
    signs = hadamard_matrix(order)
    codes = np.where(np.concatenate([signs, -signs]) > 0, kind.high, kind.low).astype(kind.dtype)
    (kernel,), reference = results(graph, {"a": codes})
    assert (kernel.codes == reference.codes).all()
    assert found["sum"] == (kernel.codes.min(), kernel.codes.max())


def test_known_groups():
    draft = Draft()
    draft.input("a", (2, 4), S8, 1)
    draft.op(GroupMaximum, "maximum", "a", group=4)
    draft.op(GroupExponent, "exponent", "a", group=4, bits=4)
    draft.op(GroupQuantize, "codes", "a", "maximum", group=4)
    draft.op(GroupShift, "shifted", "a", "exponent", group=4)
    found = run(draft, np.array([[4, -8, 1, 2], [1, 1, 1, 1]], np.int8))
    assert found["maximum"].tolist() == [[[9], [1]]]
    assert found["exponent"].tolist() == [[[1], [0]]]
    assert found["codes"].tolist() == [[[2, -7, 0, 1], [0, 0, 0, 0]]]  # 7 / 9 of 3, -9, 0, 1
    assert found["shifted"].tolist() == [[[2, -4, 0, 1], [0, 0, 0, 0]]]  # half of them, ties up


def test_exponents_are_the_places_of_the_leading_one():
    draft = Draft()
    draft.input("a", (256, 1), U8)
    draft.op(GroupExponent, "y", "a", group=1, bits=4)
    found = run(draft, np.arange(256, dtype=np.uint8)[:, None])["y"]
    wanted = [max(0, len(f"{number:b}") - 3) if number else 0 for number in range(256)]
    assert found.ravel().tolist() == wanted


@pytest.mark.parametrize("trim", range(8))
@pytest.mark.parametrize("bits", [2, 4, 16])
def test_trimmed_exponents_are_the_least_that_hold_what_is_left(trim, bits):
    """Of every magnitude up to 2^16 - 1, which a zero point at an end makes."""
    draft = Draft()
    draft.input("a", (1 << 16, 1), S16, -(1 << 15))
    draft.op(
        GroupExponent, "y", "a", group=1, bits=bits, trim=trim, type=IntType(bits=5, signed=False)
    )
    found = run(draft, np.arange(-(1 << 15), 1 << 15, dtype=np.int16)[:, None])["y"].ravel()
    for magnitude, exponent in enumerate(found.tolist()):
        left = magnitude - magnitude // 2**trim if trim else magnitude
        assert left < 2 ** (exponent + bits - 1)
        assert exponent == 0 or left >= 2 ** (exponent + bits - 2)
        assert exponent_of(draft.ops[0], magnitude) == exponent  # of reference and bounds
    graph = draft.graph()
    bounds = {one.name: one.interval for one in intermediates(graph, graph.ops[0])}
    assert bounds["rounded"] == (found.min(), found.max())


def test_a_trim_of_two_lets_magnitudes_a_third_too_large_be_clipped():
    """Of four bits: up to 9 at a step of 1, where 8 already takes a step of 2 without a trim."""
    draft = Draft()
    draft.input("a", (6, 2), S8)
    draft.op(GroupExponent, "exponent", "a", group=2, bits=4, trim=2)
    draft.op(GroupShift, "y", "a", "exponent", group=2)
    found = run(draft, np.array([[7, 1], [8, 1], [-9, 1], [10, 1], [20, 1], [21, 1]], np.int8))
    assert found["exponent"].ravel().tolist() == [0, 0, 0, 1, 1, 2]
    wanted = [[7, 1], [7, 1], [-8, 1], [5, 1], [7, 1], [5, 0]]
    assert found["y"].reshape(6, 2).tolist() == wanted


def test_a_larger_numerator_clips_the_largest_magnitudes():
    """Codes of 100 and less, where 7 is worth 0.85 of the maximum: 85 of 100."""
    draft = Draft()
    draft.input("a", (1, 8), S8)
    draft.op(GroupMaximum, "maximum", "a", group=8)
    draft.op(GroupQuantize, "y", "a", "maximum", group=8, numerator=(7 << 24) * 20 // 17)
    found = run(draft, np.array([[100, -100, 91, -92, 78, 72, 6, 7]], np.int8))
    assert found["y"].ravel().tolist() == [7, -8, 7, -8, 6, 6, 0, 1]
    graph = draft.graph("y")
    bounds = {one.name: one.interval for one in intermediates(graph, graph.ops[1])}
    assert bounds["rounded"] == (-8, 8)


@pytest.mark.parametrize("overflow", Overflow)
def test_the_largest_products_of_codes_and_reciprocals(overflow):
    """With a maximum of 0 the reciprocal is the numerator: what 64 bits just hold, and verify."""
    numerator = (1 << 62) // ((1 << 16) - 1) - 1
    for end in (S16.low, S16.high):
        draft = Draft(overflow=overflow)
        draft.input("a", (2, 3), S16, end)
        draft.operand("m", (2, 1), U16)
        fields = {"numerator": numerator, "shift": 31, "type": S16}
        draft.op(GroupQuantize, "y", "a", "m", group=3, **fields)
        graph = draft.graph()
        assert verify(graph) == []
        codes = np.array([[[S16.low, S16.high, 0]] * 2], np.int16)
        assert_kernel_equals_reference(graph, {"a": codes, "m": np.array([[[0], [65535]]], "u2")})


@pytest.mark.parametrize(("kind", "maxima", "bits"), [(S8, U8, 4), (S16, U16, 4), (S16, U16, 8)])
def test_by_its_own_maximum_no_code_leaves_its_ends(kind, maxima, bits):
    draft = Draft()
    draft.input("a", (40, 64), kind, 5)
    narrow = IntType(bits=bits)
    draft.op(GroupMaximum, "maximum", "a", group=32, type=maxima)
    fields = {"numerator": narrow.high << 24, "shift": 24, "type": narrow}
    draft.op(GroupQuantize, "y", "a", "maximum", group=32, **fields)
    graph = draft.graph()
    found = {one.name: one.interval for one in intermediates(graph, graph.ops[1])}
    assert found["rounded"] == (-narrow.high, narrow.high)
    codes = random_codes(graph.tensors["a"], 3, 8)
    codes[0, 0] = graph.tensors["a"].zero_point
    codes[1, 0] = kind.low
    result = Executor(graph, gemm="numba").run(codes)
    values = (codes.astype(np.int64) - 5).reshape(3, 40, 2, 32)
    largest = np.maximum(np.abs(values).max(axis=-1, keepdims=True), 1)
    real = values * narrow.high / largest
    assert np.abs(result.outputs["y"].reshape(values.shape) - real).max() <= 0.5 + 1 / 128


def test_one_more_than_the_largest_exponent_is_never_needed():
    draft = Draft()
    draft.input("a", (4, 32), S8)
    draft.op(GroupExponent, "exponent", "a", group=32, bits=4)
    draft.op(GroupShift, "y", "a", "exponent", group=32, type=IntType(bits=5))
    codes = np.full((4, 32), 127, np.int8)
    codes[1], codes[2] = -128, 0
    codes[3, :31] = 8
    codes[3, 31] = 7
    found = run(draft, codes)
    assert found["exponent"].ravel().tolist() == [4, 5, 0, 1]
    assert found["y"][0, :, 0].tolist() == [8, -4, 0, 4]  # 127 / 16 rounds up to one code more


@pytest.mark.parametrize("rounding", Rounding)
@pytest.mark.parametrize("overflow", Overflow)
@pytest.mark.parametrize("kind", [S4, S16, U16])
def test_shifts_at_the_ends_of_all_types(rounding, overflow, kind):
    """The furthest codes at every exponent, with zero points at the ends of both types."""
    for source, end in itertools.product((S16, U16), (0, 1)):
        zero_point = (source.low, source.high)[end]
        draft = Draft(rounding, overflow)
        draft.input("a", (32, 6), source, zero_point)
        draft.operand("e", (32, 2), IntType(bits=5, signed=False))
        at_the_end = (kind.high, kind.low)[end]  # away from 0 in the direction of the codes
        draft.op(GroupShift, "y", "a", "e", group=3, type=kind, zero_point=at_the_end)
        graph = draft.graph()
        assert verify(graph) == []
        inside = zero_point + 1 - 2 * end
        codes = [source.low, source.high, zero_point, inside, source.low + 1, source.high - 1]
        exponents = np.stack([np.arange(32), 31 - np.arange(32)], axis=1).astype(np.uint8)
        operands = {"a": np.array([[codes] * 32], source.dtype), "e": exponents[None]}
        assert_kernel_equals_reference(graph, operands)


def test_scales_of_four_bits_have_a_type_of_their_own():
    draft = Draft()
    draft.input("a", (6,), S4, -2)
    draft.op(GroupMaximum, "y", "a", group=2, type=U4)
    found = run(draft, np.array([-8, 7, -2, -2, -3, -2], np.int8))["y"]
    assert found.tolist() == [[9, 1, 1]]
