# SPDX-License-Identifier: Apache-2.0
"""ScaledMatMul by hand, by the products it stands for, and through registers that overflow."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from narrow_accumulators import accumulators
from one_op_graphs import assert_kernel_equals_reference, kernels_of
from small_graphs import S4, S8, S16, S32, SATURATE, U8, WRAP, Draft, accumulator

from simulator.executor import Executor
from simulator.graph import verify
from simulator.graph.ops import MatMul, ScaledMatMul
from simulator.numerics.accumulator import Event, OverflowPolicy, accumulate
from simulator.numerics.integer_type import IntType
from simulator.product_choice import choose

U5 = IntType(bits=5, signed=False)
S48 = IntType(bits=48)
EVERY_SUM = {"shift": (0,), "type": S48}


def run(graph, **operands):
    given = [
        graph.constants[name] if graph.is_constant(name) else np.asarray(operands[name])
        for name in graph.ops[-1].operands
    ]
    (kernel,) = kernels_of(graph)
    return kernel(given)


def test_a_product_by_hand():
    """(1 * 2 - 2 * 3) << 1 = -8, (3 * 4) << 2 = 48: 40 * 5 + 7 = 207."""
    d = Draft()
    d.input("a", (1, 4), S4)
    d.constant("w", [[2], [3], [4], [5]], S4)
    d.constant("bias", [7], S32)
    d.operand("f", (1, 1), U8)
    d.operand("e", (1, 2), U5)
    given = {"row_factor": "f", "block_exponent": "e", "block": 2, "bias": "bias"}
    d.op(ScaledMatMul, "y", "a", "w", **given, **EVERY_SUM)
    codes = np.array([[[1, -2, 3, 0]]], np.int8)
    exponents = np.array([[[1, 2]]], np.uint8)
    found = run(d.graph(), a=codes, f=np.array([[[5]]], np.uint8), e=exponents)
    assert found.codes.tolist() == [[[207]]]
    assert (found.sums.least, found.sums.most) == (40, 40)


def test_scores_by_hand():
    """Rows (1, 2) and (3, -1), columns (4, 5) and (-6, 7), factors 2, 3 and 10, 100."""
    d = Draft()
    d.input("a", (2, 2), S4)
    d.operand("b", (2, 2), S4)
    d.operand("row", (2, 1), U8)
    d.operand("column", (2, 1), U8)
    factors = {"row_factor": "row", "column_factor": "column", "transpose_b": True}
    d.op(ScaledMatMul, "y", "a", "b", **factors, **EVERY_SUM)
    found = run(
        d.graph(),
        a=np.array([[[1, 2], [3, -1]]], np.int8),
        b=np.array([[[4, 5], [-6, 7]]], np.int8),
        row=np.array([[[2], [3]]], np.uint8),
        column=np.array([[[10], [100]]], np.uint8),
    )
    assert found.codes.tolist() == [[[14 * 20, 8 * 200], [7 * 30, -25 * 300]]]


@given(st.integers(0, 10**6))
@settings(max_examples=30)
def test_exponents_are_codes_shifted_before_a_plain_product(seed):
    """As long as no register overflows: a[m, k] << e[m, k / block] times b."""
    rng = np.random.default_rng(seed)
    rows, blocks, block, columns = (int(rng.integers(1, 6)) for _ in range(4))
    terms = blocks * block
    weights = rng.integers(-8, 8, (terms, columns))
    codes = rng.integers(-8, 8, (2, rows, terms)).astype(np.int8)
    exponents = rng.integers(0, 8, (2, rows, blocks)).astype(np.uint8)
    plain, scaled = Draft(), Draft()
    plain.input("a", (rows, terms), S16)
    plain.op(MatMul, "y", "a", plain.constant("w", weights, S4), **EVERY_SUM)
    scaled.input("a", (rows, terms), S4)
    scaled.operand("e", (rows, blocks), IntType(bits=3, signed=False))
    given = {"block_exponent": "e", "block": block}
    scaled.op(ScaledMatMul, "y", "a", scaled.constant("w", weights, S4), **given, **EVERY_SUM)
    wide = codes.astype(np.int16) << np.repeat(exponents, block, axis=2)
    expected = run(plain.graph(), a=wide.astype(np.int16))
    found = run(scaled.graph(), a=codes, e=exponents)
    assert found.codes.tolist() == expected.codes.tolist()
    assert found.sums == expected.sums


@given(accumulators(8, 18), st.sampled_from([2, 8, 40, 127]), st.integers(0, 10**6), st.booleans())
@settings(max_examples=150)
def test_through_registers_that_overflow(levels, largest, seed, constant):
    rng = np.random.default_rng(seed)
    groups = [level.group for level in levels.levels if level.group]
    block = int(rng.choice([*groups, 1, 2, 12]))
    block = block if 12 % block == 0 else 12
    if any(group <= block and block % group for group in groups):
        block = 1
    d = Draft()
    d.input("a", (3, 12), S8)
    e = d.operand("e", (3, 12 // block), IntType(bits=3, signed=False))
    b = rng.integers(-largest, largest, (12, 4), endpoint=True)
    weights = d.constant("b", b, S8) if constant else d.operand("b", (12, 4), S8)
    given = {"block_exponent": e, "block": block, "accumulator": levels}
    d.op(ScaledMatMul, "y", "a", weights, **given, **EVERY_SUM)
    graph = d.graph()
    assert verify(graph) == []
    operands = {
        "a": rng.integers(-largest, largest, (2, 3, 12), endpoint=True).astype(np.int8),
        "e": rng.integers(0, 8, (2, 3, 12 // block)).astype(np.uint8),
    }
    if not constant:
        operands["b"] = np.stack([b, b[::-1]]).astype(np.int8)
    assert_kernel_equals_reference(graph, operands)


@pytest.mark.parametrize("exponent", [0, 1, 15, 31])
def test_exponents_at_their_ends_and_sums_far_beyond_a_register(exponent):
    """Squares of shifted codes do not fit 64 bits: none of these may pass for one that fits."""
    d = Draft()
    d.input("a", (2, 6), S8)
    d.operand("e", (2, 2), U5)
    weights = d.constant("w", [[127, -128]] * 6, S8)
    levels = accumulator((3, 16, SATURATE), (0, 20, SATURATE))
    given = {"block_exponent": "e", "block": 3, "accumulator": levels}
    d.op(ScaledMatMul, "y", "a", weights, **given, **EVERY_SUM)
    codes = np.array([[[1, 0, 0, 0, 0, 0], [-128] * 6]], np.int8)
    exponents = np.full((1, 2, 2), exponent, np.uint8)
    found = assert_kernel_equals_reference(d.graph(), {"a": codes, "e": exponents})
    assert found.sums.overflowed >= (2 if exponent >= 15 else 0)


def test_a_level_inside_a_block_is_not_shifted():
    """Pairs in 8 bits: 100 + 27 fit, shifted by 3 they do not; one level takes them shifted."""
    products, exponents = [100, 27, -100, -28], [3, 0]
    pairs = accumulator((2, 8, SATURATE), (0, 12, SATURATE))
    assert accumulate(products, 0, pairs, exponents, 2) == (127 * 8 - 128, Event.NONE)
    alone = accumulator((0, 10, SATURATE))
    overflowed = 511 - 128, Event.PERSISTENT | Event.CHANGED
    assert accumulate(products, 0, alone, exponents, 2) == overflowed
    singles = accumulator((1, 8, SATURATE), (0, 12, WRAP))
    assert accumulate(products, 0, singles, exponents, 2) == (127 * 8 - 128, Event.NONE)


def test_widest_sums_are_exact():
    """Numbers of nearly 64 bits, at all ends of the codes."""
    d = Draft()
    d.input("a", (4, 4), S16)
    d.operand("f", (4, 1), IntType(bits=16, signed=False))
    weights = d.constant("w", [[-32768, 32767, -1]] * 4, S16)
    given = {"row_factor": "f", "accumulator": accumulator((0, 40, WRAP))}
    given |= {"multiplier": ((1 << 13) - 1,), "shift": (44,), "type": S32}
    d.op(ScaledMatMul, "y", "a", weights, **given)
    graph = d.graph()
    assert verify(graph) == []
    codes = np.array([[[-32768] * 4, [32767] * 4, [-32768, 32767] * 2, [0, -1, 1, 0]]], np.int16)
    for factor in (0, 1, 65535):
        factors = np.full((1, 4, 1), factor, np.uint16)
        assert_kernel_equals_reference(graph, {"a": codes, "f": factors})


def test_backends_are_chosen_for_its_products_too():
    d = Draft()
    d.input("a", (197, 768), S4)
    e = d.operand("e", (197, 12), U5)
    weights = d.constant("w", np.ones((768, 192), int), S4)
    levels = accumulator((0, 60, WRAP))
    given = {"block_exponent": e, "block": 64, "accumulator": levels, "shift": (30,)}
    d.op(ScaledMatMul, "y", "a", weights, **given)
    graph = d.graph()
    choices = choose(graph, "numba")
    assert choices["y"].backend == "numba"
    codes = np.random.default_rng(0).integers(-8, 8, (1, 197, 768)).astype(np.int8)
    blas, numba = (Executor(graph, gemm=gemm, threads=1) for gemm in ("blas", "numba"))
    assert np.array_equal(blas.run(codes).outputs["y"], numba.run(codes).outputs["y"])


def test_reported_sums_stay_exact():
    d = Draft()
    d.input("a", (1, 2), S8)
    d.operand("f", (1, 1), U8)
    levels = accumulator((0, 8, SATURATE))
    d.op(
        ScaledMatMul, "y", "a", d.constant("w", [[100], [100]], S8), row_factor="f",
        accumulator=replace(levels, policy=OverflowPolicy.REPORT), **EVERY_SUM,
    )  # fmt: skip
    codes, factor = np.array([[[3, 4]]], np.int8), np.array([[[2]]], np.uint8)
    found = assert_kernel_equals_reference(d.graph(), {"a": codes, "f": factor})
    assert found.codes.tolist() == [[[1400]]]
    assert found.sums.persistent == 1
