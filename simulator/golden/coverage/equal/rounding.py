# SPDX-License-Identifier: Apache-2.0
"""Proofs that two ways of rounding agree."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

from simulator.golden.coverage.equal.known import (
    UNMOVED,
    changed_rule,
    divides,
    interval,
    longest_shift,
    never_negative,
    rounds_once,
    zero_point_before,
)
from simulator.golden.coverage.ties import Ties, possible_ties
from simulator.golden.variants.stage import rule_of
from simulator.golden.variants.trial import Trial, is_fixed_point, requantization_of
from simulator.golden.variants.variant import Family, Variant
from simulator.graph.ops import AddShifted, Op, SoftmaxFloatTable, SquaredDifference
from simulator.graph.ranges import Interval
from simulator.numerics.rescaling import RescaleRule
from simulator.numerics.rounding import (
    FIRST_STEP,
    ROUNDING_MODES,
    DoubleRounding,
    Rounding,
    shift_right,
)

MOST_STEPS = 64  # multiples of 2^30 at which two roundings are compared with one


def mode(trial: Trial, variant: Variant) -> str | None:
    """Another rounding mode: the two differ only at ties, or below zero, that cannot be."""
    if variant.family is not Family.ROUNDING or variant.unit is None:
        return None
    if isinstance(trial.op, AddShifted | SquaredDifference):
        return None
    by_itself = divides(trial) or isinstance(trial.op, SoftmaxFloatTable)
    if not by_itself and longest_shift(trial) == 0:
        return "nothing is rounded: every shift is 0"
    if not by_itself and not rounds_once(trial):
        return None
    holders: list[Any] = [requantization_of(op) or op for op in (trial.op, variant.unit.ops[0])]
    return _modes_agree(trial, [holder.rounding for holder in holders], by_itself=by_itself)


def _modes_agree(trial: Trial, names: list[Rounding], *, by_itself: bool) -> str | None:
    first, second = (ROUNDING_MODES[name] for name in names)
    if first.nearest != second.nearest:
        return None
    ties = Ties(negative=True, positive=True)
    if first.nearest and not by_itself:
        ties = possible_ties(trial.unit)
    negative = ties.negative and not never_negative(trial)
    signs = [sign for sign, possible in ((True, negative), (False, ties.positive)) if possible]
    if not signs:
        return "no input makes an exact tie: multipliers, shifts and bounds of sums exclude it"
    if all(
        first.up(sign, odd) == second.up(sign, odd) for sign, odd in product(signs, (False, True))
    ):
        return "the modes differ only below zero, where no input makes a tie"
    return None


def twice(trial: Trial, variant: Variant) -> str | None:
    """Two roundings where there is one, or the other way round, or other ones."""
    if variant.family is not Family.DOUBLE_ROUNDING or not is_fixed_point(trial.op):
        return None
    return next(_reasons_of_two(trial, variant), None)


def _reasons_of_two(trial: Trial, variant: Variant) -> Iterator[str]:
    longest, rule = longest_shift(trial), rule_of(trial.op)
    scaled = interval(trial.unit, "scaled")
    once = rule.double_rounding is DoubleRounding.NONE
    if variant.name.endswith("each_term"):
        if longest == 0:
            yield "nothing is rounded: every shift is 0"
        return
    one_bit = "one_bit" in variant.name
    if one_bit and longest <= 1:
        yield "no shift is longer than one bit"
    elif not one_bit and longest <= FIRST_STEP:
        yield f"no shift is longer than {FIRST_STEP} bits"
    if variant.unit is None and once and rule.rounding in {Rounding.FLOOR, Rounding.TOWARD_ZERO}:
        yield f"{rule.rounding} twice is {rule.rounding} once"
    # Another rule changes how these ops round their operands, too.
    rounds_operands = isinstance(trial.op, AddShifted | SquaredDifference)
    if once and not one_bit and scaled is not None and not rounds_operands:
        yield from _few_first_steps(trial, variant, scaled)
    if not once and variant.name == "rounded_twice=bit_31":
        asymmetric = rule.double_rounding is DoubleRounding.ASYMMETRIC
        if asymmetric or never_negative(trial):
            yield "this is what the op does"
    changed = changed_rule(trial, variant)
    both_twice = changed is not None and changed.double_rounding is not DoubleRounding.NONE
    if not once and both_twice and never_negative(trial) and _operands_once(trial.op):
        yield "the two differ only below zero, and nothing is"


def _operands_once(op: Op) -> bool:
    """Tell whether no operand is rounded twice: few ops round any, and by these shifts once."""
    if not isinstance(op, AddShifted | SquaredDifference):
        return True
    return max(op.shift_a, op.shift_b) <= FIRST_STEP


def _few_first_steps(trial: Trial, variant: Variant, scaled: Interval) -> Iterator[str]:
    """Compare one rounding with two at all numbers where either can step.

    Both are constant between neighbouring multiples of 2^30.
    """
    half = 1 << (FIRST_STEP - 1)
    low, high = scaled
    shifts = {int(shift) for shift in trial.shifts if shift > FIRST_STEP}
    if not shifts or (high - low) // half > MOST_STEPS or zero_point_before(trial):
        return
    points = {
        min(max(multiple * half + step, low), high)
        for multiple in range(low // half, high // half + 2)
        for step in (-1, 0, 1)
    }
    rule, changed = rule_of(trial.op), changed_rule(trial, variant)
    if all(
        shift_right(point, shift, rule.rounding) == _two_steps(point, shift, rule, changed)
        for point, shift in product(points, shifts)
    ):
        yield f"equal from {low:,} to {high:,}, wherever either rounding can step (enumerated)"


def _two_steps(value: int, shift: int, rule: RescaleRule, changed: RescaleRule | None) -> int:
    if changed is not None:
        return shift_right(value, shift, changed.rounding, changed.double_rounding)
    first = shift_right(value, FIRST_STEP, rule.rounding)
    return shift_right(first, shift - FIRST_STEP, rule.rounding)


def zero_point_stage(trial: Trial, variant: Variant) -> str | None:
    """The zero point before rounding or after: it is a whole number of codes."""
    if variant.family is not Family.ZERO_POINT_STAGE:
        return None
    if trial.result.zero_point == 0:
        return "the zero point is 0"
    if changed_rule(trial, variant) is None:
        return None
    return next(_reasons_of_stage(trial), None)


def _reasons_of_stage(trial: Trial) -> Iterator[str]:
    rounding, once = rule_of(trial.op).rounding, rounds_once(trial)
    if longest_shift(trial) == 0:
        yield "nothing is rounded: every shift is 0"
    both_up = rule_of(trial.op).double_rounding is DoubleRounding.ASYMMETRIC
    if (once or both_up) and rounding in UNMOVED:
        yield f"{rounding} of a number and of one a whole number away drop the same fraction"
    if once and rounding is Rounding.HALF_EVEN and trial.result.zero_point % 2 == 0:
        yield "an even zero point leaves odd and even as they are"


PROOFS = (mode, twice, zero_point_stage)
