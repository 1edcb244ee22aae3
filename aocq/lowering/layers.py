# SPDX-License-Identifier: Apache-2.0
"""Lowering of matrix products: linear layers, products of two activations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from aocq.capture import FloatNode
from aocq.capture.residual_stream import arithmetic_source
from aocq.lowering.builder import Builder, along_channels
from aocq.lowering.operand_codes import room_for_multipliers, scaling
from aocq.methods.logarithmic_rows import LogarithmicQuantizer
from aocq.methods.scales import Scales, compressed, product_scales
from simulator.errors import InputError
from simulator.graph.graph import Tensor
from simulator.graph.ops import MatMul, NormalizedMatMul, Requantization, ScaledMatMul
from simulator.numerics.fixed_point import LARGEST_SHIFT
from simulator.numerics.integer_type import IntType
from simulator.numerics.softmax_constants import LEVEL_BITS
from simulator.profile import DeferredLog2Softmax


def linear(builder: Builder, node: FloatNode) -> None:
    """The matrix product of a layer; a layer fused with an addition is lowered with that."""
    if node.name in builder.fused_layers:
        return
    builder.result(node)
    sums, scales = builder.model.bias_scale(node), builder.channel_scales(node.name)
    room = multiplier_room(builder, node)
    requantize = builder.requantization(node.name, "linear", sums, scales, most_bits=room)
    builder.graph.append(layer(builder, node, node.name, requantize))


def multiplier_room(builder: Builder, node: FloatNode) -> int:
    """Return how many bits a multiplier of a layer's sums may have."""
    weights = builder.model.weights[node.attributes["weight"]].codes.astype(np.int64)
    largest = int(np.abs(weights).sum(axis=1).max()) * _reach(builder.tensor(node.inputs[0]))
    bias = int(np.abs(builder.model.bias_codes(node)).max())
    return room_for_multipliers(builder, scaling(builder, node), largest, bias)


def _reach(x: Tensor) -> int:
    """Return the largest magnitude of a tensor's codes."""
    return max(-x.code_type.low, x.code_type.high)


def layer(
    builder: Builder, node: FloatNode, name: str, requantize: Requantization, **residual: Any
) -> MatMul | ScaledMatMul:
    """Return a layer's matrix product; its integer bias contains the input's zero point."""
    x = builder.tensor(node.inputs[0])
    weight = builder.model.weights[node.attributes["weight"]]
    bias = builder.model.bias_codes(node)
    codes = bias - x.zero_point * weight.codes.sum(axis=1, dtype=np.int64)
    bias_type = IntType(bits=builder.profile.accumulator_of("linear").bias_bits)
    return _product(
        scaling(builder, node),
        name=name,
        a=x.name,
        b=builder.constant(f"{node.name}.weight", weight.codes, IntType(bits=weight.bits)),
        transpose_b=True,
        bias=builder.constant(f"{node.name}.bias", codes, bias_type),
        accumulator=builder.accumulator("linear"),
        requantize=requantize,
        **residual,
    )


def matmul(builder: Builder, node: FloatNode) -> None:
    """The product of two activations, whose sums must have one scale for all heads."""
    a, b = (builder.tensor(name) for name in node.inputs)
    builder.result(node)
    sums = product_scales(node, *map(builder.model.scales, node.inputs))
    factors = along_channels(f"{node.name} (its sums)", compressed(sums))
    source = arithmetic_source(builder.model.graph, node.inputs[0])
    quantizer = builder.model.activations.get(source.name)
    if isinstance(quantizer, LogarithmicQuantizer):
        _normalized(builder, node, factors, source.name, quantizer)
        return
    scaled = scaling(builder, node)
    largest = a.shape[-1] * _reach(a) * _reach(b)
    builder.graph.append(
        _product(
            scaled,
            name=node.name,
            a=a.name,
            b=b.name,
            transpose_b=node.attributes["transpose_b"],
            bias=None,
            accumulator=builder.accumulator("matmul"),
            requantize=builder.requantization(
                node.name,
                "matmul",
                factors,
                builder.channel_scales(node.name),
                most_bits=room_for_multipliers(builder, scaled, largest),
            ),
        )
    )


def _product(scaled: Mapping[str, Any], **operands: Any) -> MatMul | ScaledMatMul:
    """Return a matrix product, of operands with dynamic steps where ``scaled`` is not empty."""
    return ScaledMatMul(**operands, **scaled) if scaled else MatMul(**operands)


def _normalized(
    builder: Builder,
    node: FloatNode,
    factors: Scales,
    softmax: str,
    quantizer: LogarithmicQuantizer,
) -> None:
    """The product of a softmax's logarithms, divided by the sum of each row's levels.

    Multipliers have as many bits as 64 bits leave room for behind the reciprocal.
    """
    profile = builder.profile
    assert isinstance(profile.softmax, DeferredLog2Softmax)  # the softmax was lowered to it
    if scaling(builder, node):
        raise InputError(
            f"{node.inputs[1]}: its steps are found as the chip runs, and the product with "
            f"{softmax} divides by the sum of levels alone; quantize it statically"
        )
    bits = profile.softmax.reciprocal_bits
    a, b = (builder.tensor(name) for name in node.inputs)
    table = f"{softmax}.levels"
    if table not in builder.graph.tensors:
        builder.constant(table, np.array(quantizer.levels), IntType(bits=LEVEL_BITS, signed=False))
    largest_sum = a.shape[-1] * quantizer.levels[0]
    widest = -b.code_type.low * ((1 << bits) + largest_sum // 2)
    builder.graph.append(
        NormalizedMatMul(
            name=node.name,
            a=a.name,
            b=b.name,
            levels=table,
            transpose_b=node.attributes["transpose_b"],
            reciprocal_bits=bits,
            accumulator=builder.accumulator("matmul"),
            requantize=builder.requantization(
                node.name,
                "matmul",
                factors * 2.0**-bits,
                builder.channel_scales(node.name),
                most_bits=LARGEST_SHIFT - widest.bit_length(),
            ),
        )
    )
