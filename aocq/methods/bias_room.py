# SPDX-License-Identifier: Apache-2.0
"""Larger scales for weights whose biases would not fit the chip's bias register.

The scale of a bias is that of the sums: input scale times weight scale. Where weights are all but
zero and their bias is not, it is so small that no chip holds the bias. Products matter so little
there that the weights can have a larger scale.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from aocq.capture import FloatNode, FloatOp
from aocq.methods.quantized_model import QuantizedModel
from aocq.methods.quantizers import QuantizedWeight
from aocq.methods.scale_form import Array, weight_form


def with_room_for_biases(model: QuantizedModel) -> QuantizedModel:
    """Return a model whose biases fit the chip's register; the same one where they do already."""
    bits = model.limits.bias_bits
    if bits is None or model.leaves_floats:
        return model  # real biases are added to real sums
    fitted = model
    for node in model.graph.nodes:
        if node.op is FloatOp.LINEAR and node.attributes["bias"]:
            name = node.attributes["weight"]
            excess = _excess(fitted, node, bits)
            if (excess > 1).any():
                widened = _widened(fitted, fitted.weights[name], excess)
                fitted = replace(fitted, weights={**fitted.weights, name: widened})
    return fitted


def _excess(model: QuantizedModel, node: FloatNode, bits: int) -> Array:
    """Return how many times too large the bias of each row is, [N], or [1] with one scale.

    0 where the products of codes can be as large as the bias: a larger scale would cost precision
    of the layer there, and the chip is too narrow for it.
    """
    weight = model.weights[node.attributes["weight"]]
    real = np.abs(model.parameter(node.attributes["bias"]))
    codes = real / model.bias_scale(node)
    register = 2.0 ** (bits - 1) - 1
    if codes.max() <= register // 2:  # none is too large, whatever the products are
        return np.zeros(len(weight.scale))
    source = max(
        model.recipe.activation_bits,
        model.recipe.end_bits or 0,
        *model.recipe.layers.values_of("a").values(),
        model.limits.residual_bits,
    )
    products = np.abs(weight.codes.astype(np.float64)).sum(axis=1) * 2.0**source
    largest = np.maximum(register - products, register // 2)
    excess: Array = np.where(codes > products, codes / largest, 0.0)
    return excess if len(weight.scale) > 1 else excess.max(keepdims=True)


def _widened(model: QuantizedModel, weight: QuantizedWeight, excess: Array) -> QuantizedWeight:
    """Return the same weights at scales that are larger where ``excess`` is above 1."""
    wanted = weight_form(model.limits).nearest(weight.scale * np.maximum(excess, 1.0))
    scale = np.where(excess > 1, wanted, weight.scale)
    codes = np.rint(weight.codes * (weight.scale / scale)[:, None])
    return replace(weight, codes=codes.astype(np.int8), scale=scale)
