# SPDX-License-Identifier: Apache-2.0
"""SquaredDifference: see :class:`simulator.graph.ops.SquaredDifference`."""

from __future__ import annotations

from collections.abc import Sequence

from simulator.gemm import Gemm
from simulator.graph.graph import IntGraph
from simulator.graph.ops import SquaredDifference
from simulator.numerics.integer_type import IntArray
from simulator.ops import common_scale
from simulator.ops.behaviour import Behaviour, Kernel, OpResult
from simulator.simd.ops.common_scale import Join


def reference(op: SquaredDifference, graph: IntGraph, operands: Sequence[IntArray]) -> OpResult:
    """One image in plain Python integers."""
    return common_scale.reference(op, graph, operands, lambda a, b: (a - b) ** 2)


def build(op: SquaredDifference, graph: IntGraph, _: Gemm) -> Kernel:
    """Kernel for batches."""
    return common_scale.build(op, graph, Join.SQUARED_DIFFERENCE)


BEHAVIOUR = Behaviour(reference, build)
