# SPDX-License-Identifier: Apache-2.0
"""AddShifted: see :class:`simulator.graph.ops.AddShifted`."""

from __future__ import annotations

import operator
from collections.abc import Sequence

from simulator.gemm import Gemm
from simulator.graph.graph import IntGraph
from simulator.graph.ops import AddShifted
from simulator.numerics.integer_type import IntArray
from simulator.ops import common_scale
from simulator.ops.behaviour import Behaviour, Kernel, OpResult
from simulator.simd.ops.common_scale import Join


def reference(op: AddShifted, graph: IntGraph, operands: Sequence[IntArray]) -> OpResult:
    """One image in plain Python integers."""
    join = operator.sub if op.subtract else operator.add
    return common_scale.reference(op, graph, operands, join)


def build(op: AddShifted, graph: IntGraph, _: Gemm) -> Kernel:
    """Kernel for batches."""
    return common_scale.build(op, graph, Join.DIFFERENCE if op.subtract else Join.SUM)


BEHAVIOUR = Behaviour(reference, build)
