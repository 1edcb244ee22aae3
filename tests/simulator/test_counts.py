# SPDX-License-Identifier: Apache-2.0
"""Counts add up over batches, and say what happened in each accumulator."""

from __future__ import annotations

from simulator.counts import OpCounts, summed, sums_of
from simulator.graph.ops import MatMul
from simulator.ops.behaviour import SumCounts


def test_counts_add_up():
    one = OpCounts(elements=10, saturated=2, sums=SumCounts(1, 0, 1, -7, 30))
    other = OpCounts(elements=5, saturated=3, sums=SumCounts(4, 2, 3, -5, 40))
    both = OpCounts(elements=15, saturated=5, sums=SumCounts(5, 2, 4, -7, 40))
    assert one + other == both
    assert both.overflowed == 6
    assert OpCounts() + one == one
    assert one + OpCounts() == one


def test_batches_of_one_graph_are_summed_by_op():
    one, other = OpCounts(elements=10, in_order=4), OpCounts(elements=5, in_order=1)
    found = summed([{"a": one, "b": other}, {"a": other, "b": other}])
    assert found == {"a": OpCounts(elements=15), "b": OpCounts(elements=10)}
    assert (found["a"].in_order, found["b"].in_order) == (5, 2)
    assert summed([]) == {}


def test_sums_are_those_of_the_outermost_register(block):
    op = next(op for op in block.ops if isinstance(op, MatMul))
    bits = op.accumulator.levels[-1].bits
    counts = OpCounts(elements=9, sums=SumCounts(4, 2, 3, -(2**bits), 5))
    assert sums_of(op, counts) == {
        "persistent": 3,
        "transient": 2,
        "changed": 4,
        "sum_bits": bits + 1,
        "headroom_bits": -1,
    }


def test_an_op_without_an_accumulator_has_no_sums(block):
    op = next(op for op in block.ops if not hasattr(op, "accumulator"))
    assert sums_of(op, OpCounts(elements=9)) == {}
