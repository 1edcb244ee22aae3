# SPDX-License-Identifier: Apache-2.0
"""Which ops switch scores off: an Add of a constant of one bit (docs/decisions/0020)."""

from __future__ import annotations

from simulator.graph.graph import IntGraph
from simulator.graph.ops import Add, Op
from simulator.numerics.integer_type import IntType, Overflow

_ONE_BIT = IntType(bits=1)


def is_mask(graph: IntGraph, op: Op) -> bool:
    """Tell whether an op leaves codes as they are or takes them to the lowest one, as it should.

    That is ``a + (2^bits - 1) * b`` with b of -1 or 0, saturating, and no other scale between its
    codes and those of a; both factors may be shifted left by the shift that follows.
    """
    if not isinstance(op, Add) or op.b not in graph.constants:
        return False
    a, y = graph.tensors[op.a], graph.result(op)
    if graph.tensors[op.b].type != _ONE_BIT or not isinstance(y.type, IntType):
        return False
    factors = [graph.constants[name].tolist() for name in (op.multiplier_a, op.multiplier_b)]
    return (
        (a.type, a.zero_point) == (y.type, y.zero_point)
        and factors == [[1 << op.shift], [(y.type.high - y.type.low) << op.shift]]
        and op.overflow is not Overflow.WRAP
    )
