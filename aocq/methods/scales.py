# SPDX-License-Identifier: Apache-2.0
"""Scales of tensors by channel or by head, and how layout operations and products change them.

They are float64 arrays of the tensor's rank: extent 1 along every dimension in which nothing
varies, so that they broadcast with the tensor.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from aocq.capture import FloatGraph, FloatNode, FloatOp
from aocq.capture.float_graph import patch_positions, sliced
from aocq.methods.quantizers import ActivationQuantizer, QuantizedWeight, Quantizer
from aocq.methods.scale_form import ScaleForm
from aocq.recipes.limits import ChipLimits
from simulator.errors import InputError

Scales = NDArray[np.float64]
Shape = tuple[int, ...]


def quantizer_scales(quantizer: Quantizer, shape: Shape) -> Scales:
    """Return the scales of a tensor of ``shape`` that ``quantizer`` made codes of.

    Of codes with dynamic steps, those of a group whose factor is 1: sums of products of such codes,
    each times its group's factor, have the scales that follow from it.
    """
    if not isinstance(quantizer, ActivationQuantizer):
        return np.full((1,) * len(shape), quantizer.scale)
    scales = quantizer.scale_array()
    return scales.reshape((1,) * (len(shape) - scales.ndim) + scales.shape)


def scales_of(
    graph: FloatGraph, quantizers: Mapping[str, Quantizer], limits: ChipLimits, name: str
) -> Scales:
    """Return the scales of a node's codes.

    Layout nodes have the scales of what they move, scale nodes a multiple of their input's.
    """
    node = graph.node(name)
    if name in quantizers:
        return quantizer_scales(quantizers[name], node.shape)
    source = graph.node(node.inputs[0])
    scales = scales_of(graph, quantizers, limits, source.name)
    if node.op is FloatOp.SCALE:
        # Where files hold scales in float32, they hold this one so, too.
        form = ScaleForm(float32=limits.float32_scales)
        return form.nearest(scales * float(node.attributes["factor"]))
    return moved(scales, source.shape, node)


def compressed(scales: Scales) -> Scales:
    """Return the same scales with extent 1 wherever they are equal, to 1e-9.

    Factors that cancel out leave products that differ by the rounding of float64.
    """
    for axis in range(scales.ndim):
        if _constant(scales, axis):
            scales = scales.take([0], axis)
    return scales


def moved(scales: Scales, shape: Shape, node: FloatNode) -> Scales:
    """Return the scales after a layout operation on a tensor of ``shape``: they move with codes."""
    if scales.size == 1:
        return scales.reshape((1,) * len(node.shape))
    return compressed(_moved(np.broadcast_to(scales, shape), node))


def _moved(scales: Scales, node: FloatNode) -> Scales:
    """Return the scales of every code after a layout operation, from those before it."""
    match node.op:
        case FloatOp.SLICE:
            moved_scales = scales.take(sliced(node), node.attributes["axis"])
        case FloatOp.ROLL:
            moved_scales = np.roll(scales, node.attributes["shift"], node.attributes["axis"])
        case FloatOp.PAD:
            moved_scales = _padded(scales, node)
        case FloatOp.PATCHES:
            parts = [scales[np.ix_(*position)] for position in patch_positions(node)]
            moved_scales = np.concatenate(parts, -1)
        case FloatOp.TRANSPOSE:
            moved_scales = scales.transpose(node.attributes["permutation"])
        case _:
            moved_scales = scales.reshape(node.shape)
    return moved_scales


def _padded(scales: Scales, node: FloatNode) -> Scales:
    """Return the scales with those at both ends repeated: any scale will do for zeros."""
    widths = [(0, 0)] * scales.ndim
    widths[node.attributes["axis"]] = (node.attributes["before"], node.attributes["after"])
    return np.pad(scales, widths, mode="edge")


def linear_scales(node: FloatNode, scales: Scales, weight: QuantizedWeight) -> Scales:
    """Return the scales of a linear layer's sums: of its input's scales and its weight's scales.

    Raises
    ------
    InputError
        If the input's scale differs by channel and the weight does not make up for it.
    """
    columns = scales / np.array(weight.alpha or (1.0,))
    if not _constant(columns, -1):
        raise InputError(
            f"{node.name}: the scale of {node.inputs[0]} varies along the dimension that is summed "
            "over, so integer sums would add codes of different scales; give that tensor one "
            "scale, or make the weight carry its factors"
        )
    sums: Scales = columns.take([0], -1) * weight.scale
    return sums


def product_scales(node: FloatNode, a: Scales, b: Scales) -> Scales:
    """Return the scales of the sums of a product of two activations.

    Raises
    ------
    InputError
        If the product of the scales differs along the dimension that is summed over. Each of them
        may: factors on one operand and their inverse on the other cancel out.
    """
    right = np.swapaxes(b, -1, -2) if node.attributes["transpose_b"] else b
    products = a[..., :, :, None] * right[..., None, :, :]  # [..., M, K, N]
    if not _constant(products, -2):
        raise InputError(
            f"{node.name}: the product of the scales of {' and '.join(node.inputs)} varies along "
            "the dimension that is summed over, so integer sums would add codes of different "
            "scales; give each tensor one scale, or one per head, or factors that cancel out"
        )
    sums: Scales = products[..., 0, :]
    return sums


def _constant(scales: Scales, axis: int) -> bool:
    """Whether scales are the same along ``axis``, but for the rounding of float64."""
    return bool(np.allclose(scales, scales.take([0], axis), rtol=1e-9, atol=0))


def as_scale(scales: Scales) -> tuple[float, ...]:
    """Return the ``scale`` of a graph's tensor: one, one per channel, or none that it can hold."""
    if math.prod(scales.shape[:-1]) > 1:
        return ()
    return tuple(scales.reshape(-1).tolist())
