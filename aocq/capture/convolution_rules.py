# SPDX-License-Identifier: Apache-2.0
"""Capture rules of convolutions and BatchNorm.

A convolution is a gathering of patches and one linear layer.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from aocq.capture.float_graph import FloatOp
from aocq.capture.folding import affine, fold_behind
from aocq.capture.translator import (
    Constant,
    FxNode,
    Translator,
    Value,
    path,
    rank,
    with_defaults,
)


class _Window(NamedTuple):
    """Kernel, stride and padding of a convolution, of rows and of columns."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]


def conv2d(t: Translator, node: FxNode) -> Value:
    """Patches side by side, as embeddings cut them, or overlapping ones; then one linear layer."""
    x = t.front(node, node.args[0])
    weight_arg, bias, stride, padding, dilation, groups = with_defaults(
        node, (None, None, [1, 1], [0, 0], [1, 1], 1)
    )
    if x.parts > 1:
        raise t.unsupported(node, "convolves parts of images")
    if groups != 1:
        raise t.unsupported(node, f"has {groups} groups: only dense convolutions have a lowering")
    if set(dilation) != {1}:
        raise t.unsupported(node, f"has the dilation {tuple(dilation)}")
    weight_name = t.parameter(weight_arg)
    assert weight_name is not None
    weight = t.parameters[weight_name]
    outputs, channels, height, width = weight.shape
    window = _Window((height, width), _pair(stride), _pair(padding))
    _, down, across = x.image_shape(tuple(node.meta["val"].shape))
    _, rows, columns = t.nodes[x.name].shape
    if window.kernel == window.stride and (down * height, across * width) == (rows, columns):
        patches = _side_by_side(t, node, x, channels, window, (down, across))
        flat = weight.reshape(outputs, -1)
    else:
        patches = _overlapping(t, node, x, channels, window, (down, across))
        flat = weight.permute(0, 2, 3, 1).reshape(outputs, -1)
    layer = t.add_node(
        path(node),
        FloatOp.LINEAR,
        (patches.name,),
        {"weight": t.changed(weight_name, flat), "bias": t.parameter(bias)},
        (down * across, outputs),
    )
    channel_first = t.emit(
        node,
        FloatOp.TRANSPOSE,
        (Value(layer, 0),),
        shape=(outputs, down * across),
        permutation=(1, 0),
    )
    return t.emit(node, FloatOp.RESHAPE, (channel_first,), shape=(outputs, down, across))


def _pair(extents: list[int]) -> tuple[int, int]:
    return extents[0], extents[-1]


def _side_by_side(
    t: Translator, node: FxNode, x: Value, channels: int, window: _Window, grid: tuple[int, int]
) -> Value:
    """Cut an image [channels, rows, columns] into patches [patches, channels * height * width]."""
    (down, across), (height, width) = grid, window.kernel
    split = t.emit(node, FloatOp.RESHAPE, (x,), shape=(channels, down, height, across, width))
    moved = t.emit(
        node,
        FloatOp.TRANSPOSE,
        (split,),
        shape=(down, across, channels, height, width),
        permutation=(1, 3, 0, 2, 4),
    )
    size = channels * height * width
    return t.emit(node, FloatOp.RESHAPE, (moved,), shape=(down * across, size))


def _overlapping(
    t: Translator, node: FxNode, x: Value, channels: int, window: _Window, grid: tuple[int, int]
) -> Value:
    """Gather patches [patches, height * width * channels], channels together so that runs move."""
    _, *extents = t.nodes[x.name].shape
    x = t.emit(node, FloatOp.TRANSPOSE, (x,), shape=(*extents, channels), permutation=(1, 2, 0))
    for axis, (beside, stride) in enumerate(zip(window.padding, window.stride, strict=True)):
        # Behind, no more than the last patch reaches.
        reach = (grid[axis] - 1) * stride + window.kernel[axis]
        after = max(reach - beside - extents[axis], 0)
        if beside or after:
            extents[axis] += beside + after
            x = t.emit(
                node,
                FloatOp.PAD,
                (x,),
                shape=(*extents, channels),
                axis=axis,
                before=beside,
                after=after,
            )
    size = window.kernel[0] * window.kernel[1] * channels
    if window.kernel == (1, 1):  # some of the pixels
        for axis, stride in enumerate(window.stride):
            stop = extents[axis]
            extents[axis] = grid[axis]
            bounds = {"axis": axis, "start": 0, "stop": stop, "step": stride}
            if stride > 1:
                x = t.emit(node, FloatOp.SLICE, (x,), shape=(*extents, channels), **bounds)
        return t.emit(node, FloatOp.RESHAPE, (x,), shape=(grid[0] * grid[1], size))
    gathered = t.emit(
        node,
        FloatOp.PATCHES,
        (x,),
        shape=(*grid, size),
        kernel=window.kernel,
        stride=window.stride,
    )
    return t.emit(node, FloatOp.RESHAPE, (gathered,), shape=(grid[0] * grid[1], size))


def batch_norm(t: Translator, node: FxNode) -> Value:
    """(x - mean) / sqrt(variance + ε) γ + β of each channel: folded into the layer beside it."""
    weight, bias, mean, variance, training, _, epsilon, *_ = with_defaults(
        node, (None, None, None, None, False, 0.1, 1e-5, True)
    )
    if training or mean is None or variance is None:
        raise t.unsupported(node, "normalizes by what a batch happens to hold")
    known = {
        key: None if argument is None else _constant(t, node, argument)
        for key, argument in (("weight", weight), ("bias", bias))
    }
    scale = _constant(t, node, variance).add(epsilon).rsqrt()
    factor = scale if known["weight"] is None else scale * known["weight"]
    offset = -_constant(t, node, mean) * factor
    if known["bias"] is not None:
        offset = offset + known["bias"]
    behind = (1,) * (rank(node) - 2)
    found = fold_behind(
        t, node, node.args[0], factor.reshape(-1, *behind), offset.reshape(-1, *behind)
    )
    if found is not None:
        return found
    x = t.front(node, node.args[0])
    if rank(node) > 2 or x.parts > 1:
        raise t.unsupported(node, "only BatchNorm beside a layer can be folded")
    return affine(t, node, x, factor, offset)


def _constant(t: Translator, node: FxNode, argument: FxNode) -> torch.Tensor:
    found = t.values[argument.name]
    if not isinstance(found, Constant):
        raise t.unsupported(node, "normalizes by what the network computes")
    return found.tensor.double()
