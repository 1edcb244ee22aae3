# SPDX-License-Identifier: Apache-2.0
"""Proofs about the last step of an op, apart from its rounding: nothing is cut that differs."""

from __future__ import annotations

from typing import Any

import numpy as np

from simulator.golden.coverage.equal.known import (
    UNMOVED,
    interval,
    longest_shift,
    rounds_once,
    zero_point_before,
)
from simulator.golden.coverage.ties import sums_interval
from simulator.golden.variants.stage import rule_of
from simulator.golden.variants.trial import Trial, is_fixed_point, requantization_of
from simulator.golden.variants.variant import Family, Variant
from simulator.graph.ops import LayerNorm, LayerNormBisection, SoftmaxIta
from simulator.graph.ranges import Interval, holds
from simulator.numerics.integer_type import IntType, Overflow, limits
from simulator.numerics.rescaling import LeftShift
from simulator.numerics.rounding import FIRST_STEP, Rounding
from simulator.ops.layernorm import channel_factors


def same_numbers(trial: Trial, variant: Variant) -> str | None:
    """A change that changes no number: channels that are all alike, bits that are 0."""
    if variant.unit is None or variant.unit.ops != trial.unit.ops:
        return None
    if variant.unit.tensors == trial.unit.tensors and all(
        np.array_equal(codes, variant.unit.constants[name])
        for name, codes in trial.unit.constants.items()
    ):
        return "the numbers are the same"
    return None


def overflow(trial: Trial, variant: Variant) -> str | None:
    """Another overflow rule: no result leaves what both let through."""
    if variant.family is not Family.OVERFLOW or variant.unit is None:
        return None
    holders: list[Any] = [requantization_of(op) or op for op in (trial.op, variant.unit.ops[0])]
    rules = [holder.overflow for holder in holders]
    kind = trial.result.code_type
    first, second = (limits(kind, rule) for rule in rules)
    if Overflow.WRAP not in rules:
        if first == second:
            return f"{kind} has no code more below zero than above"
        rounded = interval(trial.unit, "rounded")
        if rounded is not None and rounded[0] >= max(first[0], second[0]):
            return f"no input's result is below {max(first[0], second[0])}"
    return _inside(trial, (max(first[0], second[0]), min(first[1], second[1])))


def one_bit_less(trial: Trial, variant: Variant) -> str | None:
    """A narrower result: no result needs the last bit."""
    if variant.name != "result=one_bit_less":
        return None
    kind = trial.result.code_type
    narrower = IntType(bits=kind.bits - 1, signed=kind.signed)
    holder: Any = requantization_of(trial.op) or trial.op
    return _inside(trial, limits(narrower, holder.overflow))


def _inside(trial: Trial, ends: Interval) -> str | None:
    rounded = interval(trial.unit, "rounded")
    if rounded is not None and ends[0] <= rounded[0] and rounded[1] <= ends[1]:
        return f"no input's result leaves {rounded[0]}..{rounded[1]}"
    return None


def left_shift(trial: Trial, variant: Variant) -> str | None:
    """A left shift in 32 bits: there is none, or nothing leaves them."""
    parameters = requantization_of(trial.op)
    if variant.family is not Family.LEFT_SHIFT or parameters is None or parameters.shift is None:
        return None
    least = int(trial.unit.constants[parameters.shift].min())
    if least >= FIRST_STEP:
        return f"no shift is below {FIRST_STEP}: nothing is shifted left"
    sums, left = sums_interval(trial.unit), FIRST_STEP - least
    if sums is not None and holds(IntType(bits=32), (sums[0] << left, sums[1] << left)):
        return "no input's sum leaves 32 bits when it is shifted left"
    return None


def register(trial: Trial, variant: Variant) -> str | None:
    """Fewer bits for what is shifted: no input needs more."""
    scaled = interval(trial.unit, "scaled") if is_fixed_point(trial.op) else None
    if scaled is None or not variant.name.startswith("scaled=s"):
        return None
    bits = int(variant.name.removeprefix("scaled=s"))
    return f"no input needs more than {bits} bits" if holds(IntType(bits=bits), scaled) else None


def logical_shift(trial: Trial, variant: Variant) -> str | None:
    """A right shift without sign: nothing is below zero, or the result keeps lower bits."""
    scaled = interval(trial.unit, "scaled") if is_fixed_point(trial.op) else None
    if scaled is None or variant.name != "shift=logical":
        return None
    if scaled[0] >= 0 and zero_point_before(trial) >= 0:
        return "nothing that is shifted is below zero"
    rule, longest = rule_of(trial.op), longest_shift(trial)
    if rule.overflow is Overflow.WRAP and trial.result.code_type.bits <= 64 - longest:
        return "both shifts leave the same low bits, and the result keeps those"
    return "every shift is 0" if longest == 0 else None


def exact_products(trial: Trial, variant: Variant) -> str | None:
    """A factor in float: float64 holds products below 2^53 and their halves, float32 2^24."""
    parameters = requantization_of(trial.op)
    if not variant.name.startswith("arithmetic=float") or not is_fixed_point(trial.op):
        return None
    assert parameters is not None
    assert parameters.shift is not None
    wraps = parameters.left_shift is LeftShift.WRAP
    if wraps and int(trial.unit.constants[parameters.shift].min()) < FIRST_STEP:
        return None
    scaled, bits = interval(trial.unit, "scaled"), 53 if variant.name.endswith("64") else 24
    factors = trial.unit.constants[parameters.multiplier].astype(np.int64)
    if scaled is None or not rounds_once(trial) or int(factors.max()) >= 1 << bits:
        return None
    # The zero point may be added to the product before it is rounded.
    room = abs(zero_point_before(trial)) << longest_shift(trial)
    if max(-scaled[0], scaled[1]) + room < 1 << bits:
        return f"no product needs more than {bits} bits: {variant.name[11:]} holds all of them"
    return None


def constant_sign(trial: Trial, variant: Variant) -> str | None:
    """A constant read with or without sign: it has no code with its highest bit set."""
    if variant.family is not Family.SIGN or "=" not in variant.name:
        return None
    name = getattr(trial.op, variant.name.split("=")[0], None)
    if not isinstance(name, str) or name not in trial.unit.constants:
        return None
    kind, codes = trial.unit.tensors[name].code_type, trial.unit.constants[name]
    if codes.min() >= 0 and codes.max() < 1 << (kind.bits - 1):
        return "no code of this constant has its highest bit set"
    if isinstance(trial.op, LayerNormBisection) and variant.name == "bias=unsigned":
        # A multiple of 2^32 is added to what is shifted.
        kept, rule = trial.op.shift + trial.result.code_type.bits, rule_of(trial.op)
        wraps = rule.overflow is Overflow.WRAP and kept <= kind.bits
        if wraps and rule.rounding in {*UNMOVED, Rounding.HALF_EVEN}:
            return f"the result keeps bits below bit {kept}, which have no part in it"
    return None


def unmoved_rows(trial: Trial, variant: Variant) -> str | None:
    """A row that is moved as a whole has the same deviations from its mean."""
    if variant.family is not Family.ZERO_POINT or not isinstance(trial.op, LayerNorm):
        return None
    factors = channel_factors(trial.op, trial.unit)
    if "(a)" in variant.name and (factors == factors[0]).all():
        return "all codes of a row move alike, and deviations from their mean stay"
    return None


def groups(trial: Trial, variant: Variant) -> str | None:
    """Groups of a streaming softmax that are longer than its rows."""
    if not isinstance(trial.op, SoftmaxIta) or variant.unit is None:
        return None
    other: Any = variant.unit.ops[0]
    length = trial.result.shape[-1]
    if other.group != trial.op.group and min(other.group, trial.op.group) >= length:
        return f"a row of {length} is one group either way"
    return None


PROOFS = (
    same_numbers,
    overflow,
    one_bit_less,
    left_shift,
    register,
    logical_shift,
    exact_products,
    constant_sign,
    unmoved_rows,
    groups,
)
