# SPDX-License-Identifier: Apache-2.0
"""What proofs ask of an op: bounds, shifts, the rules of its last step."""

from __future__ import annotations

from simulator.golden.variants.stage import rule_of
from simulator.golden.variants.trial import Trial, is_fixed_point
from simulator.golden.variants.variant import Variant
from simulator.graph.bounds import intermediates
from simulator.graph.graph import IntGraph
from simulator.graph.ops import AddShifted, SoftmaxFloatTable, SquaredDifference
from simulator.graph.ranges import Interval
from simulator.numerics.rescaling import RescaleRule, ZeroPointStage
from simulator.numerics.rounding import FIRST_STEP, DoubleRounding, Rounding
from simulator.numerics.softmax_normalisation import Normalisation

# Modes that a whole number added before or after does not change.
UNMOVED = frozenset({Rounding.FLOOR, Rounding.HALF_UP, Rounding.HALF_DOWN})


def interval(unit: IntGraph, name: str) -> Interval | None:
    """Return the bounds of an intermediate, None where the op has none of that name."""
    for found in intermediates(unit, unit.ops[0]):
        if found.name == name:
            return found.interval
    return None


def longest_shift(trial: Trial) -> int:
    """Return the longest right shift of an op, those of its operands included."""
    longest = int(trial.shifts.max())
    if isinstance(trial.op, AddShifted | SquaredDifference):
        longest = max(longest, trial.op.shift_a, trial.op.shift_b)
    return longest


def changed_rule(trial: Trial, variant: Variant) -> RescaleRule | None:
    """Return the variant's rule of the last step, where op and variant end in a right shift."""
    if variant.unit is None or not is_fixed_point(trial.op):
        return None
    (op,) = variant.unit.ops
    return rule_of(op) if is_fixed_point(op) else None


def rounds_once(trial: Trial) -> bool:
    """Tell whether no channel is rounded twice."""
    once = rule_of(trial.op).double_rounding is DoubleRounding.NONE
    return once or longest_shift(trial) <= FIRST_STEP


def never_negative(trial: Trial) -> bool:
    """Tell whether what is rounded is never below zero."""
    if isinstance(trial.op, SoftmaxFloatTable) or divides(trial):
        return True
    scaled = interval(trial.unit, "scaled")
    return scaled is not None and scaled[0] >= 0


def divides(trial: Trial) -> bool:
    """Tell whether an op divides each element, where others shift to the right."""
    return getattr(trial.op, "normalisation", None) is Normalisation.DIVISION


def zero_point_before(trial: Trial) -> int:
    """Return the zero point where it is rounded too, else 0."""
    before = rule_of(trial.op).zero_point_stage is ZeroPointStage.BEFORE_ROUND
    return trial.result.zero_point if before else 0
