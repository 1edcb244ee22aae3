# SPDX-License-Identifier: Apache-2.0
"""Proofs that a variant makes no difference: none is ever wrong, and some are found."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from one_op_graphs import CASES
from small_graphs import S8, S32, WRAP, Draft, accumulator
from trials import CHOSEN, one_layer, trial_of

from simulator.golden.coverage.equal import proven_equal
from simulator.golden.coverage.ties import possible_ties
from simulator.golden.variants.all_of import Trial, Variant, unit_of, variants
from simulator.graph.ops import MatMul, Op, Rescale
from simulator.numerics.integer_type import IntType

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
