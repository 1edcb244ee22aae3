# SPDX-License-Identifier: Apache-2.0
"""The rules of shapes: what operands imply of results. Layers for ``verify``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from simulator.graph.float_ops import Function
from simulator.graph.graph import IntGraph
from simulator.graph.ops import (
    SOFTMAX_OPS,
    TWO_OPERAND_OPS,
    Add,
    AddShifted,
    Concat,
    Dequantize,
    FloatFunction,
    GeluPolynomial,
    InterpolatedLookup,
    LayerNorm,
    LayerNormBisection,
    Lookup,
    MatMul,
    Mean,
    Mul,
    Op,
    Quantize,
    Rescale,
    Reshape,
    ShiftGelu,
    Slice,
    SquaredDifference,
    Transpose,
)
from simulator.graph.verify_elementwise import mean_shape, two_operand_shape
from simulator.graph.verify_float import broadcasts, float_function_shape

Shape = tuple[int, ...]


def result_shape(op: Op, shapes: list[Shape], declared: Shape) -> Shape:
    """Shape of an op's result, as the shapes of its operands imply it.

    Parameters
    ----------
    op
        any op of the format
    shapes
        of its operands, in the order of ``op.operands``
    declared
        shape of the result as the graph states it; read only where operands leave it open: by a
        Reshape, and by a linear FloatFunction for its last dimension

    Raises
    ------
    ValueError, IndexError
        If the operands do not go together.
    """
    return _SHAPES[type(op)](op, shapes, declared)


def _matmul_shape(op: MatMul, shapes: list[Shape], _: Shape) -> Shape:
    a, b, *residual = shapes
    rows, columns = (b[-1], b[-2]) if op.transpose_b else (b[-2], b[-1])
    if a[-1] != rows or (len(b) > 2 and a[:-2] != b[:-2]):
        raise ValueError(f"cannot multiply {a} by {b}")
    product = (*a[:-1], columns)
    if residual and residual[0] != product:
        raise ValueError(f"cannot add a product {product} to a residual {residual[0]}")
    return product


def _add_shape(_: Add, shapes: list[Shape], __: Shape) -> Shape:
    a, b = shapes
    if a[-1:] != b[-1:] or not broadcasts(b, a):
        raise ValueError(f"cannot add {b} to {a}")
    return a


def _axis(op: Concat | Slice, shape: Shape) -> int:
    if not 0 <= op.axis < len(shape):
        raise ValueError(f"axis {op.axis} of {shape}")
    return op.axis


def _concat_shape(op: Concat, shapes: list[Shape], _: Shape) -> Shape:
    axis = _axis(op, shapes[0])
    rests = {shape[:axis] + shape[axis + 1 :] for shape in shapes}
    if len(rests) != 1:
        raise ValueError(f"cannot concatenate {shapes} along {axis}")
    total = sum(shape[axis] for shape in shapes)
    return shapes[0][:axis] + (total,) + shapes[0][axis + 1 :]


def _slice_shape(op: Slice, shapes: list[Shape], _: Shape) -> Shape:
    shape = shapes[0]
    axis = _axis(op, shape)
    if not 0 <= op.start < op.stop <= shape[axis]:
        raise ValueError(f"{op.start}:{op.stop} of dimension {axis} of {shape}")
    if op.step < 1:
        raise ValueError(f"step {op.step}: must be 1 or more")
    return shape[:axis] + (len(range(op.start, op.stop, op.step)),) + shape[axis + 1 :]


def _reshape_shape(_: Reshape, shapes: list[Shape], result: Shape) -> Shape:
    sizes = []
    for shape in (shapes[0], result):
        size = 1
        for extent in shape:
            size *= extent
        sizes.append(size)
    if sizes[0] != sizes[1]:
        raise ValueError(f"{shapes[0]} has {sizes[0]} elements, {result} has {sizes[1]}")
    return result


def _transpose_shape(op: Transpose, shapes: list[Shape], _: Shape) -> Shape:
    if sorted(op.permutation) != list(range(len(shapes[0]))):
        raise ValueError(f"{op.permutation} does not permute {shapes[0]}")
    return tuple(shapes[0][axis] for axis in op.permutation)


def _same_shape(_: Op, shapes: list[Shape], __: Shape) -> Shape:
    return shapes[0]


_SHAPES: Mapping[type[Op], Callable[[Any, list[Shape], Shape], Shape]] = MappingProxyType(
    {
        MatMul: _matmul_shape,
        Rescale: _same_shape,
        Add: _add_shape,
        LayerNorm: _same_shape,
        **dict.fromkeys(SOFTMAX_OPS, _same_shape),
        Lookup: _same_shape,
        Mean: mean_shape,
        AddShifted: two_operand_shape,
        SquaredDifference: two_operand_shape,
        Mul: two_operand_shape,
        InterpolatedLookup: _same_shape,
        GeluPolynomial: _same_shape,
        ShiftGelu: _same_shape,
        LayerNormBisection: _same_shape,
        Concat: _concat_shape,
        Slice: _slice_shape,
        Reshape: _reshape_shape,
        Transpose: _transpose_shape,
        Quantize: _same_shape,
        Dequantize: _same_shape,
        FloatFunction: float_function_shape,
    }
)


def shapes_agree(graph: IntGraph, op: Op) -> Iterator[str]:
    """Yield where a result does not have the shape that the operands imply."""
    try:
        shapes = [graph.tensors[name].shape for name in op.operands]
        implied = result_shape(op, shapes, graph.result(op).shape)
    except (ValueError, IndexError) as error:
        yield str(error)
    else:
        if implied != graph.result(op).shape:
            yield f"result has shape {graph.result(op).shape}, operands imply {implied}"


def operands_have_images(graph: IntGraph, op: Op) -> Iterator[str]:
    """Kernels take activations with a batch dimension in front, and constants without."""
    constant = [graph.is_constant(name) for name in op.operands]
    if isinstance(op, Concat):
        if all(constant):
            yield "all operands are constants"
        return
    if constant and constant[0]:
        yield f"operand {op.operands[0]} is a constant"
    adds = isinstance(op, (Add, *TWO_OPERAND_OPS)) or _is_float(op, Function.ADD)
    if len(op.operands) > 1 and constant[1] and _is_float(op, Function.MATMUL):
        yield f"operand {op.operands[1]} is a constant: use linear"
    if isinstance(op, MatMul) or (adds and len(op.operands) == 2):
        a, b = (graph.tensors[name].shape for name in op.operands[:2])
        if isinstance(op, MatMul) and len(b) != (2 if constant[1] else len(a)):
            yield f"cannot multiply {a} by {b}: weights are matrices, activations have equal ranks"
        repeats = len(b) < len(a) or (b[:-1] != a[:-1] and broadcasts(b, a))
        if adds and not constant[1] and repeats:
            verb = op.kind.removeprefix("float_")
            yield f"cannot {verb} {b} to {a}: only a constant is broadcast"


def _is_float(op: Op, function: Function) -> bool:
    return isinstance(op, FloatFunction) and op.function is function
