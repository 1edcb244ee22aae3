# SPDX-License-Identifier: Apache-2.0
"""Cycles of the vector unit: everything that is not a matrix product.

One rate per kind of op, in cycles that one lane takes for one element. Rows, passes and latencies
are not told apart: they are part of the rate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from simulator.cost.exact import as_written, ceil_times
from simulator.cost.views import is_view
from simulator.graph.graph import IntGraph
from simulator.graph.ops import (
    LAYOUT_OPS,
    Add,
    LayerNorm,
    Lookup,
    Mean,
    Op,
    Rescale,
    Softmax,
)
from simulator.profile import CyclesPerElement, VectorSection


def _layout_rate(rates: CyclesPerElement) -> float:
    return rates.layout


RATES: Mapping[type[Op], Callable[[CyclesPerElement], float]] = MappingProxyType(
    {
        Softmax: lambda rates: rates.softmax,
        LayerNorm: lambda rates: rates.layernorm,
        Lookup: lambda rates: rates.lookup,
        Add: lambda rates: rates.add,
        Rescale: lambda rates: rates.rescale,
        Mean: lambda rates: rates.mean,
        **dict.fromkeys(LAYOUT_OPS, _layout_rate),
    }
)


def vector_cycles(graph: IntGraph, op: Op, unit: VectorSection) -> int:
    """Return the cycles of ``op``: ``ceil(elements / lanes * cycles_per_element)``.

    Elements are those of the result; for a Mean those of its operand, all of which it reads.
    A Reshape and a Slice along the first dimension cost 0: their results are views in row-major
    order, no code moves (:func:`simulator.cost.views.is_view`). Concat, Transpose and any other
    Slice cost ``layout`` cycles for each element that they write.
    """
    if is_view(graph, op):
        return 0
    counted = graph.tensors[op.a] if isinstance(op, Mean) else graph.result(op)
    rate = as_written(RATES[type(op)](unit.cycles_per_element))
    return ceil_times(counted.size, rate / unit.lanes)
