# SPDX-License-Identifier: Apache-2.0
"""Cycles of the vector unit: everything that is not an integer matrix product.

One rate per kind of op, in cycles that one lane takes for one element. Rows, passes and latencies
are not told apart: they are part of the rate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from simulator.cost.exact import as_written, ceil_times
from simulator.cost.views import is_view
from simulator.graph.float_ops import PRODUCTS, Function
from simulator.graph.graph import IntGraph, product_macs
from simulator.graph.ops import (
    FLOAT_OPS,
    LAYOUT_OPS,
    SOFTMAX_OPS,
    Add,
    AddShifted,
    FloatFunction,
    GeluPolynomial,
    InterpolatedLookup,
    LayerNorm,
    LayerNormBisection,
    Lookup,
    Mean,
    Mul,
    Op,
    Rescale,
    ShiftGelu,
    SquaredDifference,
)
from simulator.profile import CyclesPerElement, VectorSection


def _float_rate(rates: CyclesPerElement) -> float:
    return rates.float


def _softmax_rate(rates: CyclesPerElement) -> float:
    return rates.softmax


def _layout_rate(rates: CyclesPerElement) -> float:
    return rates.layout


RATES: Mapping[type[Op], Callable[[CyclesPerElement], float]] = MappingProxyType(
    {
        **dict.fromkeys(SOFTMAX_OPS, _softmax_rate),
        LayerNorm: lambda rates: rates.layernorm,
        Lookup: lambda rates: rates.lookup,
        Add: lambda rates: rates.add,
        Rescale: lambda rates: rates.rescale,
        Mean: lambda rates: rates.mean,
        # The nearest of the rates that a profile states: what is computed element by element.
        AddShifted: lambda rates: rates.add,
        SquaredDifference: lambda rates: rates.add,
        Mul: lambda rates: rates.add,
        InterpolatedLookup: lambda rates: rates.lookup,
        GeluPolynomial: lambda rates: rates.lookup,
        ShiftGelu: lambda rates: rates.softmax,  # a maximum, exponentials, a division per element
        LayerNormBisection: lambda rates: rates.layernorm,
        **dict.fromkeys(LAYOUT_OPS, _layout_rate),
        **dict.fromkeys(FLOAT_OPS, _float_rate),
    }
)


def vector_cycles(graph: IntGraph, op: Op, unit: VectorSection) -> int:
    """Return the cycles of ``op``: ``ceil(elements / lanes * cycles_per_element)``.

    Elements are those of the result; for a Mean those of its operand, all of which it reads.
    A Reshape and a Slice along the first dimension cost 0: their results are views in row-major
    order, no code moves (:func:`simulator.cost.views.is_view`). Concat, Transpose and any other
    Slice cost ``layout`` cycles for each element that they write. Float products have no array of
    multipliers: each multiply-accumulate counts as an element.
    """
    if is_view(graph, op):
        return 0
    rate = as_written(RATES[type(op)](unit.cycles_per_element))
    return ceil_times(_elements(graph, op), rate / unit.lanes)


def _elements(graph: IntGraph, op: Op) -> int:
    if isinstance(op, FloatFunction) and op.function in PRODUCTS:
        return product_macs(graph, op)
    reads_all = isinstance(op, Mean) or (
        isinstance(op, FloatFunction) and op.function is Function.MEAN
    )
    return (graph.tensors[op.operands[0]] if reads_all else graph.result(op)).size
