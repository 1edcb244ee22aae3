# SPDX-License-Identifier: Apache-2.0
"""Capture rules of operators that only move values: one function per operator.

A rule takes the translation and a torch node, appends nodes, and returns what the torch node
became. ``aocq.capture.export`` has the table.
"""

from __future__ import annotations

from aocq.capture.float_graph import FloatOp
from aocq.capture.translator import (
    BATCH,
    FxNode,
    Translator,
    Value,
    rank,
    with_defaults,
)


def same(t: Translator, node: FxNode) -> Value:
    """An operator that does nothing in evaluation."""
    return t.value(node.args[0])


def reshape(t: Translator, node: FxNode) -> Value:
    """Images stay in front; parts of them may join and leave the batch dimension."""
    x = t.front(node, node.args[0])
    parts, rest = divmod(node.meta["val"].shape[0], BATCH)
    if rest or not parts:
        raise t.unsupported(node, "merges the batch dimension with one in front of it")
    return t.emit(node, FloatOp.RESHAPE, (x,), parts=parts)


def _permuted(t: Translator, node: FxNode, permutation: list[int]) -> Value:
    x = t.value(node.args[0])
    batch_axis = permutation.index(x.batch_axis)
    image = tuple(
        axis if x.parts > 1 else x.axis(axis)
        for axis in permutation
        if x.parts > 1 or axis != x.batch_axis
    )
    return t.emit(node, FloatOp.TRANSPOSE, (x,), batch_axis=batch_axis, permutation=image)


def permute(t: Translator, node: FxNode) -> Value:
    """Dimensions in another order."""
    return _permuted(t, node, [axis % rank(node.args[0]) for axis in node.args[1]])


def transpose(t: Translator, node: FxNode) -> Value:
    """Two dimensions change places."""
    dimensions = rank(node.args[0])
    permutation = list(range(dimensions))
    first, second = node.args[1] % dimensions, node.args[2] % dimensions
    permutation[first], permutation[second] = second, first
    return _permuted(t, node, permutation)


def _run_of(
    t: Translator, node: FxNode, x: Value, axis: int, start: int, stop: int, step: int = 1
) -> Value:
    """Elements ``start`` to ``stop`` along an axis of one image, every one or every n-th."""
    shape = t.nodes[x.name].shape
    extent = len(range(start, stop, step))
    return t.emit(
        node,
        FloatOp.SLICE,
        (x,),
        batch_axis=x.batch_axis,
        shape=(*shape[:axis], extent, *shape[axis + 1 :]),
        axis=axis,
        start=start,
        stop=stop,
        **({"step": step} if step > 1 else {}),
    )


def _take(t: Translator, node: FxNode, source: FxNode, dimension: int, index: int) -> Value:
    """Element ``index`` of a dimension, which disappears."""
    x = t.value(source)
    dimension %= rank(source)
    axis = x.axis(dimension)
    if axis < 0:
        raise t.unsupported(node, "takes one image of the batch")
    shape = t.nodes[x.name].shape
    index %= shape[axis]
    part = _run_of(t, node, x, axis, index, index + 1)
    batch_axis = x.batch_axis - (dimension < x.batch_axis)
    dropped = t.emit(node, FloatOp.RESHAPE, (part,), shape=shape[:axis] + shape[axis + 1 :])
    return Value(dropped.name, batch_axis, x.parts)


def select(t: Translator, node: FxNode) -> Value:
    """One element of a dimension."""
    return _take(t, node, node.args[0], node.args[1], node.args[2])


def several(_: Translator, node: FxNode) -> FxNode:
    """Parts along a dimension: resolved by :func:`getitem`, which knows the index."""
    return node


def getitem(t: Translator, node: FxNode) -> Value:
    """One of the elements that ``unbind`` gives, or of the runs that ``split`` and ``chunk`` do."""
    source, index = node.args
    kind = str(source.target)
    if kind == "aten.unbind.int":
        dimension = source.args[1] if len(source.args) > 1 else 0
        return _take(t, node, source.args[0], dimension, index)
    if kind not in {"aten.split.Tensor", "aten.split_with_sizes.default", "aten.chunk.default"}:
        raise t.unsupported(node, f"takes one result of {source.target}")
    dimension = (source.args[2] if len(source.args) > 2 else 0) % rank(source.args[0])
    extents = [part.shape[dimension] for part in source.meta["val"]]
    x = t.value(source.args[0])
    axis = x.axis(dimension)
    if axis < 0:
        raise t.unsupported(source, "splits the batch")
    start = sum(extents[:index])
    return _run_of(t, node, x, axis, start, start + extents[index])


def slice_(t: Translator, node: FxNode) -> Value:
    """A run of elements along a dimension, or every n-th of it."""
    dimension, start, stop, step = with_defaults(node, (0, None, None, 1))
    x = t.value(node.args[0])
    axis = x.axis(dimension % rank(node.args[0]))
    extent = node.args[0].meta["val"].shape[dimension]
    start, stop, step = slice(start, stop, step).indices(extent)
    if (start, stop, step) == (0, extent, 1):
        return x
    if axis < 0:
        raise t.unsupported(node, "slices the batch")
    return _run_of(t, node, x, axis, start, stop, step)


def unsqueeze(t: Translator, node: FxNode) -> Value:
    """A new dimension of extent 1, which may come in front of the batch dimension."""
    x = t.value(node.args[0])
    batch_axis = x.batch_axis + (node.args[1] % rank(node) <= x.batch_axis)
    return t.emit(node, FloatOp.RESHAPE, (x,), batch_axis=batch_axis)


def expand(t: Translator, node: FxNode) -> Value:
    """A token for every image."""
    x = t.value(node.args[0])
    if t.nodes[x.name].op is not FloatOp.CONSTANT or (
        tuple(node.meta["val"].shape[1:]) != t.nodes[x.name].shape
    ):
        raise t.unsupported(node, "repeats something else than a token along the batch")
    return x


def cat(t: Translator, node: FxNode) -> Value:
    """One tensor behind the other."""
    inputs = tuple(t.front(node, argument) for argument in node.args[0])
    dimension = (node.args[1] if len(node.args) > 1 else 0) % rank(node)
    parts = {x.parts for x in inputs if t.nodes[x.name].op is not FloatOp.CONSTANT}
    if dimension == 0 or len(parts) > 1 or (parts != {1} and len(parts) < len(inputs)):
        raise t.unsupported(node, "concatenates along the batch")
    return t.emit(
        node, FloatOp.CONCAT, inputs, axis=Value("", 0, *parts).axis(dimension), parts=max(parts)
    )


def roll(t: Translator, node: FxNode) -> Value:
    """A cyclic shift, one node for each dimension."""
    shifts, dimensions = with_defaults(node, ([], []))
    x = t.value(node.args[0])
    if not dimensions:
        raise t.unsupported(node, "shifts all elements in one row, those of all images")
    for shift, dimension in zip(shifts, dimensions, strict=True):
        axis = x.axis(dimension % rank(node.args[0]))
        if axis < 0:
            raise t.unsupported(node, "shifts images of the batch")
        places = shift % t.nodes[x.name].shape[axis]
        if places:
            x = t.emit(node, FloatOp.ROLL, (x,), batch_axis=x.batch_axis, axis=axis, shift=places)
    return x


def pad(t: Translator, node: FxNode) -> Value:
    """Zeros before and behind, one node for each dimension."""
    widths, mode, value = with_defaults(node, ([], "constant", None))
    x = t.value(node.args[0])
    if mode != "constant" or value or min(widths) < 0:
        raise t.unsupported(node, "pads with something else than zeros")
    for index in range(0, len(widths), 2):
        before, after = widths[index : index + 2]
        axis = x.axis(rank(node) - 1 - index // 2)
        if (before, after) == (0, 0):
            continue
        if axis < 0:
            raise t.unsupported(node, "pads the batch")
        shape = list(t.nodes[x.name].shape)
        shape[axis] += before + after
        x = t.emit(
            node,
            FloatOp.PAD,
            (x,),
            batch_axis=x.batch_axis,
            shape=tuple(shape),
            axis=axis,
            before=before,
            after=after,
        )
    return x
