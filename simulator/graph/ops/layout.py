# SPDX-License-Identifier: Apache-2.0
"""Ops that only move codes, or real values: no arithmetic.

Types and zero points stay.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from simulator.graph.graph import IntGraph
from simulator.graph.op import Op, TensorId, added
from simulator.graph.ops.spec import OpSpec, no_intermediates
from simulator.graph.shapes import Shape


def _axis(op: Concat | Slice, shape: Shape) -> int:
    if not 0 <= op.axis < len(shape):
        raise ValueError(f"axis {op.axis} of {shape}")
    return op.axis


@dataclass(frozen=True, slots=True, kw_only=True)
class Concat(Op):
    """Concatenation along dimension ``axis`` of tensors with one type and zero point."""

    operand_fields: ClassVar[tuple[str, ...]] = ("inputs",)

    inputs: tuple[TensorId, ...]
    axis: int


def _concat_shape(op: Concat, shapes: Sequence[Shape], _: Shape) -> Shape:
    axis = _axis(op, shapes[0])
    rests = {shape[:axis] + shape[axis + 1 :] for shape in shapes}
    if len(rests) != 1:
        raise ValueError(f"cannot concatenate {shapes} along {axis}")
    total = sum(shape[axis] for shape in shapes)
    return shapes[0][:axis] + (total,) + shapes[0][axis + 1 :]


def _concat_batch(graph: IntGraph, op: Concat) -> Iterator[str]:
    if all(graph.is_constant(name) for name in op.inputs):
        yield "all operands are constants"


def _concat_text(_: IntGraph, op: Concat) -> str:
    return f"{' ⧺ '.join(op.inputs)} along {op.axis}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice(Op):
    """Part of dimension ``axis``: the elements start, start + step, and so on, below stop."""

    a: TensorId
    axis: int
    start: int
    stop: int
    step: int = added(1)


def _slice_shape(op: Slice, shapes: Sequence[Shape], _: Shape) -> Shape:
    shape = shapes[0]
    axis = _axis(op, shape)
    if not 0 <= op.start < op.stop <= shape[axis]:
        raise ValueError(f"{op.start}:{op.stop} of dimension {axis} of {shape}")
    if op.step < 1:
        raise ValueError(f"step {op.step}: must be 1 or more")
    return shape[:axis] + (len(range(op.start, op.stop, op.step)),) + shape[axis + 1 :]


def _slice_is_view(graph: IntGraph, op: Slice) -> bool:
    """Tell whether a slice is a contiguous run of its operand, which is stored in row-major order.

    It is where nothing lies outside the cut dimension: along the first one, or behind dimensions
    of extent 1. A step gathers.
    """
    return op.step == 1 and math.prod(graph.tensors[op.a].shape[: op.axis]) == 1


def _slice_text(_: IntGraph, op: Slice) -> str:
    return f"{op.a} {op.start}:{op.stop}{f':{op.step}' * (op.step > 1)} of {op.axis}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reshape(Op):
    """The same codes in row-major order under another shape, that of the result."""

    a: TensorId


def _reshape_shape(_: Reshape, shapes: Sequence[Shape], result: Shape) -> Shape:
    before, after = math.prod(shapes[0]), math.prod(result)
    if before != after:
        raise ValueError(f"{shapes[0]} has {before} elements, {result} has {after}")
    return result


def _reshape_is_view(_: IntGraph, __: Reshape) -> bool:
    return True  # row-major order is kept


def _reshape_text(_: IntGraph, op: Reshape) -> str:
    return op.a


@dataclass(frozen=True, slots=True, kw_only=True)
class Transpose(Op):
    """Dimensions permuted: dimension i of the result is dimension ``permutation[i]`` of a."""

    a: TensorId
    permutation: tuple[int, ...]


def _transpose_shape(op: Transpose, shapes: Sequence[Shape], _: Shape) -> Shape:
    if sorted(op.permutation) != list(range(len(shapes[0]))):
        raise ValueError(f"{op.permutation} does not permute {shapes[0]}")
    return tuple(shapes[0][axis] for axis in op.permutation)


def _transpose_text(_: IntGraph, op: Transpose) -> str:
    return f"{op.a} {op.permutation}"


SPECS = (
    OpSpec(
        op=Concat,
        name="concat",
        shape=_concat_shape,
        intermediates=no_intermediates,
        text=_concat_text,
        rate="layout",
        batch=_concat_batch,
        moves_codes=True,
    ),
    OpSpec(
        op=Slice,
        name="slice",
        shape=_slice_shape,
        intermediates=no_intermediates,
        text=_slice_text,
        rate="layout",
        moves_codes=True,
        is_view=_slice_is_view,
    ),
    OpSpec(
        op=Reshape,
        name="reshape",
        shape=_reshape_shape,
        intermediates=no_intermediates,
        text=_reshape_text,
        rate="layout",
        moves_codes=True,
        is_view=_reshape_is_view,
    ),
    OpSpec(
        op=Transpose,
        name="transpose",
        shape=_transpose_shape,
        intermediates=no_intermediates,
        text=_transpose_text,
        rate="layout",
        moves_codes=True,
    ),
)
