# SPDX-License-Identifier: Apache-2.0
"""Mistakes that a team could have made: each computes what its sentence says."""

from __future__ import annotations

from dataclasses import replace
from math import isqrt

import numpy as np
import pytest
from small_graphs import SATURATE, accumulator
from trials import CHOSEN, one_layer, trial_of

from simulator.golden.variants.all_of import Trial, Variant, variants
from simulator.golden.variants.trial import is_fixed_point
from simulator.graph.ops import LayerNorm, MatMul, NormalizedMatMul, Op, Softmax
from simulator.numerics.integer_type import IntArray
from simulator.numerics.rounding import Rounding, divide
from simulator.ops import BEHAVIOURS
from simulator.traces import trace


def found(trial: Trial, name: str) -> Variant:
    (variant,) = (variant for variant in variants(trial.unit) if variant.name == name)
    return variant


def codes_of(trial: Trial, name: str) -> list[int]:
    codes: list[int] = found(trial, name).codes(trial).ravel().tolist()
    return codes


@pytest.mark.parametrize(("op_type", "case"), CHOSEN)
def test_changed_ops_compute_what_their_references_say(op_type: type[Op], case: str) -> None:
    trial = trial_of(op_type, case)
    names = set()
    for variant in variants(trial.unit):
        assert variant.name not in names
        names.add(variant.name)
        codes = variant.codes(trial)
        assert (codes.shape, codes.dtype) == (trial.truth.shape, trial.truth.dtype), variant.name
        if variant.unit is not None:
            (op,) = variant.unit.ops
            first = [
                given if variant.unit.is_constant(name) else given[0]
                for name, given in zip(op.operands, trial.operands, strict=True)
            ]
            first = [
                variant.unit.constants.get(name, given)
                for name, given in zip(op.operands, first, strict=True)
            ]
            wanted = BEHAVIOURS[op_type].reference(op, variant.unit, first).codes
            assert np.array_equal(codes[0], wanted), variant.name


def sums_of(trial: Trial) -> list[int]:
    return [int(total) for total in trial.sums.ravel()]


def clipped(value: int) -> int:
    return min(max(value, -128), 127)


def test_a_shift_without_sign_saturates_what_is_negative() -> None:
    trial = one_layer([[2], [-9]], [4])
    wanted = [
        clipped(((3 * total + 8) % (1 << 64) >> 4) - 7) if 3 * total + 8 >= 0 else 127
        for total in sums_of(trial)
    ]
    assert codes_of(trial, "shift=logical") == wanted
    assert wanted != trial.truth.ravel().tolist()


def test_rounding_at_the_last_bit_but_one_first() -> None:
    trial = one_layer([[2], [-9]], [4])
    wanted = [
        clipped(divide(divide(3 * total, 8, Rounding.HALF_UP), 2, Rounding.HALF_UP) - 7)
        for total in sums_of(trial)
    ]
    assert codes_of(trial, "rounded_twice=one_bit") == wanted
    assert wanted != trial.truth.ravel().tolist()


def test_accumulators_without_sign() -> None:
    levels = accumulator((0, 12, SATURATE))
    trial = one_layer([[2], [-9]], [4], accumulator=levels, shift=(8,))
    wanted = [
        clipped(divide(3 * (total % (1 << 12)), 256, Rounding.HALF_UP) - 7)
        for total in sums_of(trial)
    ]
    assert codes_of(trial, "accumulator=unsigned") == wanted
    assert wanted != trial.truth.ravel().tolist()


def test_operands_and_weights_without_sign() -> None:
    trial = one_layer([[2], [-9]], [4])
    by_operand = [
        clipped(divide(3 * (2 * (code % 256) - 27 + 4), 16, Rounding.HALF_UP) - 7)
        for code in range(-128, 128)
    ]
    assert codes_of(trial, "a=unsigned") == by_operand
    by_weight = [
        clipped(divide(3 * (2 * code + 3 * 247 + 4), 16, Rounding.HALF_UP) - 7)
        for code in range(-128, 128)
    ]
    assert codes_of(trial, "b=unsigned") == by_weight


def test_the_zero_point_of_a_layers_input_is_in_its_bias() -> None:
    trial = one_layer([[2], [-9]], [4])  # a bias of 4 - 5 * (2 - 9) before it took the zero point
    wanted = [
        clipped(divide(3 * (2 * code - 27 + 4 + 5 * (2 - 9)), 16, Rounding.HALF_UP) - 7)
        for code in range(-128, 128)
    ]
    assert codes_of(trial, "zero_point(a)=0") == wanted


def test_the_last_product_first() -> None:
    levels = accumulator((0, 9, SATURATE))
    trial = one_layer([[2], [70]], [0], accumulator=levels, shift=(3,))
    wanted = []
    for code in range(-128, 128):
        total = min(max(min(max(210, -256), 255) + 2 * code, -256), 255)
        wanted.append(clipped(divide(3 * total, 8, Rounding.HALF_UP) - 7))
    assert codes_of(trial, "accumulator=descending") == wanted


def test_sums_onto_a_residual_round_each_term() -> None:
    trial = trial_of(MatMul, "onto a residual")
    op = trial.op
    assert isinstance(op, MatMul)
    terms = trial.operands[2].astype(int) - trial.unit.tensors["r"].zero_point
    wanted = [
        clipped(
            divide(int(total), 32, Rounding.HALF_UP)
            + divide(int(term) * 20, 32, Rounding.HALF_UP)
            + 3
        )
        for total, term in zip(trial.sums.ravel(), terms.ravel(), strict=True)
    ]
    assert codes_of(trial, "rounded_twice=each_term") == wanted
    assert wanted != trial.truth.ravel().tolist()


def layer_norm(root_step: int, reciprocal_step: int, codes: IntArray, trial: Trial) -> list[int]:
    """LayerNorm of rows by its formula, with a root and a reciprocal that are off by so much."""
    op, unit = trial.op, trial.unit
    assert isinstance(op, LayerNorm)
    gamma, beta = unit.constants[op.gamma].tolist(), unit.constants[op.beta].tolist()
    found = []
    for row in codes.reshape(-1, codes.shape[-1]).tolist():
        u = [code - unit.tensors[op.a].zero_point for code in row]
        variance = len(u) * sum(value * value for value in u) - sum(u) ** 2 + op.epsilon
        root = isqrt(variance << 2 * op.sqrt_fraction_bits) + root_step
        inverse = (1 << op.reciprocal_bits) // max(root, 1) + reciprocal_step
        spare = op.reciprocal_bits - op.sqrt_fraction_bits - op.normalized_fraction_bits
        for value, weight, offset in zip(u, gamma, beta, strict=True):
            normalized = (len(u) * value - sum(u)) * inverse >> spare
            affine = normalized * weight + (offset << op.beta_shift)
            code = divide(affine, 1 << op.shift, op.rounding)
            found.append(clipped(code + trial.result.zero_point))
    return found


@pytest.mark.parametrize(
    ("name", "steps"),
    [("root+1", (1, 0)), ("root-1", (-1, 0)), ("reciprocal+1", (0, 1)), ("reciprocal-1", (0, -1))],
)
def test_roots_and_reciprocals_off_by_one(name: str, steps: tuple[int, int]) -> None:
    trial = trial_of(LayerNorm, "8 bits", 8)
    assert layer_norm(0, 0, trial.operands[0], trial) == trial.truth.ravel().tolist()
    assert codes_of(trial, name) == layer_norm(*steps, trial.operands[0], trial)


def test_sums_are_made_again_where_they_change() -> None:
    trial = one_layer([[2], [-9]], [4])
    assert sums_of(trial) == [2 * code - 27 + 4 for code in range(-128, 128)]
    other = replace(trial.unit, constants={**trial.unit.constants, "b": np.array([100], np.int32)})
    changed = [
        clipped(divide(3 * (2 * code - 27 + 100), 16, Rounding.HALF_UP) - 7)
        for code in range(-128, 128)
    ]
    assert trial.codes_of(other).ravel().tolist() == changed


@pytest.mark.parametrize(("op_type", "case"), CHOSEN)
def test_what_is_shifted_is_what_the_trace_says(op_type: type[Op], case: str) -> None:
    trial = trial_of(op_type, case)
    traced = trace(trial.op, trial.unit, trial.operands)
    if "scaled" in traced and is_fixed_point(trial.op) and op_type is not Softmax:
        assert np.array_equal(trial.scaled, traced["scaled"])
    after = ("biased", "column_scaled", "row_scaled", "accumulator")
    if op_type is NormalizedMatMul:
        after = ("normalized",)
    last = next((name for name in after if name in traced), None)
    if last is not None:
        assert np.array_equal(trial.sums, traced[last])
