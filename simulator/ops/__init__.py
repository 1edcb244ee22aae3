# SPDX-License-Identifier: Apache-2.0
"""Reference and kernel of each op: the table from op to behaviour."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from simulator.graph.ops import (
    Add,
    AddShifted,
    Concat,
    Dequantize,
    FloatFunction,
    GeluPolynomial,
    InterpolatedLookup,
    L2Norm,
    LayerNorm,
    LayerNormBisection,
    Lookup,
    MatMul,
    Mean,
    Mul,
    Op,
    Quantize,
    Rescale,
    Reshape,
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
from simulator.ops import (
    add,
    add_shifted,
    float_function,
    gelu_polynomial,
    interpolated_lookup,
    l2norm,
    layernorm,
    layernorm_bisection,
    layout,
    lookup,
    matmul,
    mean,
    mul,
    quantize,
    rescale,
    shift_gelu,
    shiftmax,
    softmax,
    softmax_float_table,
    softmax_gemmlowp,
    softmax_ibert,
    softmax_ita,
    softmax_log2,
    softmax_lut513,
    squared_difference,
)
from simulator.ops.behaviour import Behaviour, GroupKernel, Kernel, OpResult

__all__ = ["BEHAVIOURS", "Behaviour", "GroupKernel", "Kernel", "OpResult"]

BEHAVIOURS: Mapping[type[Op], Behaviour] = MappingProxyType(
    {
        MatMul: matmul.BEHAVIOUR,
        Rescale: rescale.BEHAVIOUR,
        Add: add.BEHAVIOUR,
        LayerNorm: layernorm.BEHAVIOUR,
        Softmax: softmax.BEHAVIOUR,
        SoftmaxGemmlowp: softmax_gemmlowp.BEHAVIOUR,
        SoftmaxLut513: softmax_lut513.BEHAVIOUR,
        SoftmaxFloatTable: softmax_float_table.BEHAVIOUR,
        SoftmaxIBert: softmax_ibert.BEHAVIOUR,
        Shiftmax: shiftmax.BEHAVIOUR,
        SoftmaxIta: softmax_ita.BEHAVIOUR,
        SoftmaxLog2: softmax_log2.BEHAVIOUR,
        Lookup: lookup.BEHAVIOUR,
        Mean: mean.BEHAVIOUR,
        AddShifted: add_shifted.BEHAVIOUR,
        SquaredDifference: squared_difference.BEHAVIOUR,
        Mul: mul.BEHAVIOUR,
        InterpolatedLookup: interpolated_lookup.BEHAVIOUR,
        GeluPolynomial: gelu_polynomial.BEHAVIOUR,
        ShiftGelu: shift_gelu.BEHAVIOUR,
        LayerNormBisection: layernorm_bisection.BEHAVIOUR,
        L2Norm: l2norm.BEHAVIOUR,
        Concat: layout.CONCAT,
        Slice: layout.SLICE,
        Reshape: layout.RESHAPE,
        Transpose: layout.TRANSPOSE,
        Quantize: quantize.QUANTIZE,
        Dequantize: quantize.DEQUANTIZE,
        FloatFunction: float_function.BEHAVIOUR,
    }
)
