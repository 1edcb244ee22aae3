# SPDX-License-Identifier: Apache-2.0
"""Lowering rules, one per float operation. A table at the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from aocq.capture import FloatNode, FloatOp
from aocq.capture.float_graph import patch_positions
from aocq.lowering.builder import Builder, along_channels
from aocq.lowering.functions import unary
from aocq.lowering.layers import linear, matmul
from aocq.lowering.normalization import l2norm, layernorm
from aocq.lowering.operand_codes import hadamard, requantize
from aocq.lowering.softmax import mask, softmax
from aocq.lowering.sums import add, mean
from aocq.methods.scales import Scales, as_scale, compressed
from simulator.graph.graph import Role, Tensor
from simulator.graph.ops import Concat, Rescale, Reshape, Slice, Transpose


def _input(builder: Builder, node: FloatNode) -> None:
    quantizer = builder.quantizer(node)
    builder.graph.input(
        node.name,
        node.shape,
        quantizer.type,
        quantizer.zero_point,
        (builder.scale(node.name, "the image"),),
    )


def _constant(builder: Builder, node: FloatNode) -> None:
    quantizer = builder.quantizer(node)
    value = builder.model.parameter(node.attributes["parameter"]).reshape(node.shape)
    codes = quantizer.integer_codes(value)
    scale = as_scale(builder.model.scales(node.name))
    builder.constant(node.name, codes, quantizer.type, quantizer.zero_point, scale)


def _scaled(builder: Builder, node: FloatNode) -> None:
    """No op: the same codes under another scale."""
    x = builder.tensor(node.inputs[0])
    builder.aliases[node.name] = Tensor(
        name=x.name,
        shape=x.shape,
        type=x.type,
        role=x.role,
        zero_point=x.zero_point,
        scale=() if x.is_float else as_scale(builder.model.scales(node.name)),
    )


def _concat(builder: Builder, node: FloatNode) -> None:
    """Parts at other scales are rescaled first, constants already here."""
    y = builder.result(node)
    axis = node.attributes["axis"]
    everywhere = np.broadcast_to(builder.model.scales(node.name), node.shape)
    names: list[str] = []
    start = 0
    for source in node.inputs:
        part = builder.tensor(source)
        own = builder.model.scales(source)
        index = range(start, start + part.shape[axis])
        start = index.stop
        scales = compressed(everywhere.take(index, axis))
        same_scales = np.array_equal(compressed(own), scales)
        if same_scales and (part.type, part.zero_point) == (y.type, y.zero_point):
            names.append(part.name)
            continue
        name = f"{node.name}.rescale_{len(names)}"
        names.append(name)
        if part.role is Role.CONSTANT:
            real = (builder.graph.constants[part.name].astype(np.float64) - part.zero_point) * own
            codes = np.clip(
                np.rint(real / scales) + y.zero_point, y.code_type.low, y.code_type.high
            )
            builder.constant(name, codes, y.code_type, y.zero_point, as_scale(scales))
            continue
        builder.graph.declare(name, part.shape, y.type, y.zero_point, as_scale(scales))
        requantize = builder.requantization(
            name, "rescale", along_channels(source, own), along_channels(node.name, scales)
        )
        builder.graph.append(Rescale(name=name, a=part.name, requantize=requantize))
    builder.graph.append(Concat(name=node.name, inputs=tuple(names), axis=axis))


def _slice(builder: Builder, node: FloatNode) -> None:
    x = builder.tensor(node.inputs[0])
    builder.like(node, x)
    builder.graph.append(Slice(name=node.name, a=x.name, **node.attributes))


def _reshape(builder: Builder, node: FloatNode) -> None:
    x = builder.tensor(node.inputs[0])
    builder.like(node, x)
    builder.graph.append(Reshape(name=node.name, a=x.name))


def _transpose(builder: Builder, node: FloatNode) -> None:
    x = builder.tensor(node.inputs[0])
    builder.like(node, x)
    builder.graph.append(Transpose(name=node.name, a=x.name, **node.attributes))


def _everywhere(builder: Builder, name: str, shape: tuple[int, ...]) -> Scales:
    return np.broadcast_to(builder.model.scales(name), shape)


def _patches(builder: Builder, node: FloatNode) -> None:
    """Slices for each position in the kernel, rows first, and their concatenation."""
    x = builder.tensor(node.inputs[0])
    scales = None if x.is_float else _everywhere(builder, node.inputs[0], x.shape)
    width = node.attributes["kernel"][1]
    rows, names, kept = x, [], scales
    for index, (down, across) in enumerate(patch_positions(node)):
        if index % width == 0:
            rows, kept = _part(builder, f"{node.name}.rows_{index // width}", x, scales, 0, down)
        name = f"{node.name}.part_{index}"
        names.append(_part(builder, name, rows, kept, 1, across)[0].name)
    builder.like(node, x)
    builder.graph.append(Concat(name=node.name, inputs=tuple(names), axis=2))


def _part(
    builder: Builder, name: str, x: Tensor, scales: Scales | None, axis: int, taken: range
) -> tuple[Tensor, Scales | None]:
    """Return the elements ``taken`` along ``axis``, and their scales; no op where it is all."""
    if taken == range(x.shape[axis]):
        return x, scales
    shape = (*x.shape[:axis], len(taken), *x.shape[axis + 1 :])
    kept = None if scales is None else scales.take(taken, axis)
    scale = () if kept is None else as_scale(compressed(kept))
    builder.graph.declare(name, shape, x.type, x.zero_point, scale)
    builder.graph.append(
        Slice(name=name, a=x.name, axis=axis, start=taken.start, stop=taken.stop, step=taken.step)
    )
    return builder.graph.tensors[name], kept


def _roll(builder: Builder, node: FloatNode) -> None:
    """The end of a dimension, then its beginning: two slices put together."""
    x = builder.tensor(node.inputs[0])
    axis, shift = node.attributes["axis"], node.attributes["shift"]
    cut = x.shape[axis] - shift
    everywhere = None if x.is_float else _everywhere(builder, node.inputs[0], x.shape)
    names = []
    for part, start, stop in (("end", cut, x.shape[axis]), ("beginning", 0, cut)):
        names.append(f"{node.name}.{part}")
        shape = (*x.shape[:axis], stop - start, *x.shape[axis + 1 :])
        scale: tuple[float, ...] = ()
        if everywhere is not None:
            scale = as_scale(compressed(everywhere.take(range(start, stop), axis)))
        builder.graph.declare(names[-1], shape, x.type, x.zero_point, scale)
        builder.graph.append(Slice(name=names[-1], a=x.name, axis=axis, start=start, stop=stop))
    builder.like(node, x)
    builder.graph.append(Concat(name=node.name, inputs=tuple(names), axis=axis))


def _pad(builder: Builder, node: FloatNode) -> None:
    """Constant codes of 0 before and behind."""
    x = builder.tensor(node.inputs[0])
    axis = node.attributes["axis"]
    names = [x.name]
    for part, extent in (
        ("before", node.attributes["before"]),
        ("after", node.attributes["after"]),
    ):
        if extent:
            shape = (*x.shape[:axis], extent, *x.shape[axis + 1 :])
            zeros = builder.zeros(f"{node.name}.{part}", shape, x)
            names.insert(0 if part == "before" else len(names), zeros)
    builder.like(node, x)
    builder.graph.append(Concat(name=node.name, inputs=tuple(names), axis=axis))


RULES: Mapping[FloatOp, Callable[[Builder, FloatNode], None]] = MappingProxyType(
    {
        FloatOp.INPUT: _input,
        FloatOp.CONSTANT: _constant,
        FloatOp.LINEAR: linear,
        FloatOp.MATMUL: matmul,
        FloatOp.SOFTMAX: softmax,
        FloatOp.UNARY: unary,
        FloatOp.LAYERNORM: layernorm,
        FloatOp.L2NORM: l2norm,
        FloatOp.ADD: add,
        FloatOp.SCALE: _scaled,
        FloatOp.MEAN: mean,
        FloatOp.CONCAT: _concat,
        FloatOp.SLICE: _slice,
        FloatOp.RESHAPE: _reshape,
        FloatOp.TRANSPOSE: _transpose,
        FloatOp.ROLL: _roll,
        FloatOp.PAD: _pad,
        FloatOp.PATCHES: _patches,
        FloatOp.MASK: mask,
        FloatOp.HADAMARD: hadamard,
        FloatOp.REQUANTIZE: requantize,
    }
)
