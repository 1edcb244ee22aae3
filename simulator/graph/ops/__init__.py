# SPDX-License-Identifier: Apache-2.0
"""The operations of an IntGraph: pure data, every numeric choice a field.

Shapes are those of one image; the executor adds a batch dimension in front. An op's result is the
tensor that bears the op's name: its shape, type and zero point are declared there.
``fit(v)`` stores ``v`` in the result's type by the op's ``overflow`` rule, ``round(v >> n)`` shifts
right by the op's ``rounding`` mode, ``z_x`` is the zero point of tensor ``x``.

Each file holds a family of ops, and of each op all that is intrinsic to it: fields and formula,
and in its :class:`OpSpec` shape, rules, bounds, text and rate. How it computes is a matter of
engines: ``BEHAVIOURS`` of :mod:`simulator.ops`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from simulator.graph.op import Op, Requantization, TensorId
from simulator.graph.ops import (
    common_scale,
    deferred_softmax,
    elementwise,
    float_function,
    gelu,
    groups,
    hadamard,
    layout,
    lookup,
    normalization,
    products,
    real,
    scaled_product,
    softmax,
    softmax_ita,
    softmax_polynomial,
    softmax_tflite,
)
from simulator.graph.ops.common_scale import AddShifted, SquaredDifference
from simulator.graph.ops.deferred_softmax import DeferredSoftmax, NormalizedMatMul
from simulator.graph.ops.elementwise import Add, Mul, Rescale
from simulator.graph.ops.float_function import FloatFunction, Function
from simulator.graph.ops.gelu import GeluPolynomial, ShiftGelu
from simulator.graph.ops.groups import GroupExponent, GroupMaximum, GroupQuantize, GroupShift
from simulator.graph.ops.hadamard import Hadamard
from simulator.graph.ops.layout import Concat, Reshape, Slice, Transpose
from simulator.graph.ops.lookup import InterpolatedLookup, Lookup
from simulator.graph.ops.normalization import L2Norm, LayerNorm, LayerNormBisection
from simulator.graph.ops.products import MatMul, Mean
from simulator.graph.ops.real import Dequantize, Quantize
from simulator.graph.ops.scaled_product import ScaledMatMul
from simulator.graph.ops.softmax import Softmax
from simulator.graph.ops.softmax_ita import SoftmaxIta
from simulator.graph.ops.softmax_polynomial import Shiftmax, SoftmaxIBert, SoftmaxLog2
from simulator.graph.ops.softmax_tflite import SoftmaxFloatTable, SoftmaxGemmlowp, SoftmaxLut513
from simulator.graph.ops.spec import OpSpec

__all__ = [
    "OP_TYPES",
    "SPECS",
    "Add",
    "AddShifted",
    "AnyMatMul",
    "Concat",
    "DeferredSoftmax",
    "Dequantize",
    "FloatFunction",
    "Function",
    "GeluPolynomial",
    "GroupExponent",
    "GroupMaximum",
    "GroupQuantize",
    "GroupShift",
    "Hadamard",
    "InterpolatedLookup",
    "L2Norm",
    "LayerNorm",
    "LayerNormBisection",
    "Lookup",
    "MatMul",
    "MatrixProduct",
    "Mean",
    "Mul",
    "NormalizedMatMul",
    "Op",
    "OpSpec",
    "Quantize",
    "Requantization",
    "Rescale",
    "Reshape",
    "ScaledMatMul",
    "ShiftGelu",
    "Shiftmax",
    "Slice",
    "Softmax",
    "SoftmaxFloatTable",
    "SoftmaxGemmlowp",
    "SoftmaxIBert",
    "SoftmaxIta",
    "SoftmaxLog2",
    "SoftmaxLut513",
    "SquaredDifference",
    "TensorId",
    "Transpose",
    "op_name",
    "op_names",
]

# Products of two matrices, with what they have in common: a, b, bias, accumulator, residual.
AnyMatMul = MatMul | ScaledMatMul
MatrixProduct = AnyMatMul | NormalizedMatMul  # what a backend of products multiplies

SPECS: Mapping[type[Op], OpSpec] = MappingProxyType(
    {
        spec.op: spec
        for family in (
            products,
            scaled_product,
            elementwise,
            common_scale,
            lookup,
            gelu,
            normalization,
            hadamard,
            groups,
            softmax,
            softmax_tflite,
            softmax_polynomial,
            softmax_ita,
            deferred_softmax,
            layout,
            real,
            float_function,
        )
        for spec in family.SPECS
    }
)
OP_TYPES: Mapping[str, type[Op]] = MappingProxyType({op.__name__: op for op in SPECS})


def op_name(op: Op) -> str:
    """Return what messages, text, tables and reports call an op."""
    name = SPECS[type(op)].name
    return name if isinstance(name, str) else name(op)


def op_names() -> frozenset[str]:
    """Return what ops are called whose values are integers in registers."""
    plain = {spec.name for spec in SPECS.values() if isinstance(spec.name, str)}
    return frozenset(plain | {*common_scale.NAMES})
