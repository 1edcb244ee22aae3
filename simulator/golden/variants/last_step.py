# SPDX-License-Identifier: Apache-2.0
"""Variants of the step that ends an op: rounding, overflow, shift, multiplier, zero point."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.golden.variants.changes import with_constant, with_op, with_rule, with_tensor
from simulator.golden.variants.stage import before_rounding, rule_of, shifted, stored_codes
from simulator.golden.variants.trial import Trial, is_fixed_point, requantization_of, residual_terms
from simulator.golden.variants.variant import Family, Variant, unit_variant
from simulator.graph.graph import IntGraph
from simulator.graph.op import Op, Requantization
from simulator.graph.ops import Add, AnyMatMul, NormalizedMatMul, ScaledMatMul
from simulator.numerics.fixed_point import multiplier_and_shift
from simulator.numerics.float_requantization import FLOAT_DTYPES
from simulator.numerics.integer_type import IntArray, Overflow
from simulator.numerics.rescaling import Arithmetic, LeftShift, RescaleRule, ZeroPointStage
from simulator.numerics.rounding import FIRST_STEP, DoubleRounding, Rounding, offsets
from simulator.numerics.softmax_normalisation import Normalisation
from simulator.traces.steps import rounds_up

REGISTERS = (32, 48)  # widths that a product before the shift is often given

_WORDS: Mapping[str, str] = MappingProxyType(
    {
        "floor": "rounds toward minus infinity (an arithmetic shift alone)",
        "toward_zero": "rounds toward zero (truncates)",
        "half_up": "rounds ties toward plus infinity",
        "half_down": "rounds ties toward minus infinity",
        "half_away": "rounds ties away from zero",
        "half_even": "rounds ties to the even code",
        "saturate": "saturates at both ends of the type",
        "saturate_symmetric": "saturates, and never yields the lowest code",
        "wrap": "keeps the low bits",
        "before_round": "adds the zero point before it rounds",
        "after_round": "adds the zero point after it rounded",
        "widen": "has a product as wide as it needs for factors of 1 and more",
        "none": "rounds once",
        "symmetric": "rounds at bit 31 first, then at the shift with ties away from zero",
        "asymmetric": "rounds at bit 31 first, then at the shift with ties up",
        "float32": "multiplies by a float32 factor",
        "float64": "multiplies by a float64 factor",
        "fixed_point": "multiplies by a 31-bit integer and shifts",
        "reciprocal": "multiplies by one reciprocal per row",
        "division": "divides each element",
    }
)
_CHOICES: Mapping[str, tuple[Family, tuple[Any, ...]]] = MappingProxyType(
    {
        "rounding": (Family.ROUNDING, tuple(Rounding)),
        "overflow": (Family.OVERFLOW, tuple(Overflow)),
        "zero_point_stage": (Family.ZERO_POINT_STAGE, tuple(ZeroPointStage)),
        "double_rounding": (Family.DOUBLE_ROUNDING, tuple(DoubleRounding)),
        "left_shift": (Family.LEFT_SHIFT, tuple(LeftShift)),
        "normalisation": (Family.ARITHMETIC, tuple(Normalisation)),
    }
)
# A sum onto a residual has wide left shifts and its zero point after rounding, and so has a
# normalized one: no op has others.
_NOT_ONTO_A_RESIDUAL = frozenset({"zero_point_stage", "left_shift"})
# A scaled sum may have more than 32 bits: no op wraps it there.
_NOT_OF_SCALED_SUMS = frozenset({"left_shift"})


def variants(unit: IntGraph) -> Iterator[Variant]:
    """Yield the variants of an op's last step."""
    (op,) = unit.ops
    yield from _choices(unit)
    if requantization_of(op) is not None and not isinstance(op, NormalizedMatMul):
        yield from _arithmetic(unit)
    if is_fixed_point(op):
        yield from _twice(unit)
        yield from _factors(unit)
        yield from _registers(unit)
    yield from _result(unit)


def _choices(unit: IntGraph) -> Iterator[Variant]:
    """Every other value of every choice of the last step."""
    (op,) = unit.ops
    holder: Any = requantization_of(op) or op
    for name, (family, values) in _CHOICES.items():
        if name in _NOT_ONTO_A_RESIDUAL and (
            getattr(op, "residual", None) is not None or isinstance(op, NormalizedMatMul)
        ):
            continue
        if name in _NOT_OF_SCALED_SUMS and isinstance(op, ScaledMatMul):
            continue
        chosen = getattr(holder, name, None)
        for value in values:
            if chosen is None or value == chosen:
                continue
            changes = {name: value}
            if name == "rounding" and hasattr(holder, "double_rounding"):
                changes["double_rounding"] = DoubleRounding.NONE
            if not _is_possible(holder, changes):
                continue
            word = _WORDS.get(str(value), str(value))
            changed = with_rule(unit, **changes)
            if value is ZeroPointStage.BEFORE_ROUND and is_fixed_point(op):
                yield Variant(
                    name=f"{name}={value}",
                    family=family,
                    sentence=word,
                    codes=_zero_point_first,
                    unit=changed,
                )
                continue
            if value is LeftShift.WRAP:
                word = "shifts sums left in 32 bits, which wrap, for factors of 1 and more"
            yield unit_variant(f"{name}={value}", family, word, changed)


def _zero_point_first(trial: Trial) -> IntArray:
    """Codes of a zero point that is part of what is rounded, without its product with 2^shift.

    It is a whole number of codes: sign and parity of what is rounded change, the fraction does not.
    """
    rule, zero_point, places = rule_of(trial.op), trial.result.zero_point, trial.shifts
    values, rounding = trial.scaled, np.full(places.shape, str(rule.rounding))
    if rule.double_rounding is not DoubleRounding.NONE:
        twice = places > FIRST_STEP
        once = replace(rule, double_rounding=DoubleRounding.NONE)
        values = np.where(twice, shifted(values, np.minimum(places, FIRST_STEP), once), values)
        symmetric = rule.double_rounding is DoubleRounding.SYMMETRIC
        second = Rounding.HALF_AWAY if symmetric else Rounding.HALF_UP
        rounding = np.where(twice, str(second), rounding)
        places = np.where(twice, places - FIRST_STEP, places)
    below = values >> places
    found = np.zeros_like(below)
    for mode in np.unique(rounding):
        up = rounds_up(
            values - (below << places),
            np.int64(1) << places,
            below + zero_point < 0,
            (below + zero_point) & 1,
            Rounding(str(mode)),
        )
        found = np.where(rounding == mode, below + up, found)
    return stored_codes(trial, found)


def _is_possible(holder: Any, changes: Mapping[str, Any]) -> bool:
    """Tell whether choices go together."""
    if isinstance(holder, RescaleRule):
        return not replace(holder, **changes).problems()
    double = changes.get("double_rounding", getattr(holder, "double_rounding", None))
    rounding = changes.get("rounding", getattr(holder, "rounding", None))
    return double in (None, DoubleRounding.NONE) or rounding is Rounding.HALF_UP


def _arithmetic(unit: IntGraph) -> Iterator[Variant]:
    """The factor in another arithmetic, of the same value as nearly as that can hold it."""
    (op,) = unit.ops
    (parameters,) = op.requantizations
    if getattr(op, "residual", None) is not None or isinstance(op, ScaledMatMul):
        return
    for arithmetic in Arithmetic:
        if arithmetic is parameters.arithmetic:
            continue
        rule: dict[str, Any] = {
            "arithmetic": arithmetic,
            "double_rounding": DoubleRounding.NONE,
            "left_shift": LeftShift.WIDEN,
        }
        if replace(parameters, **rule).problems():
            continue
        yield unit_variant(
            f"arithmetic={arithmetic}",
            Family.ARITHMETIC,
            _WORDS[arithmetic],
            _in_arithmetic(unit, parameters, rule),
        )


def _in_arithmetic(unit: IntGraph, parameters: Requantization, rule: Mapping[str, Any]) -> IntGraph:
    factors = unit.constants[parameters.multiplier].astype(np.float64)
    if parameters.shift is not None:
        factors = np.ldexp(factors, -unit.constants[parameters.shift].astype(np.int64))
    arithmetic = rule["arithmetic"]
    if arithmetic is not Arithmetic.FIXED_POINT:
        changed = with_rule(unit, **rule, shift=None)
        return with_constant(
            changed, parameters.multiplier, factors.astype(str(FLOAT_DTYPES[arithmetic]))
        )
    pairs = np.array([multiplier_and_shift(float(factor), 31) for factor in factors.ravel()])
    shift = f"{parameters.multiplier}.shift"
    changed = with_rule(unit, **rule, shift=shift)
    changed = with_constant(changed, parameters.multiplier, pairs[:, 0])
    declared = replace(unit.tensors[parameters.multiplier], name=shift)
    changed = replace(changed, tensors={**changed.tensors, shift: declared})
    return with_constant(changed, shift, pairs[:, 1])


def _twice(unit: IntGraph) -> Iterator[Variant]:
    """Roundings that are done twice, where the op rounds once."""
    (op,) = unit.ops
    if getattr(op, "normalisation", None) is Normalisation.DIVISION:
        return
    for first in ("one bit", "bit 31"):
        yield Variant(
            name=f"rounded_twice={first.replace(' ', '_')}",
            family=Family.DOUBLE_ROUNDING,
            sentence="rounds at the last bit but one, then at the last"
            if first == "one bit"
            else "rounds at bit 31 first, then at the shift, by the same mode",
            codes=_TWICE[first],
        )
    if isinstance(op, Add) or getattr(op, "residual", None) is not None:
        yield Variant(
            name="rounded_twice=each_term",
            family=Family.DOUBLE_ROUNDING,
            sentence="rounds each of the two terms, then adds them",
            codes=_each_term,
        )


def _in_two_steps(trial: Trial, first: NDArray[np.int64]) -> IntArray:
    """Round by ``first`` places and then by the others, in the op's own mode."""
    rule = replace(rule_of(trial.op), double_rounding=DoubleRounding.NONE)
    values, zero_point = before_rounding(trial)
    return stored_codes(
        trial, shifted(shifted(values, first, rule), trial.shifts - first, rule), zero_point
    )


def _one_bit_first(trial: Trial) -> IntArray:
    return _in_two_steps(trial, np.maximum(trial.shifts - 1, 0))


def _bit_31_first(trial: Trial) -> IntArray:
    return _in_two_steps(trial, np.minimum(trial.shifts, FIRST_STEP))


_TWICE: Mapping[str, Callable[[Trial], IntArray]] = MappingProxyType(
    {"one bit": _one_bit_first, "bit 31": _bit_31_first}
)


def _each_term(trial: Trial) -> IntArray:
    rule = rule_of(trial.op)
    if isinstance(trial.op, AnyMatMul):
        second = residual_terms(trial.unit, trial.operands)
    else:
        assert isinstance(trial.op, Add)
        centred = trial.operands[1].astype(np.int64) - trial.unit.tensors[trial.op.b].zero_point
        second = centred * trial.unit.constants[trial.op.multiplier_b].astype(np.int64)
        second = np.broadcast_to(second, trial.scaled.shape)
    first = shifted(trial.scaled - second, trial.shifts, rule)
    return stored_codes(trial, first + shifted(second, trial.shifts, rule))


def _factors(unit: IntGraph) -> Iterator[Variant]:
    """Multiplier and shift ± 1, of another channel, in fewer bits."""
    (op,) = unit.ops
    parameters = requantization_of(op)
    if parameters is None:
        shift = getattr(op, "shift", 0)
        for step in (1, -1):
            if 0 <= shift + step <= 62 and not _divides(op):
                sentence = f"shifts {abs(step)} place {'further' if step > 0 else 'less'}"
                yield unit_variant(
                    f"shift{step:+d}", Family.SHIFT, sentence, with_op(unit, shift=shift + step)
                )
        return
    assert parameters.shift is not None
    shifts = unit.constants[parameters.shift].astype(np.int64)
    for step in (1, -1):
        moved = np.clip(shifts + step, 0, 62)
        sentence = f"shifts {abs(step)} place {'further' if step > 0 else 'less'}"
        changed = _with_shifts(unit, moved - shifts)
        if (moved != shifts).any():
            yield unit_variant(f"shift{step:+d}", Family.SHIFT, sentence, changed)
    multipliers = unit.constants[parameters.multiplier].astype(np.int64)
    if multipliers.max() >= 1 << 16:
        yield unit_variant(
            "multiplier=16_bits",
            Family.MULTIPLIER,
            "keeps the upper 16 bits of a multiplier of 31",
            with_constant(unit, parameters.multiplier, (multipliers >> 15) << 15),
        )


def _divides(op: Op) -> bool:
    return getattr(op, "normalisation", None) is Normalisation.DIVISION


def _with_shifts(unit: IntGraph, steps: NDArray[np.int64]) -> IntGraph:
    """Return the unit with sums and residual shifted by other places than before."""
    (op,) = unit.ops
    (parameters,) = op.requantizations
    assert parameters.shift is not None
    changed = with_constant(
        unit, parameters.shift, unit.constants[parameters.shift].astype(np.int64) + steps
    )
    if getattr(op, "residual", None) is None:
        return changed
    # The term of the residual stays what it was before the shift.
    step = int(steps.ravel()[0])
    fraction_bits = getattr(op, "residual_fraction_bits", 0) + step
    return with_op(changed, residual_fraction_bits=fraction_bits)


def _registers(unit: IntGraph) -> Iterator[Variant]:
    """What enters the shift in fewer bits, or shifted to the right without its sign."""
    if _divides(unit.ops[0]):
        return
    yield Variant(
        name="shift=logical",
        family=Family.SIGN,
        sentence="shifts a negative number to the right without its sign (a logical shift)",
        codes=_logical,
    )
    for bits in REGISTERS:
        yield Variant(
            name=f"scaled=s{bits}",
            family=Family.REGISTER,
            sentence=f"keeps {bits} bits of what it shifts",
            codes=partial(_narrowed, bits=bits),
        )


def _logical(trial: Trial) -> IntArray:
    """Codes of a shift of 64 bits that fills with zeros."""
    values, zero_point = before_rounding(trial)
    rule = rule_of(trial.op)
    bias, if_negative, if_odd = offsets(trial.shifts, rule.rounding, rule.double_rounding)
    rest = bias + np.where(values < 0, if_negative, 0) + ((values >> trial.shifts) & 1) * if_odd
    unsigned = (values + rest).view(np.uint64) >> trial.shifts.astype(np.uint64)
    return stored_codes(trial, unsigned.astype(np.int64), zero_point)


def _narrowed(trial: Trial, bits: int) -> IntArray:
    values, zero_point = before_rounding(trial)
    places = np.int64(64 - bits)
    kept = (values << places) >> places
    return stored_codes(trial, shifted(kept, trial.shifts, rule_of(trial.op)), zero_point)


def _result(unit: IntGraph) -> Iterator[Variant]:
    """Zero point and width of the result."""
    (op,) = unit.ops
    result = unit.result(op)
    if result.is_float or not hasattr(requantization_of(op) or op, "overflow"):
        return
    if type(op).__name__ != "InterpolatedLookup":
        for name, sentence, value in zero_point_changes("result", result.zero_point):
            yield unit_variant(
                name, Family.ZERO_POINT, sentence, with_tensor(unit, op.name, zero_point=value)
            )
    if result.code_type.bits > 2:
        narrower = replace(result.code_type, bits=result.code_type.bits - 1)
        yield Variant(
            name="result=one_bit_less",
            family=Family.REGISTER,
            sentence=f"fits results to {narrower}",
            codes=lambda trial: trial.codes_of(
                with_tensor(trial.unit, trial.op.name, type=narrower)
            ).astype(trial.result.type.dtype),
        )


def zero_point_changes(whose: str, zero_point: int) -> Iterator[tuple[str, str, int]]:
    """Yield name, sentence and value of the zero points that a tensor could be given."""
    yield f"zero_point({whose})+1", f"zero point of {whose} is one too large", zero_point + 1
    yield f"zero_point({whose})-1", f"zero point of {whose} is one too small", zero_point - 1
    if zero_point:
        yield f"zero_point({whose})=0", f"zero point of {whose} is missing", 0
        yield f"zero_point({whose})=doubled", f"zero point of {whose} counts twice", 2 * zero_point
        yield (
            f"zero_point({whose})=negated",
            f"zero point of {whose} has the wrong sign",
            -zero_point,
        )
