# SPDX-License-Identifier: Apache-2.0
"""MatMul in vector registers: taken where its numbers fit, and equal to the reference."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from one_op_graphs import assert_kernel_equals_reference
from simd_cases import (
    RANDOM,
    assert_taken_and_equal,
    every_rounding,
    module_of,
    needs_avx2,
    numbers,
)
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
    with_codes,
    with_op,
    with_tensor,
)

from simulator.gemm import backend
from simulator.graph.ops import MatMul
from simulator.kernel_choice import kernel_of
from simulator.numerics.accumulator import OverflowPolicy
from simulator.numerics.float_type import FloatType
from simulator.numerics.rescaling import Arithmetic
from simulator.numerics.rounding import DoubleRounding, Rounding
from simulator.simd.product import forms

pytestmark = needs_avx2


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
    d.op(
        MatMul, "y", "a", "weights", bias=bias, transpose_b=True, shift=shift,
        multiplier=multiplier, zero_point=-7, **fields, **changes,
    )  # fmt: skip
    return d.graph()


@every_rounding
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("kind", [S8, U8])
@pytest.mark.parametrize(("terms", "columns"), [(1, 1), (7, 15), (40, 16), (530, 35)])
def test_product_and_requantization(rounding, bits, kind, terms, columns):
    graph = linear(rounding, terms=terms, columns=columns, bits=bits, kind=kind)
    assert_taken_and_equal(graph, "matmul_fused", "avx2", images=2)


@pytest.mark.parametrize("double", DoubleRounding)
def test_product_with_double_rounding(double):
    graph = linear(Rounding.HALF_UP, terms=20, columns=9)
    twice = replace(graph.ops[-1].requantize, double_rounding=double)
    graph = with_op(graph, "y", requantize=twice)
    assert_taken_and_equal(graph, "matmul_fused", "avx2")


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


@every_rounding
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_product_and_rescaling_in_float(rounding, dtype):
    for levels, module in (
        (None, "matmul_fused"),
        (accumulator((0, 16, SATURATE)), "matmul_narrow"),
    ):
        graph = linear(rounding, terms=70, columns=21, levels=levels)
        assert_taken_and_equal(in_float(graph, dtype), module, "avx2")


def test_more_rows_than_a_strip():
    graph = linear(Rounding.HALF_EVEN, terms=12, columns=17, rows=50)
    assert_taken_and_equal(graph, "matmul_fused", "avx2", images=2)


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
    "long": lambda **f: attention(S8, (2, 50, 201), (2, 201, 17), **f),  # blocks, strips
}


@pytest.mark.parametrize("name", ATTENTION)
def test_products_of_activations(name):
    assert_taken_and_equal(ATTENTION[name](), "matmul_fused", "avx2")


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
        result = assert_taken_and_equal(graph, "matmul_narrow", "avx2")
        assert result.sums.overflowed


@pytest.mark.parametrize("policy", OverflowPolicy)
def test_policies_of_narrow_registers(policy):
    levels = accumulator((0, 14, SATURATE))
    levels = type(levels)(levels=levels.levels, policy=policy)
    graph = linear(Rounding.HALF_UP, terms=70, columns=20, levels=levels)
    result = assert_taken_and_equal(graph, "matmul_narrow", "avx2")
    assert result.sums.changed


@pytest.mark.parametrize("name", ATTENTION)
@pytest.mark.parametrize("register", [13, 16, 18])
def test_narrow_registers_of_activations(name, register):
    graph = ATTENTION[name](levels=accumulator((0, register, SATURATE)))
    assert_taken_and_equal(graph, "matmul_narrow", "avx2")


def test_the_forms_of_a_cpu_without_vnni(monkeypatch):
    """On a CPU with VNNI the other tests see its form alone; every kernel here is compiled anew."""
    monkeypatch.setattr(forms, "has_vnni", lambda: False)
    narrow = {"levels": accumulator((0, 16, SATURATE))}
    sizes = {"terms": 150, "columns": 35}
    for bits, kind, fields in ((4, S8, {}), (8, U8, {}), (4, U8, narrow), (8, S8, narrow)):
        graph = linear(Rounding.HALF_UP, bits=bits, kind=kind, **sizes, **fields)
        assert_taken_and_equal(graph, f"matmul_{'narrow' if fields else 'fused'}", "avx2")
    assert_taken_and_equal(ATTENTION["scores"](), "matmul_fused", "avx2")
    assert_taken_and_equal(ATTENTION["context"](**narrow), "matmul_narrow", "avx2")


def test_clipping_up_and_down_that_cancels_later_is_seen():
    """A register that was clipped above and below by the same amount ends at the exact sum."""
    d = Draft(Rounding.FLOOR, SATURATE)
    d.input("a", (1, 7), S8)
    weights = [100, 100, 100, 100, -128, -128, -128]
    d.constant("weights", [[weight] for weight in weights], S8)
    d.op(
        MatMul, "y", "a", "weights", multiplier=(1 << 30,), shift=(36,),
        accumulator=accumulator((0, 15, SATURATE)),
    )  # fmt: skip
    graph = d.graph()
    # Exact: 10000, 20000 (3617 too high), 10000, 0, -8192, -16384 (the lowest), 0.
    up_and_down = [100, 100, -100, -100, 64, 64, -128]
    operands = {"a": np.array([[up_and_down]], np.int8)}
    result = assert_kernel_equals_reference(graph, operands, "avx2")
    assert (result.sums.changed, result.sums.transient) == (0, 1)


def drifting(registers, rows, columns, *, high_columns=(), high_rows=()):
    """Return a graph of small codes and weights, and operands, with columns and rows that are not.

    Half of the terms of a high column or row add up, the other half takes away as much.
    """
    terms = 200
    signs = np.where(np.arange(terms) < terms // 2, 1, -1)
    weights = RANDOM.integers(-3, 4, (terms, columns))
    weights[:, list(high_columns)] = 100 * signs[:, None]
    d = Draft(Rounding.HALF_UP, SATURATE)
    d.input("a", (rows, terms), S8)
    d.constant("weights", weights.tolist(), S8)
    levels = accumulator((0, registers, SATURATE))
    d.op(MatMul, "y", "a", "weights", multiplier=(1 << 30,), shift=(40,), accumulator=levels)
    codes = RANDOM.integers(20, 25, (1, rows, terms))
    codes[:, list(high_rows)] = 127 * np.sign(weights[:, 0])
    return d.graph(), {"a": codes.astype(np.int8)}


@pytest.mark.parametrize("register", [16, 18])
def test_few_columns_that_drift_are_accumulated_for_all_rows(register):
    """Both layouts; a strip and a few rows, a last group that is not full."""
    rows = 50
    graph, operands = drifting(register, rows, 35, high_columns=(3, 9, 34))
    result = assert_kernel_equals_reference(graph, operands, "avx2")
    assert result.sums.transient == 3 * rows
    kernel = kernel_of(graph.ops[-1], graph, backend("avx2"))
    # The last two rows of 35 columns are fewer as rows.
    assert 3 * 48 <= kernel([operands["a"], None]).in_order <= 3 * 48 + 2 * 35


@pytest.mark.parametrize(("register", "most"), [(16, 8 * 35), (18, 0)])
def test_rows_that_are_long_are_accumulated_with_their_neighbours_alone(register, most):
    graph, operands = drifting(register, 50, 35, high_rows=(13,))
    result = assert_kernel_equals_reference(graph, operands, "avx2")
    assert bool(result.sums.overflowed) == bool(most)
    kernel = kernel_of(graph.ops[-1], graph, backend("avx2"))
    assert bool(most) <= kernel([operands["a"], None]).in_order <= most


@pytest.mark.parametrize("code", [-128, 127])
@pytest.mark.parametrize("register", [26, 28, 30])
def test_the_longest_sums(code, register):
    """8192 terms of the largest products: beyond 26 bits, as far as 28 go, and within 30."""
    terms = 8192
    d = Draft(Rounding.FLOOR, SATURATE)
    d.input("a", (1, terms), S8)
    signs = np.where(np.arange(terms) < terms // 2, 1, -1)
    columns = [np.full(terms, -128), np.full(terms, 127), 127 * signs]
    d.constant("weights", np.stack(columns, axis=1).tolist(), S8)
    levels = accumulator((0, register, SATURATE))
    d.op(MatMul, "y", "a", "weights", multiplier=(1 << 30,), shift=(50,), accumulator=levels)
    operands = {"a": np.full((1, 1, terms), code, np.int8)}
    result = assert_kernel_equals_reference(d.graph(), operands, "avx2")
    expected = {26: (2, 1), 28: (int(code == -128), 0), 30: (0, 0)}
    assert (result.sums.persistent, result.sums.transient) == expected[register]


def test_sums_that_no_bound_lets_overflow_are_not_accumulated_in_order():
    graph = linear(Rounding.HALF_UP, terms=256, columns=32, levels=accumulator((0, 20, SATURATE)))
    op = graph.ops[-1]
    small = np.ones((1, 7, 256), np.int8)
    kernel = kernel_of(op, graph, backend("avx2"))
    assert kernel.__module__ == "simulator.simd.ops.matmul_narrow"
    assert kernel([small, None]).in_order == 0
    large = np.full((1, 7, 256), -128, np.int8)
    assert kernel([large, None]).in_order > 0


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


def product(kind_a, kind_b, terms, bits):
    d = Draft(Rounding.HALF_UP, SATURATE)
    d.input("a", (1, terms), kind_a)
    d.operand("b", (terms, 1), kind_b)
    levels = accumulator((0, bits, SATURATE))
    d.op(MatMul, "y", "a", "b", multiplier=(1 << 30,), shift=(40,), accumulator=levels)
    return d.graph()


def test_limits_of_narrow_registers():
    assert module_of(product(U8, S8, 8, 16), "avx2") == "simd.ops.matmul_narrow"
    assert (
        module_of(product(U8, U8, 8, 16), "avx2") == "ops.matmul"
    )  # products of 16 bits and a sign
    assert module_of(product(S8, S8, 8192, 26), "avx2") == "simd.ops.matmul_narrow"
    assert module_of(product(S8, S8, 8193, 26), "avx2") == "ops.matmul"  # too long
    assert module_of(product(S8, S8, 1 << 16, 30), "avx2") == "ops.matmul"
    assert module_of(product(S16, S8, 8, 16), "avx2") == "ops.matmul"
