# SPDX-License-Identifier: Apache-2.0
"""Proofs that a variant makes no difference: none is ever wrong, and some are found."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from one_op_graphs import CASES
from random_ops import MAKERS, random_trial
from small_graphs import S8, S32, SATURATE, U4, U8, WRAP, Draft, accumulator
from trials import CHOSEN, one_layer, trial_of

from simulator.golden.coverage.equal import proven_equal
from simulator.golden.coverage.ties import possible_ties, sums_interval
from simulator.golden.variants.all_of import Family, Trial, Variant, unit_of, variants
from simulator.graph.ops import (
    AddShifted,
    DeferredSoftmax,
    GroupQuantize,
    MatMul,
    Op,
    Rescale,
    SquaredDifference,
)
from simulator.numerics.accumulator import OverflowPolicy
from simulator.numerics.integer_type import IntType, Overflow
from simulator.numerics.rounding import DoubleRounding

# A residual has as many terms as codes, each of which its proofs look at.
OPS_OF_A_KIND = {**dict.fromkeys(MAKERS, 12), "matmul onto a residual": 8}
MORE = [(op_type, case) for op_type, cases in CASES.items() for case in [*cases][1:2]]


def found(trial: Trial, name: str) -> Variant:
    (variant,) = (variant for variant in variants(trial.unit) if variant.name == name)
    return variant


@pytest.mark.parametrize(("op_type", "case"), [*dict.fromkeys([*CHOSEN, *MORE])])
def test_what_is_proven_equal_is_equal_on_random_codes(op_type: type[Op], case: str) -> None:
    trial = trial_of(op_type, case)
    others = [trial_of(op_type, case, 20, seed) for seed in (7, 8)]
    for variant in variants(trial.unit):
        if proven_equal(trial, variant) is not None:
            for other in (trial, *others):
                assert np.array_equal(variant.codes(other), other.truth), variant.name


@pytest.mark.parametrize("zero_point", [0, -7])
def test_ties_are_possible_just_where_a_sum_makes_one(zero_point: int) -> None:
    for multiplier, shift, bias in product((1, 2, 3, 12, 1 << 20, 12345678), (0, 1, 5, 24), (0, 9)):
        draft = Draft()
        draft.input("a", (1,), IntType(bits=6))
        draft.op(
            MatMul, "y", "a", draft.constant("w", [[3]], S8), bias=draft.constant("b", [bias], S32),
            multiplier=(multiplier,), shift=(shift,), zero_point=zero_point,
        )  # fmt: skip
        unit = unit_of(draft.graph(), draft.ops[-1])
        low, high = min(0, 3 * -32) + min(bias, 0), 3 * 31 + max(bias, 0)
        ties = [
            total * multiplier
            for total in range(low, high + 1)
            if shift and total * multiplier % (1 << shift) == 1 << (shift - 1)
        ]
        wanted = any(tie < 0 for tie in ties), any(tie >= 0 for tie in ties)
        assert possible_ties(unit) == wanted, (multiplier, shift, bias)


def test_ties_with_a_residual_are_found_by_its_codes() -> None:
    for multiplier, shift, part in product((2, 4, 7), (4, 6), (1, 3)):
        draft = Draft()
        draft.input("a", (1,), IntType(bits=3))
        residual = draft.operand("r", (1,), IntType(bits=4), 2)
        draft.op(
            MatMul, "y", "a", draft.constant("w", [[1]], S8), residual=residual,
            residual_multiplier=(part,), residual_fraction_bits=2, multiplier=(multiplier,),
            shift=(shift,),
        )  # fmt: skip
        graph = draft.graph()
        unit = unit_of(graph, graph.ops[-1])
        values = [
            total * multiplier + ((code - 2) * part << (shift - 2))
            for total in range(-4, 4)
            for code in range(-8, 8)
        ]
        ties = [value for value in values if value % (1 << shift) == 1 << (shift - 1)]
        wanted = any(tie < 0 for tie in ties), any(tie >= 0 for tie in ties)
        assert possible_ties(unit) == wanted, (multiplier, shift, part)


def test_reasons() -> None:
    large = one_layer([[2], [-9]], [4], multiplier=((1 << 31) - 1,), shift=(38,))
    for mode in ("half_down", "half_away", "half_even"):
        reason = proven_equal(large, found(large, f"rounding={mode}"))
        assert reason is not None
        assert reason.startswith("no input makes an exact tie")
    small = one_layer([[2], [-9]], [4])
    assert proven_equal(small, found(small, "rounding=half_away")) is None
    assert proven_equal(small, found(small, "rounding=floor")) is None
    assert proven_equal(small, found(small, "accumulator=24_wrap")) is not None
    assert proven_equal(small, found(small, "accumulator.overflow=saturate")) is not None
    narrow = one_layer([[2], [-9]], [4], accumulator=accumulator((0, 8, WRAP)))
    assert proven_equal(narrow, found(narrow, "accumulator.overflow=saturate")) is None
    assert proven_equal(narrow, found(narrow, "bias=after_last_block")) is not None


def test_operands_are_enumerated_where_they_are_few() -> None:
    trial = trial_of(Rescale, "8 bits")
    reason = proven_equal(trial, found(trial, "arithmetic=float64"))
    assert reason is not None
    wrong = found(trial, "rounding=half_even")
    assert proven_equal(trial, wrong) is None


def wrongly_proven(trial: Trial) -> list[str]:
    """Names of variants that are proven equal, and differ on the trial's own codes."""
    return [
        variant.name
        for variant in variants(trial.unit)
        if proven_equal(trial, variant) is not None
        and not np.array_equal(variant.codes(trial), trial.truth)
    ]


@pytest.mark.parametrize("kind", MAKERS)
def test_what_is_proven_equal_of_random_ops_is_equal_on_random_codes(kind: str) -> None:
    drawn = [random_trial(kind, seed) for seed in range(OPS_OF_A_KIND[kind])]
    tried = [trial for trial in drawn if trial is not None]
    assert len(tried) > len(drawn) // 2
    for trial in tried:
        assert wrongly_proven(trial) == [], trial.op


def layer(kind: IntType, weights: list[int], **given: object) -> Trial:
    """A layer with one output, on random codes."""
    draft = Draft()
    draft.input("a", (len(weights),), kind)
    draft.op(MatMul, "y", "a", draft.constant("w", [[one] for one in weights], S8), **given)
    unit = unit_of(draft.graph(), draft.ops[-1])
    codes = np.random.default_rng(3).integers(kind.low, kind.high + 1, (500, len(weights)))
    return Trial.of(unit, {"a": codes.astype(kind.dtype)})


def test_sums_that_wrap_below_zero_are_no_unsigned_sums() -> None:
    narrow = layer(U8, [3, 3], accumulator=accumulator((0, 8, WRAP)), shift=(1,))
    assert wrongly_proven(narrow) == []
    assert proven_equal(narrow, found(narrow, "accumulator=unsigned")) is None
    wide = layer(U8, [3, 3], accumulator=accumulator((0, 12, WRAP)), shift=(1,))
    assert proven_equal(wide, found(wide, "accumulator=unsigned")) is not None


def test_sums_that_are_only_reported_leave_the_register() -> None:
    reported = replace(accumulator((0, 8, WRAP)), policy=OverflowPolicy.REPORT)
    trial = layer(S8, [3, 3], accumulator=reported, shift=(10,))
    assert sums_interval(trial.unit) == (-768, 762)
    assert wrongly_proven(trial) == []


@pytest.mark.parametrize("outer", [WRAP, SATURATE])
@pytest.mark.parametrize("transposed", [False, True])
def test_the_last_product_first_makes_other_groups(outer: Overflow, *, transposed: bool) -> None:
    def of(weights: list[int]) -> Trial:
        draft, levels = Draft(), accumulator((2, 8, SATURATE), (0, 32, outer))
        draft.input("a", (1, len(weights)), IntType(bits=4))
        row = np.array([weights])
        b = draft.constant("w", row if transposed else row.T, S8)
        draft.op(MatMul, "y", "a", b, accumulator=levels, transpose_b=transposed, shift=(1,))
        unit = unit_of(draft.graph(), draft.ops[-1])
        codes = np.random.default_rng(3).integers(-8, 8, (500, 1, len(weights)))
        return Trial.of(unit, {"a": codes.astype(np.int8)})

    # Two products with 9 leave s8, which are one group only if the last product comes first.
    assert wrongly_proven(of([1, 9, 9])) == []
    assert proven_equal(of([1, 9, 9]), found(of([1, 9, 9]), "accumulator=descending")) is None
    whole = of([1, 9, 1, 9])
    assert proven_equal(whole, found(whole, "accumulator=descending")) is not None


@pytest.mark.parametrize("double", DoubleRounding)
def test_roundings_of_operands_are_part_of_no_proof_about_the_last_one(
    double: DoubleRounding,
) -> None:
    for factors in (
        (((1 << 29) - 1, 50), ((1 << 29) - 1, 50), (1, 0)),  # only operands shift beyond bit 31
        (((1 << 29) - 1, 50), ((1 << 29) - 1, 50), (1 << 20, 33)),
    ):
        draft = Draft()
        draft.input("a", (2,), S8)
        other = draft.operand("b", (2,), S8)
        draft.op(
            AddShifted, "y", "a", other, factors=factors, input_left_shift=20,
            double_rounding=double,
        )  # fmt: skip
        graph = draft.graph()
        unit = unit_of(graph, graph.ops[-1])
        codes = np.random.default_rng(3).integers(-128, 128, (2, 500, 2)).astype(np.int8)
        assert wrongly_proven(Trial.of(unit, dict(zip(unit.inputs, codes, strict=True)))) == []


def test_squares_are_not_negative_but_what_is_squared_is() -> None:
    draft = Draft()
    draft.input("a", (2,), S8)
    other = draft.operand("b", (2,), S8)
    factors = ((1 << 29, 50), (1 << 29, 50), (1, 0))  # halves, exactly
    draft.op(
        SquaredDifference, "y", "a", other, factors=factors, input_left_shift=20,
        double_rounding=DoubleRounding.ASYMMETRIC,
    )  # fmt: skip
    graph = draft.graph()
    unit = unit_of(graph, graph.ops[-1])
    codes = np.random.default_rng(3).integers(-128, 128, (2, 500, 2)).astype(np.int8)
    trial = Trial.of(unit, dict(zip(unit.inputs, codes, strict=True)))
    variant = found(trial, "double_rounding=symmetric")
    assert (variant.codes(trial) != trial.truth).any()
    assert wrongly_proven(trial) == []


def test_squares_of_operands_that_are_rounded_once_differ_nowhere() -> None:
    wide = IntType(bits=16)  # too many pairs to enumerate
    draft = Draft()
    draft.input("a", (2,), wide)
    other = draft.operand("b", (2,), wide)
    factors = ((1 << 30, 31), (1 << 30, 31), (3 << 29, 34))
    draft.op(
        SquaredDifference, "y", "a", other, factors=factors, input_left_shift=0,
        double_rounding=DoubleRounding.SYMMETRIC,
    )  # fmt: skip
    graph = draft.graph()
    unit = unit_of(graph, graph.ops[-1])
    codes = np.random.default_rng(3).integers(-32768, 32768, (2, 500, 2)).astype(np.int16)
    trial = Trial.of(unit, dict(zip(unit.inputs, codes, strict=True)))
    assert proven_equal(trial, found(trial, "double_rounding=asymmetric")) is not None
    assert wrongly_proven(trial) == []


def test_a_sum_onto_a_residual_has_one_left_shift_and_one_zero_point_stage() -> None:
    trial = trial_of(MatMul, "onto a residual, per channel")
    families = {variant.family for variant in variants(trial.unit)}
    assert not families & {Family.LEFT_SHIFT, Family.ZERO_POINT_STAGE}
    assert {Family.ROUNDING, Family.OVERFLOW, Family.DOUBLE_ROUNDING} <= families


@pytest.mark.parametrize("zero_point", [0, -8])
def test_ties_of_reciprocals_are_possible_just_where_a_maximum_and_a_code_make_one(
    zero_point: int,
) -> None:
    seen = set()
    for numerator, shift in product((1, 7, 12, 29, 7 << 8, 2108, 1 << 12), (0, 1, 2, 3, 8, 11, 12)):
        draft = Draft()
        draft.input("a", (1,), IntType(bits=4), zero_point)
        draft.operand("m", (1,), IntType(bits=4, signed=False))
        draft.op(GroupQuantize, "y", "a", "m", group=1, numerator=numerator, shift=shift)
        unit = unit_of(draft.graph(), draft.ops[-1])
        products = [
            (code - zero_point) * (numerator // max(maximum, 1))
            for code, maximum in product(range(-8, 8), range(16))
        ]
        ties = [one for one in products if shift and one % (1 << shift) == 1 << (shift - 1)]
        wanted = any(tie < 0 for tie in ties), any(tie >= 0 for tie in ties)
        assert possible_ties(unit) == wanted, (numerator, shift)
        seen.add(wanted)
    assert len(seen) > 1


@pytest.mark.parametrize(("shift", "proven"), [(5, True), (4, False)])
def test_logarithms_above_the_highest_code_are_proven_absent(shift: int, *, proven: bool) -> None:
    """Scores of signed bytes are up to 255 apart: logarithms of up to 8 and of 16."""
    draft = Draft()
    draft.input("a", (1, 2), S8)
    draft.op(DeferredSoftmax, "y", "a", type=U4, multiplier=1, shift=shift)
    unit = unit_of(draft.graph(), draft.ops[-1])
    codes = np.array([[[127, code]] for code in range(-128, 128)], np.int8)
    trial = Trial.of(unit, {"a": codes})
    wrapped = found(trial, "logarithm=wrap")
    assert (proven_equal(trial, wrapped) is not None) is proven
    assert np.array_equal(wrapped.codes(trial), trial.truth) is proven
