# SPDX-License-Identifier: Apache-2.0
"""MatMul onto a residual in vector registers: taken where numbers fit, equal to the reference."""

from __future__ import annotations

from functools import reduce

import numpy as np
import pytest
from one_op_graphs import assert_kernel_equals_reference, operands_for
from simd_cases import (
    assert_taken_and_equal,
    every_fit,
    every_rounding,
    module_of,
    needs_avx2,
    numbers,
)
from small_graphs import S8, S16, S32, SATURATE, U8, WRAP, Draft, accumulator

from simulator.gemm import backend
from simulator.graph.ops import MatMul
from simulator.kernel_choice import is_one_pass, kernel_of
from simulator.numerics.rounding import Rounding
from simulator.ops.behaviour import SumCounts
from simulator.product_choice import Kind, class_of
from simulator.simd.lanes.residual_term import ResidualTerm
from simulator.split import RULES, Cut

pytestmark = needs_avx2


def onto(rounding=Rounding.HALF_UP, overflow=SATURATE, *, residual=S8, **changes):
    """Return a layer whose sums and whose residual weigh about the same, channel by channel."""
    rows, terms, columns = changes.pop("rows", 7), changes.pop("terms", 20), changes.pop("columns")
    spread, largest = changes.pop("weights", 128), changes.pop("bias", 5000)
    d = Draft(rounding, overflow)
    d.input("a", (rows, terms), S8, 5)
    d.constant("weights", numbers(-spread, spread - 1, columns, terms), S8)
    d.operand("r", (rows, columns), residual, changes.pop("residual_zero", 9))
    fields = {
        "bias": d.constant("bias", numbers(-largest, largest, columns), S32),
        "multiplier": tuple(numbers(1 << 30, (1 << 31) - 1, columns)),
        "shift": tuple(numbers(41, 43, columns)),
        "residual_multiplier": tuple(numbers(1 << 28, (1 << 30) - 1, columns)),
        "residual_fraction_bits": 30,
        "zero_point": -7,
    }
    d.op(MatMul, "y", "a", "weights", transpose_b=True, residual="r", **fields | changes)
    return d.graph()


@every_rounding
@every_fit
@pytest.mark.parametrize(("terms", "columns"), [(1, 1), (7, 15), (40, 16), (20, 35)])
def test_sums_and_residual_are_rounded_once(rounding, overflow, terms, columns):
    graph = onto(rounding, overflow, terms=terms, columns=columns)
    assert_taken_and_equal(graph, "matmul_fused", "avx2", images=2)


@every_rounding
def test_ties_above_and_below_zero(rounding):
    """Eighths of a step from sums and residual alike."""
    graph = onto(
        rounding, terms=3, columns=24, weights=2, bias=9, multiplier=(1 << 30,), shift=(33,),
        residual_multiplier=(3,), residual_fraction_bits=3, rows=9,
    )  # fmt: skip
    result = assert_taken_and_equal(graph, "matmul_fused", "avx2")
    assert len(np.unique(result.codes)) > 50


@pytest.mark.parametrize(("residual", "result"), [(U8, U8), (S16, S16)])
def test_types_of_residual_and_result(residual, result):
    largest = min(20, residual.bits + 9)
    graph = onto(
        residual=residual, type=result, columns=19, residual_zero=residual.high - 5, zero_point=3,
        residual_multiplier=tuple(numbers(1 << (largest - 1), 1 << largest, 19)),
        residual_fraction_bits=24,
    )  # fmt: skip
    assert_taken_and_equal(graph, "matmul_fused", "avx2")


@pytest.mark.parametrize("rounding", [Rounding.HALF_UP, Rounding.HALF_EVEN])
@pytest.mark.parametrize("zero", [-(1 << 15), (1 << 15) - 1])
def test_totals_of_nearly_64_bits(rounding, zero):
    """65535 * (2^31 - 2^18) << 16, and less than nothing: 2^63 but for 2^51."""
    graph = onto(
        rounding, residual=S16, residual_zero=zero, columns=16, multiplier=(1 << 30,), shift=(49,),
        residual_multiplier=((1 << 31) - (1 << 18),), residual_fraction_bits=33, type=S16,
        zero_point=0,
    )  # fmt: skip
    operands = operands_for(graph)
    assert_taken_and_equal(graph, "matmul_fused", "avx2")
    operands["r"][:, ::2] = -(1 << 15)
    operands["r"][:, 1::2] = (1 << 15) - 1
    result = assert_kernel_equals_reference(graph, operands, "avx2")
    assert np.ptp(result.codes.astype(np.int64)) > 16380


@pytest.mark.parametrize("code", [-128, 127])
@pytest.mark.parametrize("other", [-128, 9, 127])
def test_the_ends_of_all_codes(code, other):
    graph = onto(columns=17, terms=31)
    operands = {name: np.empty_like(codes) for name, codes in operands_for(graph).items()}
    operands["a"][...] = code
    operands["r"][...] = other
    assert_kernel_equals_reference(graph, operands, "avx2")


@pytest.mark.parametrize("overflow", [SATURATE, WRAP])
@pytest.mark.parametrize("columns", [13, 32])
def test_behind_a_narrow_register(overflow, columns):
    levels = accumulator((0, 14, overflow))
    graph = onto(columns=columns, terms=40, rows=50, accumulator=levels)
    result = assert_taken_and_equal(graph, "matmul_narrow", "avx2", images=2)
    assert result.sums.overflowed


@pytest.mark.parametrize("columns", [24, 21])
def test_workers_take_their_rows_of_the_residual(columns):
    """More rows than a strip; rows of a batch that do not lie side by side."""
    graph = onto(columns=columns, rows=60)
    op = graph.ops[-1]
    kernel = kernel_of(op, graph, backend("avx2"))
    operands = operands_for(graph)
    values = [operands["a"], graph.constants["weights"], operands["r"]]
    whole = kernel(values)
    cuts = RULES[MatMul](op, graph, [Cut(axis=0, borders=(0, 7, 60)), None, None], 2)
    assert cuts.operands == (cuts.result, None, cuts.result)
    parts = [
        kernel([values[0][:, rows], values[1], values[2][:, rows]])
        for rows in map(cuts.result.rows, range(2))
    ]
    assert np.array_equal(np.concatenate([part.codes for part in parts], axis=1), whole.codes)
    assert sum(part.saturated for part in parts) == whole.saturated
    assert reduce(SumCounts.merged, [part.sums for part in parts]) == whole.sums


def test_its_class_is_that_of_a_layer():
    graph = onto(columns=16)
    assert is_one_pass(graph.ops[-1], graph)
    assert class_of(graph.ops[-1], graph, one_pass=True).kind is Kind.LAYER


def test_a_residual_that_is_too_wide_has_no_such_form():
    graph = onto(
        residual=S32, columns=8, residual_multiplier=(1,), residual_fraction_bits=33, shift=(43,)
    )
    assert module_of(graph, "avx2") == "ops.matmul"
    assert not is_one_pass(graph.ops[-1], graph)
    assert_kernel_equals_reference(graph, operands_for(graph), "avx2")


@pytest.mark.parametrize(
    "changes", [{"multiplier": np.array([1 << 31])}, {"left": np.array([63])}, {"dtype": np.int32}]
)
def test_none_for_numbers_that_lanes_cannot_hold(changes):
    fields = {"multiplier": np.array([(1 << 31) - 1]), "left": np.array([62]), "dtype": np.int16}

    def term(multiplier, left, dtype):
        return ResidualTerm.of(multiplier, left, channels=3, zero_point=1, dtype=np.dtype(dtype))

    assert term(**fields) is not None
    assert term(**fields | changes) is None


def test_rows_that_end_within_a_register_have_room_behind():
    ones = np.array([1])
    for channels, copied in ((13, True), (16, False)):
        term = ResidualTerm.of(ones, ones, channels=channels, zero_point=0, dtype=np.dtype(np.int8))
        codes = np.arange(2 * channels, dtype=np.int8).reshape(2, channels)
        flat = term.arguments(codes)[0]
        assert np.array_equal(flat[: codes.size], codes.reshape(-1))
        assert np.shares_memory(flat, codes) != copied
        assert flat.size >= channels + len(term.multiplier)
