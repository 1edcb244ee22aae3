# SPDX-License-Identifier: Apache-2.0
"""Cycles of the vector unit, which computes everything but integer matrix products.

One rate per kind of op, in cycles that one lane takes for one element. Rows, passes and latencies
are not told apart: they are part of the rate.
"""

from __future__ import annotations

from simulator.cost.exact import as_written, ceil_times
from simulator.graph.graph import IntGraph
from simulator.graph.ops import SPECS, Op
from simulator.profile import VectorSection


def vector_cycles(graph: IntGraph, op: Op, unit: VectorSection) -> int:
    """Return the cycles of ``op``: ``ceil(elements / lanes * cycles_per_element)``.

    Elements are those of the result; for a Mean those of its operand, all of which it reads.
    A Reshape and a Slice along the first dimension cost 0: their results are views in row-major
    order, no code moves. Concat, Transpose and any other Slice cost ``layout`` cycles for each
    element that they write. Float products have no array of multipliers: each multiply-accumulate
    counts as an element. The op's specification says all of it.
    """
    spec = SPECS[type(op)]
    if spec.rate is None or spec.is_view(graph, op):
        return 0
    rate = as_written(getattr(unit.cycles_per_element, spec.rate))
    return ceil_times(spec.elements(graph, op), rate / unit.lanes)
