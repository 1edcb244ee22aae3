# SPDX-License-Identifier: Apache-2.0
"""Counts of a run, by op: results, saturated results, overflowed accumulators."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from simulator.graph.op import Op, accumulator_of
from simulator.graph.ranges import signed_bits
from simulator.ops.behaviour import SumCounts


@dataclass(frozen=True, slots=True, kw_only=True)
class OpCounts:
    """Counts of one op over all images of a run.

    elements : results computed
    saturated : results outside the result type before its overflow rule was applied; none of a
        mask, whose scores are meant to be
    sums : what happened in the op's accumulators; None in ops without
    in_order : sums accumulated in order, term by term, since no bound kept them in their registers;
        that depends on the kernel, so counts that differ in nothing else are equal
    """

    elements: int = 0
    saturated: int = 0
    sums: SumCounts | None = None
    in_order: int = field(default=0, compare=False)

    @property
    def overflowed(self) -> int:
        """Results whose accumulator overflowed, transiently or persistently."""
        return self.sums.overflowed if self.sums else 0

    def __add__(self, other: OpCounts) -> OpCounts:
        both = self.sums or other.sums
        if self.sums and other.sums:
            both = self.sums.merged(other.sums)
        return OpCounts(
            elements=self.elements + other.elements,
            saturated=self.saturated + other.saturated,
            sums=both,
            in_order=self.in_order + other.in_order,
        )


def summed(counts: Iterable[Mapping[str, OpCounts]]) -> dict[str, OpCounts]:
    """Return the counts of several batches of one graph as those of one, by op name."""
    totals: dict[str, OpCounts] = {}
    for batch in counts:
        totals = {name: totals.get(name, OpCounts()) + found for name, found in batch.items()}
    return totals


def sums_of(op: Op, counts: OpCounts) -> dict[str, int]:
    """Return what happened in an op's accumulators, by the keys of records and outputs.

    ``persistent``, ``transient``, ``changed``: see :class:`~simulator.ops.behaviour.SumCounts`;
    ``sum_bits``: bits that the completed sums needed; ``headroom_bits``: bits of the outermost
    register less these, below 0 where it overflowed. Empty for an op without an accumulator.
    """
    accumulator = accumulator_of(op)
    if counts.sums is None or accumulator is None:
        return {}
    needed = signed_bits(counts.sums.least, counts.sums.most)
    return {
        "persistent": counts.sums.persistent,
        "transient": counts.sums.transient,
        "changed": counts.sums.changed,
        "sum_bits": needed,
        "headroom_bits": accumulator.levels[-1].bits - needed,
    }
