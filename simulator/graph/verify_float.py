# SPDX-License-Identifier: Apache-2.0
"""The rules of ops in float, and of real and integer tensors side by side: rows for ``verify``."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from simulator.graph.float_ops import ELEMENTWISE, TWO_INPUTS, Function
from simulator.graph.graph import IntGraph
from simulator.graph.ops import (
    LAYOUT_OPS,
    Dequantize,
    FloatFunction,
    Op,
    Quantize,
    SoftmaxFloatTable,
)
from simulator.numerics.float_type import FLOAT32, FLOAT64, FloatType
from simulator.numerics.rescaling import Arithmetic

Shape = tuple[int, ...]


def types_go_together(graph: IntGraph, op: Op) -> Iterator[str]:
    """Integers where an op computes with integers, real values where it computes in float."""
    yield from _factors_have_their_type(graph, op)
    if isinstance(op, LAYOUT_OPS):
        return  # they move anything, and keep its type
    operands_float = isinstance(op, (Quantize, FloatFunction))
    constants_float = operands_float or isinstance(op, (Dequantize, SoftmaxFloatTable))
    result_float = isinstance(op, (Dequantize, FloatFunction))
    # Factors of sums are checked with the requantization that they belong to.
    factors = {found.multiplier for found in op.requantizations}
    constants = [name for name in op.constants if name not in factors]
    wanted = [
        *(("operand", name, operands_float) for name in op.operands),
        *(("constant", name, constants_float) for name in constants),
        ("result", op.name, result_float),
    ]
    for what, name, real in wanted:
        tensor = graph.tensors[name]
        if tensor.is_float != real:
            words = "real values (f32)" if real else "integers"
            yield f"{what} {name} is {tensor.type}, wanted {words}"


def _factors_have_their_type(graph: IntGraph, op: Op) -> Iterator[str]:
    """A requantization in float has factors of that type and no shift, others are integers."""
    for found in op.requantizations:
        kind = graph.tensors[found.multiplier].type
        if found.arithmetic is Arithmetic.FIXED_POINT:
            if isinstance(kind, FloatType):
                yield f"multiplier {found.multiplier} is {kind}, wanted integers"
            if found.shift is None:
                yield "a requantization in fixed point needs a shift"
            continue
        wanted = {Arithmetic.FLOAT32: FLOAT32, Arithmetic.FLOAT64: FLOAT64}[found.arithmetic]
        if kind != wanted:
            yield f"multiplier {found.multiplier} is {kind}, wanted {wanted}"
        if found.shift is not None:
            yield f"a requantization in {found.arithmetic} has no shift"


def float_function_shape(op: FloatFunction, shapes: list[Shape], result: Shape) -> Shape:
    """Return the shape of the result; ValueError where the operands do not go together."""
    count = 2 if op.function in TWO_INPUTS else 1
    if len(shapes) != count:
        raise ValueError(f"{op.function} has {len(shapes)} inputs, wanted {count}")
    if not shapes[0] or not shapes[-1]:
        raise ValueError("an input without dimensions")
    a, b = shapes[0], shapes[-1]
    if op.function is Function.ADD and (a[-1:] != b[-1:] or not broadcasts(b, a)):
        raise ValueError(f"cannot add {b} to {a}")
    if op.function is Function.MEAN:
        if not 0 <= op.axis < len(a) - 1:
            raise ValueError(f"axis {op.axis} of {a}: the last dimension holds the channels")
        return a[: op.axis] + a[op.axis + 1 :]
    if op.function is Function.MATMUL:
        rows, columns = (b[-1], b[-2]) if op.transpose_b else (b[-2], b[-1])
        if len(a) != len(b) or a[:-2] != b[:-2] or a[-1] != rows:
            raise ValueError(f"cannot multiply {a} by {b}")
        return (*a[:-1], columns)
    if op.function is Function.LINEAR:
        return (*a[:-1], *result[-1:])  # the weight is held against both
    return a


def float_parameters_fit(graph: IntGraph, op: Op) -> Iterator[str]:
    """Steps broadcast and are positive, thresholds ascend, functions have what they need."""
    if isinstance(op, (Quantize, Dequantize)):
        yield from _steps_fit(graph, op)
    if isinstance(op, Quantize):
        yield from _thresholds_ascend(graph, op)
    if isinstance(op, FloatFunction):
        yield from _function_is_complete(graph, op)


def _steps_fit(graph: IntGraph, op: Quantize | Dequantize) -> Iterator[str]:
    shape = graph.result(op).shape
    if op.step is not None:
        steps = graph.tensors[op.step].shape
        if not broadcasts(steps, shape):
            yield f"step {op.step} has shape {steps}, which does not broadcast to {shape}"
        elif graph.constants[op.step].min() <= 0:
            yield f"step {op.step}: must be positive"
    if isinstance(op, Dequantize) and op.bias is not None:
        bias = graph.tensors[op.bias].shape
        if bias != shape[-1:]:
            yield f"bias {op.bias} has shape {bias}, wanted ({shape[-1]},)"


def broadcasts(constant: Shape, shape: Shape) -> bool:
    """Whether a constant can be repeated to ``shape``: extents are equal, 1 or missing."""
    try:
        return np.broadcast_shapes(constant, shape) == shape
    except ValueError:
        return False


def _thresholds_ascend(graph: IntGraph, op: Quantize) -> Iterator[str]:
    if (op.step is None) == (op.thresholds is None):
        yield "must have either a step or thresholds"
    if op.thresholds is None:
        return
    values, kind = graph.constants[op.thresholds], graph.result(op).code_type
    if values.ndim != 1 or not (np.diff(values) > 0).all():
        yield f"thresholds {op.thresholds}: must be a vector that ascends"
    elif len(values) >= 1 << kind.bits:
        yield f"{len(values)} thresholds {op.thresholds} for the {1 << kind.bits} codes of {kind}"


def _function_is_complete(graph: IntGraph, op: FloatFunction) -> Iterator[str]:
    channels = graph.result(op).shape[-1:]
    if not all(
        isinstance(value, float) and math.isfinite(value) for value in (op.epsilon, op.factor)
    ):
        yield "epsilon and factor must be finite floats"
    if op.function is Function.LAYERNORM and not op.epsilon > 0:
        yield f"epsilon {op.epsilon}: must be positive"
    if op.function in ELEMENTWISE | TWO_INPUTS | {Function.SOFTMAX, Function.MEAN} and (
        op.weight is not None or op.bias is not None
    ):
        yield f"{op.function} has no weight and no bias"
    if op.function is Function.LINEAR and op.weight is None:
        yield "linear needs a weight"
    wanted = channels
    if op.function is Function.LINEAR:
        wanted = (*channels, *graph.tensors[op.inputs[0]].shape[-1:])
    for field, name, shape in (("weight", op.weight, wanted), ("bias", op.bias, channels)):
        if name is not None and graph.tensors[name].shape != shape:
            yield f"{field} {name} has shape {graph.tensors[name].shape}, wanted {shape}"
