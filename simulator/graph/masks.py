# SPDX-License-Identifier: Apache-2.0
"""Which ops switch scores off: an Add of a constant of one bit (docs/decisions/0020)."""

from __future__ import annotations

from simulator.graph.graph import IntGraph
from simulator.graph.ops import Add, Op
from simulator.numerics.integer_type import IntType

_ONE_BIT = IntType(bits=1)


def is_mask(graph: IntGraph, op: Op) -> bool:
    """Tell whether an op leaves codes as they are or takes them to the lowest one, as it should."""
    if not isinstance(op, Add) or op.b not in graph.constants:
        return False
    return graph.tensors[op.b].type == _ONE_BIT
