# SPDX-License-Identifier: Apache-2.0
"""How each op computes: the table from op to behaviour."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from simulator.graph.ops import (
    Add,
    Concat,
    Dequantize,
    FloatFunction,
    LayerNorm,
    Lookup,
    MatMul,
    Mean,
    Op,
    Quantize,
    Rescale,
    Reshape,
    Slice,
    Softmax,
    Transpose,
)
from simulator.ops import (
    add,
    float_function,
    layernorm,
    layout,
    lookup,
    matmul,
    mean,
    quantize,
    rescale,
    softmax,
)
from simulator.ops.behaviour import Behaviour, Kernel, OpResult

__all__ = ["BEHAVIOURS", "Behaviour", "Kernel", "OpResult"]

BEHAVIOURS: Mapping[type[Op], Behaviour] = MappingProxyType(
    {
        MatMul: matmul.BEHAVIOUR,
        Rescale: rescale.BEHAVIOUR,
        Add: add.BEHAVIOUR,
        LayerNorm: layernorm.BEHAVIOUR,
        Softmax: softmax.BEHAVIOUR,
        Lookup: lookup.BEHAVIOUR,
        Mean: mean.BEHAVIOUR,
        Concat: layout.CONCAT,
        Slice: layout.SLICE,
        Reshape: layout.RESHAPE,
        Transpose: layout.TRANSPOSE,
        Quantize: quantize.QUANTIZE,
        Dequantize: quantize.DEQUANTIZE,
        FloatFunction: float_function.BEHAVIOUR,
    }
)
