# SPDX-License-Identifier: Apache-2.0
"""SquaredDifference: see :class:`simulator.graph.ops.SquaredDifference`."""

from __future__ import annotations

from collections.abc import Sequence

from simulator.graph.graph import IntGraph
from simulator.graph.ops import SquaredDifference
from simulator.numerics.integer_type import IntArray
from simulator.ops import common_scale
from simulator.ops.behaviour import Behaviour, OpResult


def reference(op: SquaredDifference, graph: IntGraph, operands: Sequence[IntArray]) -> OpResult:
    """One image in plain Python integers."""
    return common_scale.reference(op, graph, operands, lambda a, b: (a - b) ** 2)


BEHAVIOUR = Behaviour(reference, common_scale.build)
