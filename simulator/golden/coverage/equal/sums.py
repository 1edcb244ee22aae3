# SPDX-License-Identifier: Apache-2.0
"""Proofs about accumulators: no input overflows, or a register that wraps forgets it."""

from __future__ import annotations

from simulator.golden.variants.sums import flipped
from simulator.golden.variants.trial import Trial
from simulator.golden.variants.variant import Variant
from simulator.graph.bounds import bounds, intermediates
from simulator.graph.graph import IntGraph
from simulator.graph.op import accumulator_of
from simulator.graph.ops import MatMul
from simulator.graph.ranges import PartialSums
from simulator.numerics.accumulator import Accumulator, OverflowPolicy
from simulator.numerics.integer_type import Overflow


def unsigned(trial: Trial, variant: Variant) -> str | None:
    """A sum read without sign: none is below zero, and none becomes so in its register."""
    if variant.name != "accumulator=unsigned":
        return None
    known = bounds(trial.unit, trial.op)
    if known.accumulator is None or known.accumulator[0] < 0 or not known.proven_free:
        return None
    return "no sum is below zero, and none leaves its register"


def other_accumulator(trial: Trial, variant: Variant) -> str | None:
    """Another accumulator: both are never left, or exact, or differ where nothing overflows."""
    first = accumulator_of(trial.op)
    second = None if variant.unit is None else accumulator_of(variant.unit.ops[0])
    if first is None or second is None or variant.unit is None or first == second:
        return None
    if all(bounds(unit, unit.ops[0]).proven_free for unit in (trial.unit, variant.unit)):
        return "no input overflows either accumulator"
    if first.policy is second.policy is OverflowPolicy.REPORT:
        return 'sums are exact whatever the registers are: accumulator.policy is "report"'
    if _inner_levels_are_free(trial.unit, variant.unit, first, second):
        return "no input overflows the inner registers, and the outermost one is the same"
    wraps = first.levels[-1].overflow is Overflow.WRAP
    if wraps and first.levels == second.levels and first.policy is second.policy:
        return "a register that wraps gives the same low bits in every order"
    return None


def other_order(trial: Trial, variant: Variant) -> str | None:
    """The last product first: nothing overflows, or only a register that wraps does."""
    accumulator = accumulator_of(trial.op)
    if accumulator is None or variant.name != "accumulator=descending":
        return None
    if accumulator.policy is OverflowPolicy.REPORT:
        return 'sums are exact in every order: accumulator.policy is "report"'
    # Groups are counted from the first product: from the other end they may hold other ones.
    both = (trial.unit, flipped(trial.unit))
    if all(bounds(unit, unit.ops[0]).proven_free for unit in both):
        return "no input overflows the accumulator: every order gives the same sum"
    inner_free = all(level.proven for unit in both for level in levels(unit)[:-1])
    if inner_free and accumulator.levels[-1].overflow is Overflow.WRAP:
        return "a register that wraps gives the same low bits in every order"
    return None


def unsigned_bias(trial: Trial, variant: Variant) -> str | None:
    """A bias read without sign, in a register that keeps no more bits than it has."""
    accumulator = accumulator_of(trial.op)
    if variant.name != "bias=unsigned" or accumulator is None or not isinstance(trial.op, MatMul):
        return None
    assert trial.op.bias is not None
    outer, bits = accumulator.levels[-1], trial.unit.tensors[trial.op.bias].type.bits
    applied = accumulator.policy is not OverflowPolicy.REPORT
    if outer.overflow is Overflow.WRAP and outer.bits <= bits and applied:
        return f"the register keeps {outer.bits} bits, which are the same with and without sign"
    return None


def levels(unit: IntGraph) -> tuple[PartialSums, ...]:
    """Return the bounds of the partial sums of each level of an op's accumulator."""
    for found in intermediates(unit, unit.ops[0]):
        if found.levels:
            return found.levels
    return ()


def _inner_levels_are_free(
    first_unit: IntGraph, second_unit: IntGraph, first: Accumulator, second: Accumulator
) -> bool:
    """Tell whether two accumulators differ in levels alone that nothing overflows.

    Groups may differ, too, where the outermost register wraps.
    """
    same = (first.levels[-1], first.policy, first.bias) == (
        second.levels[-1],
        second.policy,
        second.bias,
    )
    inner = [level for unit in (first_unit, second_unit) for level in levels(unit)[:-1]]
    groups = [[level.group for level in one.levels] for one in (first, second)]
    wraps = first.levels[-1].overflow is Overflow.WRAP
    return same and all(level.proven for level in inner) and (wraps or groups[0] == groups[1])


PROOFS = (unsigned, other_accumulator, other_order, unsigned_bias)
