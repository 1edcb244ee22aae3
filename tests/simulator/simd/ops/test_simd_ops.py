# SPDX-License-Identifier: Apache-2.0
"""Ops in vector registers: taken where their numbers fit, and equal to the references."""

from __future__ import annotations

import numpy as np
import pytest
from one_op_graphs import assert_kernel_equals_reference, operands_for
from simd_cases import (
    RANDOM,
    assert_taken_and_equal,
    every_fit,
    every_rounding,
    module_of,
    needs_avx2,
    numbers,
)
from small_graphs import (
    S4,
    S8,
    SATURATE,
    U8,
    Draft,
    exponentials,
)

from simulator.graph import verify
from simulator.graph.ops import Add, LayerNorm, Lookup, MatMul, Softmax
from simulator.numerics.integer_type import IntType, Overflow
from simulator.numerics.rounding import Rounding
from simulator.simd.lanes.vectors import LANES

pytestmark = needs_avx2


@every_rounding
@every_fit
@pytest.mark.parametrize(("kind_a", "kind_b", "kind"), [(S8, S8, S8), (U8, S8, U8), (S8, U8, S4)])
def test_add(rounding, overflow, kind_a, kind_b, kind):
    d = Draft(rounding, overflow)
    d.input("a", (5, 24), kind_a, -17 if kind_a == S8 else 130)
    d.operand("b", (5, 24), kind_b, 9)
    factors = {"multiplier_a": (1,), "multiplier_b": tuple(numbers(1, 9, 24))}
    d.op(Add, "y", "a", "b", **factors, shift=2, zero_point=2, type=kind)
    result = assert_taken_and_equal(d.graph(), "add")
    assert 0 < result.saturated < result.codes.size


@every_rounding
@pytest.mark.parametrize("alike", [True, False])
@pytest.mark.parametrize(
    ("shape", "repeated"),
    [((4, 3, 7, 7), (3, 7, 7)), ((4, 3, 5, 9), (4, 1, 5, 9)), ((3, 11), (3, 11)), ((2, 9), (9,))],
)
def test_add_of_rows_that_are_no_whole_registers(rounding, alike, shape, repeated):
    d = Draft(rounding, SATURATE)
    d.input("a", shape, S8, 3)
    size = int(np.prod(repeated))
    d.constant("b", np.reshape(numbers(-128, 127, size), repeated).tolist(), S8, -5)
    factors = tuple(numbers(1, 9, 1 if alike else shape[-1]))
    d.op(Add, "y", "a", "b", multiplier_a=factors, multiplier_b=(4,), shift=3)
    graph = d.graph()
    taken = alike or shape[-1] >= LANES
    assert module_of(graph) == ("simd.ops.add" if taken else "ops.add")
    assert_kernel_equals_reference(graph, operands_for(graph, images=3))


@every_rounding
@pytest.mark.parametrize("shift", [31, 32, 33, 40])
def test_add_of_a_constant_with_wide_factors(rounding, shift):
    d = Draft(rounding, SATURATE)
    d.input("a", (2, 3, 16), S8, 3)
    d.constant("b", numbers(-128, 127, 3, 16), S8, -5)
    d.op(
        Add,
        "y",
        "a",
        "b",
        multiplier_a=((1 << 31) - 1,),
        multiplier_b=((1 << 30) + 12345,),
        shift=shift,
    )
    assert_taken_and_equal(d.graph(), "add")


@every_rounding
@every_fit
@pytest.mark.parametrize("channels", [1, 7, 16, 33])
def test_layer_norm(rounding, overflow, channels):
    d = Draft(rounding, overflow)
    d.input("a", (6, channels), S8, -31)
    gamma = numbers(-(1 << 30), 1 << 30, channels)
    beta = numbers(-(1 << 49), 1 << 49, channels)
    fractions = {
        "sqrt_fraction_bits": 16,
        "reciprocal_bits": 60,
        "normalized_fraction_bits": 20,
    }
    d.op(LayerNorm, "y", "a", gamma=gamma, beta=beta, shift=44, zero_point=-3, **fractions)
    assert_taken_and_equal(d.graph(), "layernorm")


@pytest.mark.parametrize("steps", [{"root_steps": 2}, {"root_steps": 9, "root_start_bits": 20}])
def test_layer_norm_of_newton_roots_and_shifted_channels(steps):
    d = Draft(Rounding.HALF_AWAY, SATURATE)
    d.input("a", (6, 8), U8, 31)
    shifts = [0, 1, 2, 3, 0, 0, 1, 4]
    gamma, beta = numbers(-(1 << 24), 1 << 24, 8), numbers(-(1 << 40), 1 << 40, 8)
    d.op(
        LayerNorm, "y", "a", gamma=gamma, beta=beta, shift=36, channel_shift=shifts,
        reciprocal_bits=40, sqrt_fraction_bits=8, normalized_fraction_bits=18, **steps,
    )  # fmt: skip
    assert_taken_and_equal(d.graph(), "layernorm")


def test_layer_norm_of_equal_codes():
    d = Draft(Rounding.HALF_UP, SATURATE)
    d.input("a", (2, 8), S8, 0)
    d.op(
        LayerNorm, "y", "a", gamma=[1 << 20] * 8, beta=[5 << 40] * 8, shift=41, epsilon=0,
        reciprocal_bits=60, sqrt_fraction_bits=16, normalized_fraction_bits=20,
    )  # fmt: skip
    graph = d.graph()
    same = {"a": np.full((3, 2, 8), 77, np.int8)}
    assert_kernel_equals_reference(graph, same)


@every_rounding
@every_fit
@pytest.mark.parametrize("columns", [1, 5, 8, 29])
def test_softmax(rounding, overflow, columns):
    d = Draft(rounding, overflow)
    d.input("a", (7, columns), S8, 0)
    table = exponentials(8, largest=(1 << 30) - 1, half_life=9)
    d.op(Softmax, "y", "a", table=table, reciprocal_bits=60, shift=52, type=U8, zero_point=0)
    assert_taken_and_equal(d.graph(), "softmax")


def test_the_reciprocal_of_a_softmax_is_rounded():
    """Of one score, whose probability is 1: a reciprocal rounded down leads to the code below."""
    d = Draft(Rounding.FLOOR, SATURATE)
    d.input("a", (2, 1), S8, 0)
    table = exponentials(8, largest=1031, half_life=9)
    d.op(Softmax, "y", "a", table=table, reciprocal_bits=41, shift=34, type=U8, zero_point=0)
    result = assert_taken_and_equal(d.graph(), "softmax")
    assert (result.codes == 128).all()


def test_softmax_of_small_exponentials():
    """One unit of their sum decides about codes."""
    d = Draft(Rounding.HALF_UP, SATURATE)
    d.input("a", (400, 5), S8, 0)
    table = exponentials(8, largest=1030, half_life=9)
    d.op(Softmax, "y", "a", table=table, reciprocal_bits=41, shift=33, type=U8, zero_point=0)
    assert_taken_and_equal(d.graph(), "softmax")


@pytest.mark.parametrize("kind", [S8, U8])
@pytest.mark.parametrize("size", [1, 31, 32, 33, 256])
def test_lookup_in_parts(kind, size):
    d = Draft(Rounding.HALF_UP, SATURATE)
    d.input("a", (size,), kind, 3)
    d.op(Lookup, "y", "a", table=RANDOM.permutation(256) - 128, type=S8)
    graph = d.graph()
    codes = np.arange(kind.low, kind.high + 1).astype(kind.dtype)
    every = np.resize(codes, (256 // size + 1, size))
    assert_kernel_equals_reference(graph, {"a": every})


@pytest.mark.parametrize("name", ["matmul", "softmax", "layer_norm"])
def test_padding_is_not_counted(name):
    d = Draft(Rounding.HALF_UP, Overflow.SATURATE_SYMMETRIC)
    d.input("a", (6, 5), S8, 3)
    if name == "matmul":
        d.constant("weights", numbers(-9, 9, 5, 3), S8)
        d.op(MatMul, "y", "a", "weights", multiplier=(1 << 30,), shift=(36,), zero_point=-128)
    elif name == "softmax":
        table = exponentials(8, largest=(1 << 30) - 1, half_life=9)
        d.op(Softmax, "y", "a", table=table, reciprocal_bits=60, shift=53, type=S8, zero_point=-128)
    else:
        d.op(
            LayerNorm, "y", "a", gamma=[1 << 28] * 5, beta=[0] * 5, shift=44, zero_point=-128,
            sqrt_fraction_bits=16, reciprocal_bits=60, normalized_fraction_bits=20,
        )  # fmt: skip
    graph = d.graph()
    assert_kernel_equals_reference(graph, operands_for(graph, seed=2), "avx2")


def test_limits_of_add():
    def add(shift, factor=1):
        d = Draft(Rounding.HALF_UP, SATURATE)
        d.input("a", (2, 8), S8)
        d.operand("b", (2, 8), S8)
        d.op(Add, "y", "a", "b", multiplier_a=(factor,), multiplier_b=(3,), shift=shift)
        return d.graph()

    assert module_of(add(32, 1 << 30)) == "simd.ops.add"
    assert module_of(add(33, 1 << 30)) == "simd.ops.add"
    assert module_of(add(63, 1 << 30)) == "ops.add"  # what is rounded needs more than 64 bits
    assert module_of(add(5, 1 << 27)) == "simd.ops.add"
    assert module_of(add(4, 1 << 27)) == "ops.add"  # more than 31 bits are left


def test_limits_of_layer_norm():
    def norm(**fields):
        d = Draft(Rounding.HALF_UP, SATURATE)
        d.input("a", (2, 8), S8)
        usual = {"shift": 40, "reciprocal_bits": 60, "sqrt_fraction_bits": 16}
        d.op(LayerNorm, "y", "a", gamma=[9] * 8, beta=[5] * 8, **(usual | fields))
        return d.graph()

    assert module_of(norm()) == "simd.ops.layernorm"
    assert module_of(norm(sqrt_fraction_bits=9)) == "ops.layernorm"  # not exact in float64
    assert module_of(norm(normalized_fraction_bits=29)) == "ops.layernorm"


def test_a_lookup_of_wide_codes():
    d = Draft(Rounding.HALF_UP, SATURATE)
    d.input("a", (5,), IntType(bits=17))
    d.op(Lookup, "y", "a", table=np.arange(1 << 17) % 251 - 125, type=S8)
    graph = d.graph()
    assert_kernel_equals_reference(graph, operands_for(graph))


def test_add_of_a_constant_for_every_head():
    """Masks of windows: one bit each, times more than all codes, no head left out."""
    d = Draft(Rounding.HALF_UP, SATURATE)
    d.input("a", (3, 2, 4, 16), S8, 5)
    d.constant("b", numbers(-1, 0, 3, 1, 4, 16), IntType(bits=1))
    d.op(Add, "y", "a", "b", multiplier_a=(1,), multiplier_b=(255,), shift=0, zero_point=5, type=S8)
    graph = d.graph()
    assert verify(graph) == []
    operands = operands_for(graph, images=3, seed=1)
    result = assert_kernel_equals_reference(graph, operands, "numba")
    off = np.broadcast_to(graph.constants["b"] != 0, result.codes.shape)
    assert 0 < off.sum() < off.size
    assert (result.codes[off] == -128).all()
    assert np.array_equal(result.codes[~off], operands["a"].reshape(result.codes.shape)[~off])
