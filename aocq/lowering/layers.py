# SPDX-License-Identifier: Apache-2.0
"""Lowering of matrix products: linear layers, products of two activations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from aocq.capture import FloatNode
from aocq.lowering.builder import Builder, along_channels
from aocq.lowering.operand_codes import scaled_up, scaling
from aocq.methods.scales import compressed, product_scales
from simulator.graph.graph import Tensor
from simulator.graph.ops import MatMul, Requantization, ScaledMatMul
from simulator.numerics.integer_type import IntType


def linear(builder: Builder, node: FloatNode) -> None:
    """The matrix product of a layer; a layer fused with an addition is lowered with that."""
    if node.name in builder.fused_layers:
        return
    builder.result(node)
    sums, scales = builder.model.bias_scale(node), builder.channel_scales(node.name)
    largest = largest_scaled_sum(builder, node)
    requantize = builder.requantization(node.name, "linear", sums, scales, largest_sum=largest)
    builder.graph.append(layer(builder, node, node.name, requantize))


def largest_scaled_sum(builder: Builder, node: FloatNode) -> int:
    """Return a bound of the magnitude of a layer's sums; 0 where their input has plain steps."""
    weights = builder.model.weights[node.attributes["weight"]].codes.astype(np.int64)
    terms = int(np.abs(weights).sum(axis=1).max())
    products = terms * _reach(builder.tensor(node.inputs[0]))
    sums = scaled_up(builder, scaling(builder, node), products)
    return sums and sums + int(np.abs(builder.model.bias_codes(node)).max())


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
    scaled = scaling(builder, node)
    largest = scaled_up(builder, scaled, a.shape[-1] * _reach(a) * _reach(b))
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
                largest_sum=largest,
            ),
        )
    )


def _product(scaled: Mapping[str, Any], **operands: Any) -> MatMul | ScaledMatMul:
    """Return a matrix product, of operands with dynamic steps where ``scaled`` is not empty."""
    return ScaledMatMul(**operands, **scaled) if scaled else MatMul(**operands)
