# SPDX-License-Identifier: Apache-2.0
"""What one code of a tensor is worth, where that differs by channel or by head.

Steps are float64 arrays of the tensor's rank: extent 1 along every dimension in which nothing
varies, so that they broadcast with the tensor.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from aocq.capture import FloatNode, FloatOp
from aocq.capture.float_graph import patch_positions, sliced
from aocq.methods.quantizers import LevelQuantizer, QuantizedWeight, Quantizer
from simulator.errors import InputError

Steps = NDArray[np.float64]
Shape = tuple[int, ...]


def quantizer_steps(quantizer: Quantizer, shape: Shape) -> Steps:
    """Return the steps of a tensor of ``shape`` that ``quantizer`` made codes of."""
    if isinstance(quantizer, LevelQuantizer):
        return np.full((1,) * len(shape), quantizer.scale)
    steps: Steps = quantizer.steps().numpy()
    return steps.reshape((1,) * (len(shape) - steps.ndim) + steps.shape)


def compressed(steps: Steps) -> Steps:
    """Return the same steps with extent 1 wherever they are equal, to 1e-9.

    Factors that cancel out leave products that differ by the rounding of float64.
    """
    for axis in range(steps.ndim):
        if _constant(steps, axis):
            steps = steps.take([0], axis)
    return steps


def moved(steps: Steps, shape: Shape, node: FloatNode) -> Steps:
    """Return the steps after a layout operation on a tensor of ``shape``: they move with codes."""
    if steps.size == 1:
        return steps.reshape((1,) * len(node.shape))
    return compressed(_moved(np.broadcast_to(steps, shape), node))


def _moved(steps: Steps, node: FloatNode) -> Steps:
    """Return the steps of every code after a layout operation, from those before it."""
    match node.op:
        case FloatOp.SLICE:
            found = steps.take(sliced(node), node.attributes["axis"])
        case FloatOp.ROLL:
            found = np.roll(steps, node.attributes["shift"], node.attributes["axis"])
        case FloatOp.PAD:
            found = _padded(steps, node)
        case FloatOp.PATCHES:
            parts = [steps[np.ix_(*position)] for position in patch_positions(node)]
            found = np.concatenate(parts, -1)
        case FloatOp.TRANSPOSE:
            found = steps.transpose(node.attributes["permutation"])
        case _:
            found = steps.reshape(node.shape)
    return found


def _padded(steps: Steps, node: FloatNode) -> Steps:
    """Return the steps with those at both ends repeated: any step will do for zeros."""
    widths = [(0, 0)] * steps.ndim
    widths[node.attributes["axis"]] = (node.attributes["before"], node.attributes["after"])
    return np.pad(steps, widths, mode="edge")


def linear_steps(node: FloatNode, steps: Steps, weight: QuantizedWeight) -> Steps:
    """Return the steps of a linear layer's sums: of its input's steps and its weight's scales.

    Raises
    ------
    InputError
        If the input's step differs by channel and the weight does not make up for it.
    """
    columns = steps / np.array(weight.alpha or (1.0,))
    if not _constant(columns, -1):
        raise InputError(
            f"{node.name}: the step of {node.inputs[0]} varies along the dimension that is summed "
            "over, so integer sums would add codes of different worth; give that tensor one step, "
            "or make the weight carry its factors"
        )
    sums: Steps = columns.take([0], -1) * weight.scale
    return sums


def product_steps(node: FloatNode, a: Steps, b: Steps) -> Steps:
    """Return the steps of the sums of a product of two activations.

    Raises
    ------
    InputError
        If the product of the steps differs along the dimension that is summed over. Each of them
        may: factors on one operand and their inverse on the other cancel out.
    """
    right = np.swapaxes(b, -1, -2) if node.attributes["transpose_b"] else b
    products = a[..., :, :, None] * right[..., None, :, :]  # [..., M, K, N]
    if not _constant(products, -2):
        raise InputError(
            f"{node.name}: the product of the steps of {' and '.join(node.inputs)} varies along "
            "the dimension that is summed over, so integer sums would add codes of different "
            "worth; give each tensor one step, or one per head, or factors that cancel out"
        )
    sums: Steps = products[..., 0, :]
    return sums


def _constant(steps: Steps, axis: int) -> bool:
    """Whether steps are the same along ``axis``, but for the rounding of float64."""
    return bool(np.allclose(steps, steps.take([0], axis), rtol=1e-9, atol=0))


def as_scale(steps: Steps) -> tuple[float, ...]:
    """Return the ``scale`` of a graph's tensor: one, one per channel, or none that it can hold."""
    if math.prod(steps.shape[:-1]) > 1:
        return ()
    return tuple(steps.reshape(-1).tolist())
