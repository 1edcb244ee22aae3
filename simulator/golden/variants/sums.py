# SPDX-License-Identifier: Apache-2.0
"""Variants of accumulators: widths, overflow rules, order; of the bias and where it enters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from simulator.golden.variants.changes import with_constant, with_op
from simulator.golden.variants.trial import Trial, finished, with_factors
from simulator.golden.variants.variant import Family, Variant, unit_variant
from simulator.graph.graph import IntGraph
from simulator.graph.op import accumulator_of
from simulator.graph.ops import AnyMatMul, MatMul, Mean, NormalizedMatMul, ScaledMatMul
from simulator.numerics.accumulator import (
    Accumulator,
    AccumulatorLevel,
    BiasStage,
    OverflowPolicy,
)
from simulator.numerics.float_type import Array
from simulator.numerics.integer_type import Overflow
from simulator.traces import trace

WIDTHS = (16, 18, 20, 24, 26, 32, 40, 48)
OTHER_RULE = {Overflow.WRAP: Overflow.SATURATE, Overflow.SATURATE: Overflow.WRAP}


def variants(unit: IntGraph) -> Iterator[Variant]:
    """Yield the variants of an op's accumulator and bias; none of ops without sums."""
    (op,) = unit.ops
    accumulator = accumulator_of(op)
    if accumulator is None:
        return
    if isinstance(op, AnyMatMul):
        yield from _bias(unit, op)
    yield from _overflow(unit, accumulator)
    yield from _widths(unit, accumulator)
    yield from _levels(unit, accumulator)
    yield Variant(
        name="accumulator=descending",
        family=Family.ACCUMULATOR_ORDER,
        sentence="adds the last product first",
        codes=_descending,
    )
    if not isinstance(op, NormalizedMatMul) and not accumulator.levels[-1].bits > 48:
        yield Variant(
            name="accumulator=unsigned",
            family=Family.SIGN,
            sentence="extends the accumulator without its sign",
            codes=_zero_extended,
        )


def _bias(unit: IntGraph, op: AnyMatMul) -> Iterator[Variant]:
    if op.bias is None:
        return
    bias = unit.constants[op.bias].astype(np.int64)
    if bias.any():
        yield unit_variant("bias=0", Family.BIAS, "has no bias", with_op(unit, bias=None))
        yield unit_variant(
            "bias=doubled",
            Family.BIAS,
            "adds the bias twice",
            with_constant(unit, op.bias, 2 * bias),
        )


def _with(unit: IntGraph, accumulator: Accumulator, **changes: Any) -> IntGraph:
    return with_op(unit, accumulator=replace(accumulator, **changes))


def _at(accumulator: Accumulator, index: int, **changes: Any) -> Sequence[AccumulatorLevel]:
    """Return the levels with one changed."""
    levels = list(accumulator.levels)
    levels[index] = replace(levels[index], **changes)
    return tuple(levels)


def _level(index: int, accumulator: Accumulator) -> str:
    return "accumulator" if index == len(accumulator.levels) - 1 else f"accumulator[{index}]"


def _overflow(unit: IntGraph, accumulator: Accumulator) -> Iterator[Variant]:
    """Every level with the other overflow rule; sums of unlimited width."""
    for index, level in enumerate(accumulator.levels):
        rule = OTHER_RULE[level.overflow]
        yield unit_variant(
            f"{_level(index, accumulator)}.overflow={rule}",
            Family.ACCUMULATOR_OVERFLOW,
            f"the register of {level.bits} bits {rule}s",
            _with(unit, accumulator, levels=_at(accumulator, index, overflow=rule)),
        )
    if accumulator.policy is not OverflowPolicy.REPORT:
        yield unit_variant(
            "accumulator=exact",
            Family.ACCUMULATOR_WIDTH,
            "sums in registers that never overflow",
            _with(unit, accumulator, policy=OverflowPolicy.REPORT),
        )


def _widths(unit: IntGraph, accumulator: Accumulator) -> Iterator[Variant]:
    """Every level in other widths, by its own overflow rule and by the other."""
    for index, level in enumerate(accumulator.levels):
        for bits in sorted({*WIDTHS, level.bits - 1, level.bits + 1} - {level.bits}):
            if not 8 <= bits <= 62:
                continue
            for rule in (level.overflow, OTHER_RULE[level.overflow]):
                yield unit_variant(
                    f"{_level(index, accumulator)}={bits}_{rule}",
                    Family.ACCUMULATOR_WIDTH,
                    f"the register has {bits} bits, not {level.bits}, and {rule}s",
                    _with(
                        unit, accumulator, levels=_at(accumulator, index, bits=bits, overflow=rule)
                    ),
                )


def _levels(unit: IntGraph, accumulator: Accumulator) -> Iterator[Variant]:
    """The bias at the other stage, groups of other sizes, one level alone."""
    (op,) = unit.ops
    if isinstance(op, MatMul) and op.bias is not None:
        (stage,) = set(BiasStage) - {accumulator.bias}
        words = {
            BiasStage.PRELOAD: "starts with the bias",
            BiasStage.AFTER_LAST_BLOCK: "adds the bias last",
        }
        changed = _with(unit, accumulator, bias=stage)
        yield unit_variant(f"bias={stage}", Family.ACCUMULATOR_ORDER, words[stage], changed)
    if len(accumulator.levels) == 1:
        return
    yield unit_variant(
        "accumulator=one_level",
        Family.ACCUMULATOR_ORDER,
        "adds all products in the outermost register",
        _with(unit, accumulator, levels=accumulator.levels[-1:]),
    )
    if len(accumulator.levels) != 2:
        return
    group = accumulator.levels[0].group
    for other in {2 * group, max(group // 2, 1)} - {group}:
        block = getattr(op, "block", 0)
        if other <= block and block % other:
            continue  # its groups would cross the borders of blocks
        yield unit_variant(
            f"accumulator.group={other}",
            Family.ACCUMULATOR_ORDER,
            f"adds {other} products in the inner register, not {group}",
            _with(unit, accumulator, levels=_at(accumulator, 0, group=other)),
        )


def _descending(trial: Trial) -> Array:
    """Codes of sums in the opposite order."""
    op, operands = trial.op, list(trial.operands)
    if isinstance(op, Mean):
        return trial.codes_of(trial.unit, [np.flip(operands[0], op.axis + 1)])
    assert isinstance(op, AnyMatMul | NormalizedMatMul)
    operands[0], operands[1] = np.flip(operands[0], -1), np.flip(operands[1], _inner_axis(op))
    if isinstance(op, ScaledMatMul) and op.block_exponent is not None:
        place = op.operands.index(op.block_exponent)
        operands[place] = np.flip(operands[place], -1)
    return trial.codes_of(flipped(trial.unit), operands)


def _inner_axis(op: AnyMatMul | NormalizedMatMul) -> int:
    """Return the axis of b along which products are added."""
    return -1 if op.transpose_b else -2


def flipped(unit: IntGraph) -> IntGraph:
    """Return a unit with the constant weights of its last product first."""
    (op,) = unit.ops
    if not isinstance(op, AnyMatMul) or not unit.is_constant(op.b):
        return unit
    return with_constant(unit, op.b, np.flip(unit.constants[op.b], _inner_axis(op)))


def _zero_extended(trial: Trial) -> Array:
    """Codes of accumulators whose bits are read as an unsigned number."""
    accumulator = accumulator_of(trial.op)
    assert accumulator is not None
    bits = accumulator.levels[-1].bits
    mask = (1 << bits) - 1
    if not isinstance(trial.op, ScaledMatMul):
        return finished(trial.unit, trial.sums.astype(np.int64) & mask, trial.operands)
    held = trace(trial.op, trial.unit, trial.operands)["accumulator"].astype(np.int64) & mask
    return finished(trial.unit, with_factors(trial.unit, held, trial.operands), trial.operands)
