# SPDX-License-Identifier: Apache-2.0
"""Kernels in vector registers: taken where their numbers fit, and equal to the references."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from one_op_graphs import assert_kernel_equals_reference, operands_for
from small_graphs import (
    S4,
    S8,
    S16,
    S32,
    SATURATE,
    U8,
    WRAP,
    Draft,
    accumulator,
    exponentials,
    with_codes,
    with_op,
    with_tensor,
)

from simulator.gemm import backend
from simulator.graph import verify
from simulator.graph.ops import Add, LayerNorm, Lookup, MatMul, Softmax
from simulator.numerics.accumulator import OverflowPolicy
from simulator.numerics.float_type import FloatType
from simulator.numerics.integer_type import IntType, Overflow
from simulator.numerics.jit import has_avx2
from simulator.numerics.requantization import Requantizer
from simulator.numerics.rescaling import Arithmetic
from simulator.numerics.rounding import DoubleRounding, Rounding
from simulator.ops import BEHAVIOURS
from simulator.simd.lanes.requantization import LANES, words_of
from simulator.simd.ops.add import words_kernel
from simulator.simd.product.narrow_bounds import (
    FULL_HALVES,
    HALVES,
    WORDS,
    is_checked_often,
    whole_root,
)

SATURATING = (Overflow.SATURATE, Overflow.SATURATE_SYMMETRIC)
RANDOM = np.random.default_rng(11)
every_rounding = pytest.mark.parametrize("rounding", Rounding)
every_fit = pytest.mark.parametrize("overflow", SATURATING)


@pytest.fixture(autouse=True)
def _same_numbers():
    """Every test begins with the same numbers, whichever run before it."""
    RANDOM.bit_generator.state = np.random.default_rng(11).bit_generator.state


needs_tiles = pytest.mark.skipif(not has_avx2(), reason="this CPU has no AVX2")


def numbers(low, high, *shape):
    return RANDOM.integers(low, high, shape, endpoint=True).tolist()


def assert_taken_and_equal(graph, module, gemm="numba", seed=0, images=3):
    """Compare with the reference, by the kernel of a module; return the reference's result."""
    assert verify(graph) == []
    op = graph.ops[-1]
    kernel = BEHAVIOURS[type(op)].build(op, graph, backend(gemm))
    assert kernel.__module__ == f"simulator.{module}"
    return assert_kernel_equals_reference(
        graph, operands_for(graph, images=images, seed=seed), gemm
    )


# --- Add, LayerNorm, Softmax ----------------------------------------------------------------------


@every_rounding
@every_fit
@pytest.mark.parametrize(("kind_a", "kind_b", "kind"), [(S8, S8, S8), (U8, S8, U8), (S8, U8, S4)])
def test_add(rounding, overflow, kind_a, kind_b, kind):
    d = Draft(rounding, overflow)
    d.input("a", (5, 24), kind_a, -17 if kind_a == S8 else 130)
    d.operand("b", (5, 24), kind_b, 9)
    factors = {"multiplier_a": (1,), "multiplier_b": tuple(numbers(1, 9, 24))}
    d.op(Add, "y", "a", "b", **factors, shift=2, zero_point=2, type=kind)
    result = assert_taken_and_equal(d.graph(), "ops.add_words")
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
    op = graph.ops[-1]
    constants = [np.ones(shape[-1], np.int64)] * 2
    if alike or shape[-1] >= LANES:
        assert words_kernel(op, graph, constants, [3, -5], size) is not None
    assert_kernel_equals_reference(graph, operands_for(graph, images=3))


@every_rounding
def test_add_of_a_constant_with_wide_factors(rounding):
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
        shift=31,
    )
    assert_taken_and_equal(d.graph(), "ops.add_words")


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
    assert_taken_and_equal(d.graph(), "ops.layernorm_words")


@pytest.mark.parametrize("steps", [{"root_steps": 2}, {"root_steps": 9, "root_start_bits": 20}])
def test_layer_norm_of_newton_roots_and_shifted_channels(steps):
    d = Draft(Rounding.HALF_AWAY, SATURATE)
    d.input("a", (6, 8), U8, 31)
    shifts = [0, 1, 2, 3, 0, 0, 1, 4]
    gamma, beta = numbers(-(1 << 24), 1 << 24, 8), numbers(-(1 << 40), 1 << 40, 8)
    d.op(LayerNorm,
        "y", "a", gamma=gamma, beta=beta, shift=36, channel_shift=shifts, reciprocal_bits=40,
        sqrt_fraction_bits=8, normalized_fraction_bits=18, **steps,
    )  # fmt: skip
    assert_taken_and_equal(d.graph(), "ops.layernorm_words")


def test_layer_norm_of_equal_codes():
    d = Draft(Rounding.HALF_UP, SATURATE)
    d.input("a", (2, 8), S8, 0)
    d.op(LayerNorm,
        "y", "a", gamma=[1 << 20] * 8, beta=[5 << 40] * 8, shift=41, epsilon=0, reciprocal_bits=60,
        sqrt_fraction_bits=16, normalized_fraction_bits=20,
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
    assert_taken_and_equal(d.graph(), "ops.softmax_words")


# --- MatMul that cannot overflow ------------------------------------------------------------------


def linear(rounding, *, terms, columns, bits=8, kind=S8, levels=None, **changes):
    d = Draft(rounding, changes.pop("overflow", SATURATE))
    rows = changes.pop("rows", 7)
    d.input("a", (rows, terms), kind, 5)
    largest = (1 << (bits - 1)) - 1
    weights = numbers(-largest - 1, largest, columns, terms)
    d.constant("weights", weights, S4 if bits == 4 else S8)
    bias = d.constant("bias", numbers(*changes.pop("bias", (-5000, 5000)), columns), S32)
    shift = tuple(numbers(41, 43, columns))
    multiplier = tuple(numbers(1 << 30, (1 << 31) - 1, columns))
    fields = {"accumulator": levels} if levels else {}
    d.op(MatMul,
        "y", "a", "weights", bias=bias, transpose_b=True, shift=shift, multiplier=multiplier,
        zero_point=-7, **fields, **changes,
    )  # fmt: skip
    return d.graph()


@needs_tiles
@every_rounding
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("kind", [S8, U8])
@pytest.mark.parametrize(("terms", "columns"), [(1, 1), (7, 15), (40, 16), (530, 35)])
def test_product_and_requantization(rounding, bits, kind, terms, columns):
    graph = linear(rounding, terms=terms, columns=columns, bits=bits, kind=kind)
    assert_taken_and_equal(graph, "ops.matmul_fused", "avx2", images=2)


@needs_tiles
@pytest.mark.parametrize("double", DoubleRounding)
def test_product_with_double_rounding(double):
    graph = linear(Rounding.HALF_UP, terms=20, columns=9)
    twice = replace(graph.ops[-1].requantize, double_rounding=double)
    graph = with_op(graph, "y", requantize=twice)
    assert_taken_and_equal(graph, "ops.matmul_fused", "avx2")


def in_float(graph, dtype):
    """Return a graph whose last op rescales by real factors: the same, by their shift less."""
    op = graph.ops[-1]
    found = op.requantize
    shift, multiplier = graph.constants[found.shift], graph.constants[found.multiplier]
    factors = (multiplier * 2.0 ** -shift.astype(float)).astype(dtype)
    graph = with_op(
        graph,
        op.name,
        requantize=replace(found, shift=None, arithmetic=Arithmetic(np.dtype(dtype).name)),
    )
    kept = {name: codes for name, codes in graph.constants.items() if name != found.shift}
    tensors = {name: tensor for name, tensor in graph.tensors.items() if name != found.shift}
    graph = replace(graph, constants=kept, tensors=tensors)
    graph = with_codes(graph, found.multiplier, factors)
    return with_tensor(graph, found.multiplier, type=FloatType(bits=8 * factors.itemsize))


@needs_tiles
@every_rounding
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_product_and_rescaling_in_float(rounding, dtype):
    for levels, module in (
        (None, "matmul_fused"),
        (accumulator((0, 16, SATURATE)), "matmul_narrow"),
    ):
        graph = linear(rounding, terms=70, columns=21, levels=levels)
        assert_taken_and_equal(in_float(graph, dtype), f"ops.{module}", "avx2")


@needs_tiles
def test_more_rows_than_a_strip():
    graph = linear(Rounding.HALF_EVEN, terms=12, columns=17, rows=50)
    assert_taken_and_equal(graph, "ops.matmul_fused", "avx2", images=2)


def attention(kind, a, b, *, levels=None, **changes):
    d = Draft(Rounding.HALF_AWAY, SATURATE)
    d.input("a", a, kind)
    d.operand("b", b, S8)
    fields = {"accumulator": levels} if levels else {}
    d.op(MatMul, "y", "a", "b", shift=(43,), multiplier=((1 << 30) + 77,), **fields, **changes)
    return d.graph()


ATTENTION = {
    "scores": lambda **f: attention(S8, (2, 19, 21), (2, 18, 21), transpose_b=True, **f),
    "even scores": lambda **f: attention(U8, (2, 19, 22), (2, 18, 22), transpose_b=True, **f),
    "context": lambda **f: attention(U8, (3, 5, 67), (3, 67, 33), **f),
}


@needs_tiles
@pytest.mark.parametrize("name", ATTENTION)
def test_products_of_activations(name):
    assert_taken_and_equal(ATTENTION[name](), "ops.matmul_fused", "avx2")


# --- MatMul through narrow registers --------------------------------------------------------------


@needs_tiles
@pytest.mark.parametrize("overflow", [SATURATE, WRAP])
@pytest.mark.parametrize("register", [8, 12, 16, 17, 19])
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("bias_last", [False, True])
def test_narrow_registers(overflow, register, bits, bias_last):
    levels = accumulator((0, register, overflow), bias_last=bias_last)
    size = 1 << (register - 1)
    for kind, terms, columns in ((S8, 150, 35), (U8, 65, 7)):
        graph = linear(
            Rounding.HALF_UP,
            terms=terms,
            columns=columns,
            bits=bits,
            kind=kind,
            levels=levels,
            bias=(-size - size // 2, size + size // 2),
        )
        result = assert_taken_and_equal(graph, "ops.matmul_narrow", "avx2")
        assert result.sums.overflowed


@needs_tiles
@pytest.mark.parametrize("policy", OverflowPolicy)
def test_policies_of_narrow_registers(policy):
    levels = accumulator((0, 14, SATURATE))
    levels = type(levels)(levels=levels.levels, policy=policy)
    graph = linear(Rounding.HALF_UP, terms=70, columns=20, levels=levels)
    result = assert_taken_and_equal(graph, "ops.matmul_narrow", "avx2")
    assert result.sums.changed


@needs_tiles
@pytest.mark.parametrize("name", ATTENTION)
@pytest.mark.parametrize("register", [13, 16, 18])
def test_narrow_registers_of_activations(name, register):
    graph = ATTENTION[name](levels=accumulator((0, register, SATURATE)))
    assert_taken_and_equal(graph, "ops.matmul_narrow", "avx2")


@needs_tiles
def test_clipping_up_and_down_that_cancels_later_is_seen():
    """A register that was clipped above and below by the same amount ends at the exact sum."""
    d = Draft(Rounding.FLOOR, SATURATE)
    d.input("a", (1, 7), S8)
    weights = [100, 100, 100, 100, -128, -128, -128]
    d.constant("weights", [[weight] for weight in weights], S8)
    d.op(MatMul,
        "y", "a", "weights", multiplier=(1 << 30,), shift=(36,),
        accumulator=accumulator((0, 15, SATURATE)),
    )  # fmt: skip
    graph = d.graph()
    # Exact: 10000, 20000 (3617 too high), 10000, 0, -8192, -16384 (the lowest), 0.
    up_and_down = [100, 100, -100, -100, 64, 64, -128]
    operands = {"a": np.array([[up_and_down]], np.int8)}
    result = assert_kernel_equals_reference(graph, operands, "avx2")
    assert (result.sums.changed, result.sums.transient) == (0, 1)


@needs_tiles
def test_sums_that_no_bound_lets_overflow_are_not_walked():
    graph = linear(Rounding.HALF_UP, terms=256, columns=32, levels=accumulator((0, 20, SATURATE)))
    op = graph.ops[-1]
    small = np.ones((1, 7, 256), np.int8)
    kernel = BEHAVIOURS[type(op)].build(op, graph, backend("avx2"))
    assert kernel.__module__ == "simulator.simd.ops.matmul_narrow"
    assert kernel([small, None]).walked == 0
    large = np.full((1, 7, 256), -128, np.int8)
    assert kernel([large, None]).walked > 0


@pytest.mark.parametrize(
    ("held", "bits", "largest", "often"),
    [
        (FULL_HALVES, 16, 8192, True),  # eight terms may carry a sum round all 16 bits
        (FULL_HALVES, 16, 8191, False),
        (HALVES, 12, 586, True),  # seven terms may reach from one end to the other
        (HALVES, 12, 585, False),
        (WORDS, 17, 32640, True),
        (WORDS, 18, 32640, False),
    ],
)
def test_how_often_clipping_is_looked_for(held, bits, largest, often):
    kind = IntType(bits=bits)
    assert is_checked_often(largest, held, kind.low, kind.high) == often


@needs_tiles
@pytest.mark.parametrize(
    ("kind", "register", "left", "right"),
    [
        (S8, 8, [64, -128], [2, 2]),
        (U8, 17, [255, 255, 130, 255, 255, 255, 255, 127], [127] * 3 + [-128] * 5),
    ],
)
def test_clipping_at_both_ends_within_a_few_terms_is_seen(kind, register, left, right):
    d = Draft(Rounding.FLOOR, SATURATE)
    d.input("a", (1, len(left)), kind)
    d.constant("weights", [[weight] for weight in right], S8)
    levels = accumulator((0, register, SATURATE))
    d.op(MatMul, "y", "a", "weights", multiplier=(1 << 30,), shift=(36,), accumulator=levels)
    operands = {"a": np.array([[left]], kind.dtype)}
    result = assert_kernel_equals_reference(d.graph(), operands, "avx2")
    assert result.sums.transient == 1


def test_lengths_are_rounded_up():
    largest = (1 << 31) - 1
    roots = np.arange(1, 46341)
    for squares in {
        0,
        largest,
        *(roots**2).tolist(),
        *(roots**2 - 1).tolist(),
        *(roots**2 + 1).tolist(),
    }:
        root = int(whole_root(np.int32(squares)))
        assert (root - 1) ** 2 < squares <= root**2 or squares == root == 0


# --- when they are not taken ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"shift": np.array([32])},
        {"multiplier": np.array([1 << 31])},
        {"overflow": Overflow.WRAP},
        {"type": IntType(bits=33)},
        {"type": IntType(bits=32, signed=False)},
        {"type": S32, "zero_point": 1 << 30},
    ],
)
def test_no_words_for_what_does_not_fit_them(changes):
    fields = {
        "multiplier": np.array([1 << 30]),
        "shift": np.array([40]),
        "rounding": Rounding.HALF_UP,
        "channels": 8,
        "zero_point": 0,
        "type": S8,
        "overflow": Overflow.SATURATE,
    }
    assert words_of(Requantizer.build(**fields), 8) is not None
    assert words_of(Requantizer.build(**(fields | changes)), 8) is None


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


@needs_tiles
@pytest.mark.parametrize("code", [0, 127, 128, 255])
@pytest.mark.parametrize("weight", [-8, 7])
@pytest.mark.parametrize("kind", [S8, U8])
def test_the_largest_sums_of_narrow_weights(code, weight, kind):
    d = Draft(Rounding.HALF_UP, SATURATE)
    d.input("a", (2, 64), kind)
    d.constant("weights", [[weight] * 3] * 64, S4)
    d.op(MatMul, "y", "a", "weights", multiplier=(1 << 30,), shift=(40,))
    operands = {"a": np.full((1, 2, 64), code, np.uint8).view(kind.dtype)}
    assert_kernel_equals_reference(d.graph(), operands, "avx2")


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
        d.op(LayerNorm,
            "y", "a", gamma=[1 << 28] * 5, beta=[0] * 5, shift=44, zero_point=-128,
            sqrt_fraction_bits=16, reciprocal_bits=60, normalized_fraction_bits=20,
        )  # fmt: skip
    graph = d.graph()
    gemm = "avx2" if has_avx2() else "numba"
    assert_kernel_equals_reference(graph, operands_for(graph, seed=2), gemm)


# --- one step beyond every limit: the ordinary kernels --------------------------------------------


def built(graph, gemm="avx2"):
    op = graph.ops[-1]
    return (
        BEHAVIOURS[type(op)].build(op, graph, backend(gemm)).__module__.removeprefix("simulator.")
    )


def product(kind_a, kind_b, terms, bits):
    d = Draft(Rounding.HALF_UP, SATURATE)
    d.input("a", (1, terms), kind_a)
    d.operand("b", (terms, 1), kind_b)
    levels = accumulator((0, bits, SATURATE))
    d.op(MatMul, "y", "a", "b", multiplier=(1 << 30,), shift=(40,), accumulator=levels)
    return d.graph()


@needs_tiles
def test_limits_of_narrow_registers():
    assert built(product(U8, S8, 8, 16)) == "ops.matmul_narrow"
    assert built(product(U8, U8, 8, 16)) == "ops.matmul"  # products of 16 bits and a sign
    assert built(product(S8, S8, 8192, 26)) == "ops.matmul_narrow"
    assert built(product(S8, S8, 8193, 26)) == "ops.matmul"  # too long
    assert built(product(S8, S8, 1 << 16, 30)) == "ops.matmul"
    assert built(product(S16, S8, 8, 16)) == "ops.matmul"


def test_limits_of_add():
    def add(shift, factor=1):
        d = Draft(Rounding.HALF_UP, SATURATE)
        d.input("a", (2, 8), S8)
        d.operand("b", (2, 8), S8)
        d.op(Add, "y", "a", "b", multiplier_a=(factor,), multiplier_b=(3,), shift=shift)
        return d.graph()

    assert built(add(32, 1 << 30), "numba") == "ops.add_words"
    assert built(add(33, 1 << 30), "numba") == "ops.add"  # the lower word has not all of it
    assert built(add(5, 1 << 27), "numba") == "ops.add_words"
    assert built(add(4, 1 << 27), "numba") == "ops.add"  # more than 31 bits are left


def test_limits_of_layer_norm():
    def norm(**fields):
        d = Draft(Rounding.HALF_UP, SATURATE)
        d.input("a", (2, 8), S8)
        usual = {"shift": 40, "reciprocal_bits": 60, "sqrt_fraction_bits": 16}
        d.op(LayerNorm, "y", "a", gamma=[9] * 8, beta=[5] * 8, **(usual | fields))
        return d.graph()

    assert built(norm(), "numba") == "ops.layernorm_words"
    assert built(norm(sqrt_fraction_bits=9), "numba") == "ops.layernorm"  # not exact in float64
    assert built(norm(normalized_fraction_bits=29), "numba") == "ops.layernorm"


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
