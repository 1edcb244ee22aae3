# SPDX-License-Identifier: Apache-2.0
"""Lowering rules of models whose method leaves operators in float. A table at the end.

Products of codes stay integer products: their sums
leave the accumulator as they are and are rescaled in float, where the bias is added unrounded.
Nodes whose operands and result are plainly quantized keep their integer rule, products excepted: a
method that leaves float operators around a product decided its scales with float rescaling.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from aocq.capture import FloatNode, FloatOp
from aocq.capture.float_graph import ARITHMETIC, GELUS
from aocq.lowering.mixed_lowering import MixedLowering
from aocq.lowering.rules import RULES
from aocq.methods.quantizers import ActivationQuantizer
from aocq.methods.scales import Scales, linear_scales, product_scales
from simulator.errors import InputError
from simulator.graph.graph import Role
from simulator.graph.ops import (
    Concat,
    Dequantize,
    FloatFunction,
    Function,
)
from simulator.numerics.float_type import FLOAT32
from simulator.numerics.hadamard import hadamard_matrix
from simulator.numerics.integer_type import IntType
from simulator.profile import NpuProfile


def in_float(node: FloatNode, profile: NpuProfile) -> bool:
    """Whether a profile leaves a node's operator in float, although its result has codes."""
    algorithms = {
        FloatOp.SOFTMAX: profile.softmax.algorithm,
        FloatOp.LAYERNORM: profile.layernorm.algorithm,
        FloatOp.ADD: profile.add.algorithm,
        FloatOp.MEAN: profile.mean.algorithm,
    }
    if node.op is FloatOp.UNARY and node.attributes["function"] in GELUS:
        return profile.gelu.algorithm == "float32"
    return algorithms.get(node.op) == "float32"


def lower_mixed(lowering: MixedLowering, node: FloatNode) -> None:
    """Add the ops of one node of a network that has float operators, integer ones where it can."""
    if _stays_integer(lowering, node):
        RULES[node.op](lowering.builder, node)
    else:
        lower_in_float(lowering, node)


def lower_in_float(lowering: MixedLowering, node: FloatNode) -> None:
    """Add the float operators of one node."""
    FLOAT_RULES[node.op](lowering, node)


def _stays_integer(lowering: MixedLowering, node: FloatNode) -> bool:
    """Whether an arithmetic node's operands and result are plainly quantized."""
    quantizer = lowering.builder.model.activations.get(node.name)
    if node.op not in ARITHMETIC or node.op in {FloatOp.LINEAR, FloatOp.MATMUL}:
        return False
    if in_float(node, lowering.builder.profile):  # the chip has no integer rule for it
        return False
    if not isinstance(quantizer, ActivationQuantizer) or quantizer.alpha:
        return False
    if node.op is FloatOp.SOFTMAX:  # the integer rule knows one scale
        bits = lowering.builder.profile.softmax.output_bits
        codes = IntType(bits=bits, signed=False)
        if quantizer != ActivationQuantizer(type=codes, scale=2.0**-bits, zero_point=0):
            return False
    scales = lowering.builder.model.scales
    if any(lowering.is_float(name) or scales(name).size > 1 for name in node.inputs):
        return False
    # No op can rescale a constant that is a part of a concatenation.
    return node.op is not FloatOp.CONCAT or not any(
        lowering.builder.tensor(name).role is Role.CONSTANT for name in node.inputs
    )


def _input(lowering: MixedLowering, node: FloatNode) -> None:
    if node.name in lowering.builder.model.activations:
        raise InputError(
            f"{node.name}: the image has one scale for all its values, or stays in float; its "
            "quantizer has channel factors or levels"
        )
    lowering.builder.graph.input(node.name, node.shape, FLOAT32)


def _constant(lowering: MixedLowering, node: FloatNode) -> None:
    """The real values, fake-quantized where the constant has a quantizer."""
    model = lowering.builder.model
    real = model.parameter(node.attributes["parameter"]).reshape(node.shape)
    if node.name in model.activations:
        quantizer = lowering.builder.quantizer(node)
        real = (quantizer.integer_codes(real) - quantizer.zero_point) * model.scales(node.name)
    lowering.builder.graph.constant(node.name, real, FLOAT32)


def _linear(lowering: MixedLowering, node: FloatNode) -> None:
    builder = lowering.builder
    source = node.inputs[0]
    bias = lowering.parameter(node, "bias")
    weight = builder.model.weights.get(node.attributes["weight"])
    if weight is None or lowering.is_float(source):
        if weight is None:
            matrix = lowering.parameter(node, "weight")
        else:
            matrix = builder.graph.constant(f"{node.name}.weight", weight.real(), FLOAT32)
        real = lowering.real(source)
        lowering.function(node, Function.LINEAR, real, weight=matrix, bias=bias)
        return
    x = builder.tensor(source)
    scales = linear_scales(node, builder.model.scales(source), weight)
    offset = None
    if x.zero_point:
        correction = -x.zero_point * weight.codes.sum(axis=1, dtype=np.int64)
        bias_type = IntType(bits=builder.profile.accumulator_of("linear").bias_bits)
        offset = builder.constant(f"{node.name}.offset", correction, bias_type)
    codes = builder.constant(f"{node.name}.weight", weight.codes, IntType(bits=weight.bits))
    sums = lowering.sums(
        node, "linear", node.shape, a=x.name, b=codes, transpose_b=True, bias=offset
    )
    _rescaled(lowering, node, sums, scales, bias)


def _matmul(lowering: MixedLowering, node: FloatNode) -> None:
    transposed = node.attributes["transpose_b"]
    if any(lowering.is_float(name) for name in node.inputs):
        names = (lowering.real(name) for name in node.inputs)
        lowering.function(node, Function.MATMUL, *names, transpose_b=transposed)
        return
    a, b = (lowering.builder.tensor(name).name for name in node.inputs)
    scales = product_scales(node, *map(lowering.builder.model.scales, node.inputs))
    sums = lowering.sums(node, "matmul", node.shape, a=a, b=b, transpose_b=transposed, bias=None)
    _rescaled(lowering, node, sums, scales, None)


def _rescaled(
    lowering: MixedLowering, node: FloatNode, sums: str, scales: Scales, bias: str | None
) -> None:
    """Dequantize sums, and quantize the result where it has a quantizer."""
    name = lowering.float_name(node)
    scale = lowering.scale_constant(name, scales)
    lowering.add(Dequantize(name=name, a=sums, step=scale, bias=bias), node.shape)
    lowering.quantize(node)


def _softmax(lowering: MixedLowering, node: FloatNode) -> None:
    lowering.function(node, Function.SOFTMAX, lowering.real(node.inputs[0]))


def _unary(lowering: MixedLowering, node: FloatNode) -> None:
    x = lowering.real(node.inputs[0])
    if node.attributes["function"] == "quick_gelu":
        _quick_gelu(lowering, node, x)
        return
    lowering.function(node, Function(node.attributes["function"]), x)


def _quick_gelu(lowering: MixedLowering, node: FloatNode, x: str) -> None:
    """QuickGELU as SiLU: ``x σ(1.702 x) = silu(1.702 x) / 1.702``."""
    slope = 1.702
    names = [f"{node.name}.scaled", f"{node.name}.silu"]
    scaled = FloatFunction(name=names[0], function=Function.SCALE, inputs=(x,), factor=slope)
    lowering.add(scaled, node.shape)
    gated = FloatFunction(name=names[1], function=Function.SILU, inputs=(names[0],))
    lowering.add(gated, node.shape)
    lowering.function(node, Function.SCALE, names[1], factor=1 / slope)


def _layernorm(lowering: MixedLowering, node: FloatNode) -> None:
    lowering.function(
        node,
        Function.LAYERNORM,
        lowering.real(node.inputs[0]),
        weight=lowering.parameter(node, "weight"),
        bias=lowering.parameter(node, "bias"),
        epsilon=float(node.attributes["epsilon"]),
    )


def _l2norm(lowering: MixedLowering, node: FloatNode) -> None:
    lowering.function(
        node,
        Function.L2NORM,
        lowering.real(node.inputs[0]),
        weight=lowering.parameter(node, "gain"),
        epsilon=float(node.attributes["epsilon"]),
    )


def _add(lowering: MixedLowering, node: FloatNode) -> None:
    a, b = (lowering.real(name) for name in node.inputs)
    lowering.function(node, Function.ADD, a, b)


def _scaled(lowering: MixedLowering, node: FloatNode) -> None:
    source = node.inputs[0]
    if lowering.is_float(source):
        factor = float(node.attributes["factor"])
        lowering.function(node, Function.SCALE, lowering.real(source), factor=factor)
        return
    RULES[FloatOp.SCALE](lowering.builder, node)  # the same codes


def _mean(lowering: MixedLowering, node: FloatNode) -> None:
    axis = node.attributes["axis"]
    lowering.function(node, Function.MEAN, lowering.real(node.inputs[0]), axis=axis)


def _concat(lowering: MixedLowering, node: FloatNode) -> None:
    parts = tuple(lowering.real(name) for name in node.inputs)
    op = Concat(name=lowering.float_name(node), inputs=parts, axis=node.attributes["axis"])
    lowering.add(op, node.shape)
    lowering.quantize(node)


def _mask(lowering: MixedLowering, node: FloatNode) -> None:
    """A sum with the network's constant in float; the integer rule where scores have codes."""
    source = node.inputs[0]
    if not lowering.is_float(source):
        RULES[FloatOp.MASK](lowering.builder, node)
        return
    value = lowering.builder.model.parameter(node.attributes["parameter"])
    # Minus infinity is none of the numbers that a constant can be.
    finite = np.maximum(value, float(np.finfo(np.float32).min) / 4)
    constant = lowering.builder.graph.constant(f"{node.name}.added", finite, FLOAT32)
    lowering.function(node, Function.ADD, lowering.real(source), constant)


def _hadamard(lowering: MixedLowering, node: FloatNode) -> None:
    """A layer whose matrix is the rotation."""
    order, channels = int(node.attributes["order"]), node.shape[-1]
    rotation = np.kron(np.eye(channels // order), hadamard_matrix(order)) / math.sqrt(order)
    matrix = lowering.builder.graph.constant(f"{node.name}.matrix", rotation, FLOAT32)
    x = lowering.real(node.inputs[0])
    lowering.function(node, Function.LINEAR, x, weight=matrix, bias=None)


def _requantized(lowering: MixedLowering, node: FloatNode) -> None:
    """The same real values: a factor of 1 in front of other codes."""
    lowering.function(node, Function.SCALE, lowering.real(node.inputs[0]), factor=1.0)


def _layout(lowering: MixedLowering, node: FloatNode) -> None:
    RULES[node.op](lowering.builder, node)


FLOAT_RULES: Mapping[FloatOp, Callable[[MixedLowering, FloatNode], None]] = MappingProxyType(
    {
        FloatOp.INPUT: _input,
        FloatOp.CONSTANT: _constant,
        FloatOp.LINEAR: _linear,
        FloatOp.MATMUL: _matmul,
        FloatOp.SOFTMAX: _softmax,
        FloatOp.UNARY: _unary,
        FloatOp.LAYERNORM: _layernorm,
        FloatOp.L2NORM: _l2norm,
        FloatOp.ADD: _add,
        FloatOp.SCALE: _scaled,
        FloatOp.MEAN: _mean,
        FloatOp.CONCAT: _concat,
        FloatOp.SLICE: _layout,
        FloatOp.RESHAPE: _layout,
        FloatOp.TRANSPOSE: _layout,
        FloatOp.ROLL: _layout,
        FloatOp.PAD: _layout,
        FloatOp.PATCHES: _layout,
        FloatOp.MASK: _mask,
        FloatOp.HADAMARD: _hadamard,
        FloatOp.REQUANTIZE: _requantized,
    }
)
