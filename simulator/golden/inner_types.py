# SPDX-License-Identifier: Apache-2.0
"""The types of values inside ops: the register that an op states, or the narrowest one."""

from __future__ import annotations

from simulator.graph.graph import IntGraph
from simulator.graph.op import Op, accumulator_of
from simulator.graph.ops import SPECS
from simulator.graph.ranges import Intermediate, holds, narrowest
from simulator.numerics.accumulator import OverflowPolicy
from simulator.numerics.integer_type import IntType


def inner_types(op: Op, graph: IntGraph) -> dict[str, IntType]:
    """Return the type of every intermediate of an op by its name, in order of computation.

    It is that of the register where the op states one, of an accumulator the outermost. Other
    values have the narrowest type that holds all that any input can make of them, unsigned where
    none is negative; so have sums that stay exact because overflow is only reported.
    """
    return {found.name: _type_of(found, op) for found in SPECS[type(op)].intermediates(graph, op)}


def _type_of(found: Intermediate, op: Op) -> IntType:
    if found.levels:
        register, accumulator = found.levels[-1].register, accumulator_of(op)
        assert accumulator is not None
        exact = accumulator.policy is OverflowPolicy.REPORT
        fits = holds(register, found.interval)
        return narrowest(*found.interval) if exact and not fits else register
    return found.register or narrowest(*found.interval)
