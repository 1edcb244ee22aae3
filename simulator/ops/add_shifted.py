# SPDX-License-Identifier: Apache-2.0
"""AddShifted: see :class:`simulator.graph.ops.AddShifted`."""

from __future__ import annotations

import operator
from collections.abc import Sequence

from simulator.graph.graph import IntGraph
from simulator.graph.ops import AddShifted
from simulator.numerics.integer_type import IntArray
from simulator.ops import common_scale
from simulator.ops.behaviour import Behaviour, OpResult


def reference(op: AddShifted, graph: IntGraph, operands: Sequence[IntArray]) -> OpResult:
    """One image in plain Python integers."""
    join = operator.sub if op.subtract else operator.add
    return common_scale.reference(op, graph, operands, join)


BEHAVIOUR = Behaviour(reference, common_scale.build)
