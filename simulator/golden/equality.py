# SPDX-License-Identifier: Apache-2.0
"""Proofs that a variant of an op yields the same codes whatever its operands are.

Each proof is a short reason that a reader can check by hand; where none is found, nothing is said.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from math import prod
from typing import Any

import numpy as np

from simulator.golden.changes import with_tensor
from simulator.golden.ties import Ties, possible_ties, sums_interval
from simulator.golden.trial import Trial, finished, is_fixed_point, requantization_of
from simulator.golden.variant import Family, Variant
from simulator.golden.variants_of_stage import rule_of
from simulator.graph.bounds import bounds, intermediates
from simulator.graph.graph import IntGraph
from simulator.graph.op import accumulator_of
from simulator.graph.ops import (
    Add,
    AddShifted,
    GeluPolynomial,
    InterpolatedLookup,
    LayerNorm,
    Lookup,
    Mul,
    Rescale,
    SoftmaxIta,
    SquaredDifference,
)
from simulator.graph.ranges import Interval, holds
from simulator.numerics.accumulator import Accumulator
from simulator.numerics.integer_type import IntType, Overflow, limits
from simulator.numerics.rescaling import LeftShift, RescaleRule, ZeroPointStage
from simulator.numerics.rounding import (
    FIRST_STEP,
    ROUNDING_MODES,
    DoubleRounding,
    Rounding,
)
from simulator.ops.layernorm import channel_factors
from simulator.traces import trace

ELEMENTWISE = (
    Add, AddShifted, GeluPolynomial, InterpolatedLookup, Lookup, Mul, Rescale, SquaredDifference,
)  # fmt: skip
MOST_OPERANDS = 1 << 16  # combinations of codes that are enumerated
MOST_SUMS = 1 << 22  # sums times channels that are enumerated
# Modes that a whole number added before or after does not change.
UNMOVED = {Rounding.FLOOR, Rounding.HALF_UP, Rounding.HALF_DOWN}

Proof = Callable[[Trial, Variant], str | None]


def proven_equal(trial: Trial, variant: Variant) -> str | None:
    """Return why a variant's codes are the op's for all operands, or None."""
    for proof in _PROOFS:
        reason = proof(trial, variant)
        if reason is not None:
            return reason
    return None


def _interval(unit: IntGraph, name: str) -> Interval | None:
    """Return the bounds of an intermediate, None where the op has none of that name."""
    for found in intermediates(unit, unit.ops[0]):
        if found.name == name:
            return found.interval
    return None


def _shifts(trial: Trial) -> tuple[int, int]:
    return int(trial.shifts.min()), int(trial.shifts.max())


def _changed_rule(trial: Trial, variant: Variant) -> tuple[RescaleRule, RescaleRule] | None:
    """Return the rules of the op and of the variant, where both have one in fixed point."""
    if variant.unit is None or not is_fixed_point(trial.op):
        return None
    if not is_fixed_point(variant.unit.ops[0]):
        return None
    return rule_of(trial.op), rule_of(variant.unit.ops[0])


def _rounding(trial: Trial, variant: Variant) -> str | None:
    if variant.family is not Family.ROUNDING or "=" not in variant.name:
        return None
    rules = _changed_rule(trial, variant)
    if rules is None or isinstance(trial.op, AddShifted | SquaredDifference):
        return None
    if getattr(trial.op, "normalisation", "reciprocal") != "reciprocal":
        return None
    if _shifts(trial)[1] == 0:
        return "nothing is rounded: every shift is 0"
    if rules[0].double_rounding is not DoubleRounding.NONE:
        if _shifts(trial)[1] > FIRST_STEP:
            return None
    scaled = _interval(trial.unit, "scaled")
    never_negative = scaled is not None and scaled[0] >= 0
    first, second = (ROUNDING_MODES[rule.rounding] for rule in rules)
    if first.nearest != second.nearest:
        return None
    ties = possible_ties(trial.unit) if first.nearest else Ties(not never_negative, True)
    ties = Ties(ties.negative and not never_negative, ties.positive)
    signs = [sign for sign, possible in ((True, ties.negative), (False, ties.positive)) if possible]
    if all(
        first.up(sign, odd) == second.up(sign, odd) for sign, odd in product(signs, (False, True))
    ):
        if not signs:
            return "no input makes an exact tie: multipliers, shifts and bounds of sums exclude it"
        return "the modes differ only below zero, where no input makes a tie"
    return None


def _rounded_twice(trial: Trial, variant: Variant) -> str | None:
    if variant.family is not Family.DOUBLE_ROUNDING or not is_fixed_point(trial.op):
        return None
    low, high = _shifts(trial)
    rule = rule_of(trial.op)
    if isinstance(trial.op, AddShifted | SquaredDifference):
        high = max(high, trial.op.shift_a, trial.op.shift_b)
    if variant.name.endswith("each_term"):
        return "nothing is rounded: every shift is 0" if high == 0 else None
    if "one_bit" in variant.name:
        if high <= 1:
            return "no shift is longer than one bit"
    elif high <= FIRST_STEP:
        return f"no shift is longer than {FIRST_STEP} bits"
    once = rule.double_rounding is DoubleRounding.NONE
    if variant.unit is None and once and rule.rounding in {Rounding.FLOOR, Rounding.TOWARD_ZERO}:
        return f"{rule.rounding} twice is {rule.rounding} once"
    scaled = _interval(trial.unit, "scaled")
    if not once and scaled is not None and scaled[0] >= 0:
        rules = _changed_rule(trial, variant)
        if rules is not None and rules[1].double_rounding is not DoubleRounding.NONE:
            return "the two differ only below zero, and nothing is"
        if variant.name == "rounded_twice=bit_31":
            return "this is what the op does, and nothing is below zero"
    if variant.name == "rounded_twice=bit_31" and rule.double_rounding is DoubleRounding.ASYMMETRIC:
        return "this is what the op does"
    return None


def _overflow(trial: Trial, variant: Variant) -> str | None:
    if variant.family is Family.OVERFLOW and variant.unit is not None:
        op, other = (unit.ops[0] for unit in (trial.unit, variant.unit))
        rules: list[Any] = [requantization_of(one) or one for one in (op, other)]
        kind = trial.result.code_type
        first, second = (limits(kind, rule.overflow) for rule in rules)
        wraps = {Overflow.WRAP} & {rule.overflow for rule in rules}
        if first == second and not wraps:
            return f"{kind} has no code more below zero than above"
        inside = max(first[0], second[0]), min(first[1], second[1])
    elif variant.name == "result=one_bit_less":
        kind = trial.result.code_type
        inside = limits(IntType(bits=kind.bits - 1, signed=kind.signed), rule_of(trial.op).overflow)
    else:
        return None
    rounded = _interval(trial.unit, "rounded")
    if rounded is not None and inside[0] <= rounded[0] and rounded[1] <= inside[1]:
        return f"no input's result leaves {rounded[0]}..{rounded[1]}"
    return None


def _zero_point_stage(trial: Trial, variant: Variant) -> str | None:
    rules = _changed_rule(trial, variant)
    if variant.family is not Family.ZERO_POINT_STAGE or rules is None:
        return None
    if trial.result.zero_point == 0:
        return "the zero point is 0"
    if _shifts(trial)[1] == 0:
        return "nothing is rounded: every shift is 0"
    rule = rules[0]
    once = rule.double_rounding is DoubleRounding.NONE or _shifts(trial)[1] <= FIRST_STEP
    if once and rule.rounding in UNMOVED:
        return f"{rule.rounding} of a number and of one a whole number away drop the same fraction"
    if once and rule.rounding is Rounding.HALF_EVEN and trial.result.zero_point % 2 == 0:
        return "an even zero point leaves odd and even as they are"
    return None


def _left_shift(trial: Trial, variant: Variant) -> str | None:
    parameters = requantization_of(trial.op)
    if variant.family is not Family.LEFT_SHIFT or parameters is None or parameters.shift is None:
        return None
    shifts = trial.unit.constants[parameters.shift].astype(np.int64)
    if shifts.min() >= FIRST_STEP:
        return f"no shift is below {FIRST_STEP}: nothing is shifted left"
    sums = sums_interval(trial.unit)
    if sums is None:
        return None
    left = FIRST_STEP - int(shifts.min())
    if holds(IntType(bits=32), (sums[0] << left, sums[1] << left)):
        return "no input's sum leaves 32 bits when it is shifted left"
    return None


def _registers(trial: Trial, variant: Variant) -> str | None:
    scaled = _interval(trial.unit, "scaled") if is_fixed_point(trial.op) else None
    if scaled is None:
        return None
    if variant.family is Family.REGISTER and variant.name.startswith("scaled=s"):
        bits = int(variant.name.removeprefix("scaled=s"))
        if holds(IntType(bits=bits), scaled):
            return f"no input needs more than {bits} bits"
    if variant.name == "shift=logical":
        if scaled[0] >= 0 and _before(trial) >= 0:
            return "nothing that is shifted is below zero"
        overflow, bits = rule_of(trial.op).overflow, trial.result.code_type.bits
        if overflow is Overflow.WRAP and bits <= 64 - _shifts(trial)[1]:
            return "both shifts leave the same low bits, and the result keeps those"
        if _shifts(trial)[1] == 0:
            return "every shift is 0"
    return None


def _before(trial: Trial) -> int:
    """Return the zero point where it is rounded too, else 0."""
    before = rule_of(trial.op).zero_point_stage is ZeroPointStage.BEFORE_ROUND
    return trial.result.zero_point if before else 0


def _accumulator(trial: Trial, variant: Variant) -> str | None:
    accumulator = accumulator_of(trial.op)
    if accumulator is None:
        return None
    known = bounds(trial.unit, trial.op)
    assert known.accumulator is not None
    if variant.name == "accumulator=unsigned":
        return "no sum is below zero" if known.accumulator[0] >= 0 else None
    order = variant.name == "accumulator=descending"
    if variant.unit is not None:
        other = accumulator_of(variant.unit.ops[0])
        if other is None or other == accumulator:
            return None
        free = bounds(variant.unit, variant.unit.ops[0]).proven_free
        if known.proven_free and free:
            return "no input overflows either accumulator"
        order = _differ_in_order(accumulator, other)
    if order:
        if known.proven_free:
            return "no input overflows the accumulator: every order gives the same sum"
        if len(accumulator.levels) == 1 and accumulator.levels[0].overflow is Overflow.WRAP:
            return "a register that wraps gives the same low bits in every order"
    return None


def _differ_in_order(first: Accumulator, second: Accumulator) -> bool:
    return first.levels == second.levels and first.policy == second.policy


def _signs(trial: Trial, variant: Variant) -> str | None:
    """A constant without negative codes is the same with and without sign."""
    if variant.family is not Family.SIGN or "=" not in variant.name:
        return None
    name = getattr(trial.op, variant.name.split("=")[0], None)
    if not isinstance(name, str) or name not in trial.unit.constants:
        return None
    kind, codes = trial.unit.tensors[name].code_type, trial.unit.constants[name]
    if codes.min() >= 0 and codes.max() < 1 << (kind.bits - 1):
        return "no code of this constant has its highest bit set"
    return None


def _unmoved_rows(trial: Trial, variant: Variant) -> str | None:
    """A row that is moved as a whole has the same deviations from its mean."""
    if variant.family is not Family.ZERO_POINT or not isinstance(trial.op, LayerNorm):
        return None
    factors = channel_factors(trial.op, trial.unit)
    if "(a)" in variant.name and (factors == factors[0]).all():
        return "all codes of a row move alike, and deviations from their mean stay"
    return None


def _groups(trial: Trial, variant: Variant) -> str | None:
    if not isinstance(trial.op, SoftmaxIta) or variant.unit is None:
        return None
    other: Any = variant.unit.ops[0]
    length = trial.result.shape[-1]
    if other.group != trial.op.group and min(other.group, trial.op.group) >= length:
        return f"a row of {length} is one group either way"
    return None


def _enumerated_operands(trial: Trial, variant: Variant) -> str | None:
    """Compare on all combinations of operands, where they are few."""
    op, unit = trial.op, trial.unit
    if not isinstance(op, ELEMENTWISE):
        return None
    every = every_operand(unit)
    if every is None:
        return None
    if np.array_equal(variant.codes(every), every.truth):
        return f"equal for all {prod_of_codes(unit):,} combinations of codes (enumerated)"
    return None


def prod_of_codes(unit: IntGraph) -> int:
    """Return the number of combinations of codes that activations of one element can have."""
    return prod(1 << unit.tensors[name].code_type.bits for name in unit.inputs)


def every_operand(unit: IntGraph) -> Trial | None:
    """Return a trial on every combination of codes, None where there are too many."""
    if not unit.inputs or prod_of_codes(unit) > MOST_OPERANDS:
        return None
    size = max(unit.tensors[name].size for name in unit.inputs)
    if prod_of_codes(unit) * size > MOST_SUMS:
        return None
    ranges = [unit.tensors[name].code_type for name in unit.inputs]
    grids = np.meshgrid(
        *(np.arange(kind.low, kind.high + 1) for kind in ranges), indexing="ij", copy=False
    )
    operands = {}
    for name, grid in zip(unit.inputs, grids, strict=True):
        tensor = unit.tensors[name]
        column = grid.reshape(-1, *(1,) * len(tensor.shape))
        operands[name] = np.broadcast_to(column, (column.shape[0], *tensor.shape)).astype(
            tensor.type.dtype
        )
    return Trial.of(unit, operands)


def _enumerated_exponentials(trial: Trial, variant: Variant) -> str | None:
    """Compare the exponentials of all differences, where nothing else depends on what changed."""
    name = type(trial.op).__name__
    if name not in _BY_EXPONENTIALS or variant.unit is None or variant.family is Family.SIGN:
        return None
    if any(
        getattr(trial.op, field) != getattr(variant.unit.ops[0], field)
        for field in _BY_EXPONENTIALS[name]
    ):
        return None
    if any(
        variant.unit.constants[constant] is not trial.unit.constants[constant]
        for constant in trial.op.constants
        if constant != getattr(trial.op, "exp_table", None)
    ):
        return None
    both = [_exponentials(unit) for unit in (trial.unit, variant.unit)]
    if np.array_equal(*both):
        return "every exponential of a difference is the same (enumerated)"
    return None


# Softmaxes by their exponentials: the fields that are read beside them.
_BY_EXPONENTIALS: dict[str, tuple[str, ...]] = {
    "SoftmaxGemmlowp": (),
    "SoftmaxLut513": (),
    "SoftmaxIBert": (),
    "Shiftmax": ("output_bits",),
    "SoftmaxLog2": (),
}


def _exponentials(unit: IntGraph) -> Any:
    """Return the exponential of every difference of two codes."""
    (op,) = unit.ops
    source = unit.tensors[op.operands[0]]
    kind = source.code_type
    pairs = np.full((1 << kind.bits, 2), kind.high, np.int64)
    pairs[:, 1] = np.arange(kind.low, kind.high + 1)
    two = with_tensor(with_tensor(unit, source.name, shape=(2,)), op.name, shape=(2,))
    return trace(op, two, [pairs.astype(source.type.dtype)])["exponentials"]


def _enumerated_sums(trial: Trial, variant: Variant) -> str | None:
    """Compare the last step on all sums between the bounds, where they are few."""
    if variant.unit is None or requantization_of(trial.op) is None:
        return None
    if getattr(trial.op, "residual", None) is not None or not trial.same_sums(variant.unit):
        return None
    sums = sums_interval(trial.unit)
    channels = trial.result.shape[-1]
    if sums is None or (sums[1] - sums[0] + 1) * channels > MOST_SUMS:
        return None
    every = np.arange(sums[0], sums[1] + 1)[:, None] + np.zeros(channels, np.int64)
    both = [finished(unit, every, ()) for unit in (trial.unit, variant.unit)]
    if np.array_equal(*both):
        return f"equal for all sums from {sums[0]:,} to {sums[1]:,} (enumerated)"
    return None


def _same_numbers(trial: Trial, variant: Variant) -> str | None:
    """A change that changes no number: channels that are all alike, bits that are 0."""
    if variant.unit is None or variant.unit.ops != trial.unit.ops:
        return None
    if variant.unit.tensors == trial.unit.tensors and all(
        np.array_equal(codes, variant.unit.constants[name])
        for name, codes in trial.unit.constants.items()
    ):
        return "the numbers are the same"
    return None


_PROOFS: tuple[Proof, ...] = (
    _same_numbers,
    _rounding,
    _rounded_twice,
    _overflow,
    _zero_point_stage,
    _left_shift,
    _registers,
    _accumulator,
    _signs,
    _unmoved_rows,
    _groups,
    _enumerated_operands,
    _enumerated_exponentials,
    _enumerated_sums,
)
