# SPDX-License-Identifier: Apache-2.0
"""Every value inside an op, for whole batches: what a hardware unit's registers hold.

A trace is computed from the op's formula in ``docs/ir.md`` and shares nothing with the kernels but
the definitions of rounding modes and types, so that it is a second opinion of their results.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from simulator.graph.graph import IntGraph
from simulator.graph.op import Op
from simulator.graph.ops import (
    Add,
    AddShifted,
    Concat,
    DeferredSoftmax,
    Dequantize,
    FloatFunction,
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
    Quantize,
    Rescale,
    Reshape,
    ScaledMatMul,
    ShiftGelu,
    Shiftmax,
    Slice,
    Softmax,
    SoftmaxFloatTable,
    SoftmaxGemmlowp,
    SoftmaxIBert,
    SoftmaxIta,
    SoftmaxLog2,
    SoftmaxLut513,
    SquaredDifference,
    Transpose,
)
from simulator.numerics.float_type import Array
from simulator.traces import (
    common_scale,
    deferred_softmax,
    elementwise,
    gelu,
    groups,
    moving,
    normalization,
    real,
    softmax,
    softmax_polynomial,
    softmax_tflite,
    sums,
)

__all__ = ["TRACES", "Trace", "trace", "uncut"]

Trace = Callable[[Any, IntGraph, Sequence[Array]], dict[str, Array]]

TRACES: Mapping[type[Op], Trace] = MappingProxyType(
    {
        MatMul: sums.matmul,
        ScaledMatMul: sums.scaled_matmul,
        Mean: sums.mean,
        Rescale: elementwise.rescale,
        Add: elementwise.add,
        Mul: elementwise.mul,
        AddShifted: common_scale.add_shifted,
        SquaredDifference: common_scale.squared_difference,
        Lookup: moving.lookup,
        InterpolatedLookup: moving.interpolated,
        GeluPolynomial: gelu.polynomial,
        ShiftGelu: gelu.shift_gelu,
        LayerNorm: normalization.layer_norm,
        LayerNormBisection: normalization.bisection,
        L2Norm: normalization.l2_norm,
        Hadamard: groups.hadamard,
        GroupMaximum: groups.group_maximum,
        GroupExponent: groups.group_exponent,
        GroupQuantize: groups.group_quantize,
        GroupShift: groups.group_shift,
        Softmax: softmax.softmax,
        SoftmaxGemmlowp: softmax_tflite.gemmlowp,
        SoftmaxLut513: softmax_tflite.lut513,
        SoftmaxFloatTable: softmax_tflite.float_table,
        SoftmaxIBert: softmax_polynomial.ibert,
        Shiftmax: softmax_polynomial.shiftmax,
        SoftmaxLog2: softmax_polynomial.log2,
        SoftmaxIta: softmax_polynomial.ita,
        DeferredSoftmax: deferred_softmax.softmax,
        NormalizedMatMul: deferred_softmax.matmul,
        Concat: moving.concat,
        Slice: moving.slice_,
        Reshape: moving.reshape,
        Transpose: moving.transpose,
        Quantize: real.quantize,
        Dequantize: real.dequantize,
        FloatFunction: real.float_function,
    }
)


def trace(op: Op, graph: IntGraph, operands: Sequence[Array]) -> Mapping[str, Array]:
    """Return the intermediates of an op in the order of their computation, and its result.

    Parameters
    ----------
    operands
        in the order of ``op.operands``: activations [images, ...], constants without images

    Returns
    -------
    int64 arrays by the names of the op's intermediates, values of a row with shape [..., 1], and
    last ``result``: codes in the type of the result
    """
    return MappingProxyType(TRACES[type(op)](op, graph, operands))


# Of ops whose registers wrap: values before they do.
_UNCUT: Mapping[type[Op], Trace] = MappingProxyType({GeluPolynomial: gelu.polynomial_uncut})


def uncut(op: Op, graph: IntGraph, operands: Sequence[Array]) -> Mapping[str, Array]:
    """Return what :func:`trace` does, but values as they are before an op's register wraps them."""
    before = _UNCUT.get(type(op))
    known = trace(op, graph, operands)
    return known if before is None else {**known, **before(op, graph, operands)}
