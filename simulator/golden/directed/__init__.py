# SPDX-License-Identifier: Apache-2.0
"""Directed vectors: stimuli for one op at ties, at ends of types, at sums that overflow.

A unit of an op has the op's modes and widths, and constants of its own where the op's cannot reach
a tie or an overflow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

from simulator.golden.directed import (
    elementwise,
    groups,
    normalized,
    products,
    rows,
    scaled_products,
)
from simulator.golden.directed.making import Stimulus
from simulator.golden.one_op import OneOp
from simulator.graph.op import Op
from simulator.graph.ops import (
    Add,
    AddShifted,
    DeferredSoftmax,
    GeluPolynomial,
    GroupExponent,
    GroupMaximum,
    GroupQuantize,
    GroupShift,
    Hadamard,
    InterpolatedLookup,
    L2Norm,
    LayerNorm,
    LayerNormBisection,
    Lookup,
    MatMul,
    Mean,
    Mul,
    NormalizedMatMul,
    Rescale,
    ScaledMatMul,
    ShiftGelu,
    Shiftmax,
    Softmax,
    SoftmaxFloatTable,
    SoftmaxGemmlowp,
    SoftmaxIBert,
    SoftmaxIta,
    SoftmaxLog2,
    SoftmaxLut513,
    SquaredDifference,
)

__all__ = ["STIMULI", "Stimulus", "stimuli"]

STIMULI: Mapping[type[Op], Callable[[OneOp, str], Iterator[Stimulus]]] = MappingProxyType(
    {
        MatMul: products.matmul,
        ScaledMatMul: scaled_products.scaled_matmul,
        Mean: products.mean,
        Rescale: elementwise.unary,
        GeluPolynomial: elementwise.unary,
        ShiftGelu: elementwise.unary,
        Lookup: elementwise.lookup,
        InterpolatedLookup: elementwise.interpolated,
        Add: elementwise.add,
        Mul: elementwise.mul,
        AddShifted: elementwise.common_scale,
        SquaredDifference: elementwise.common_scale,
        LayerNorm: rows.layer_norm,
        LayerNormBisection: rows.bisection,
        L2Norm: rows.l2_norm,
        Hadamard: groups.hadamard,
        GroupMaximum: groups.scales,
        GroupExponent: groups.scales,
        GroupQuantize: groups.group_quantize,
        GroupShift: groups.group_shift,
        Softmax: rows.softmax,
        SoftmaxFloatTable: rows.float_table,
        SoftmaxGemmlowp: rows.softmax_rows,
        SoftmaxLut513: rows.softmax_rows,
        SoftmaxIBert: rows.softmax_rows,
        Shiftmax: rows.softmax_rows,
        SoftmaxIta: rows.softmax_rows,
        SoftmaxLog2: rows.softmax_rows,
        DeferredSoftmax: rows.softmax_rows,
        NormalizedMatMul: normalized.normalized_matmul,
    }
)


def stimuli(base: OneOp, name: str) -> Iterator[Stimulus]:
    """Yield the directed vectors of an op, their units called NAME.WHAT; none of other ops."""
    of_op = STIMULI.get(type(base.op))
    if of_op is not None:
        yield from of_op(base, name)
