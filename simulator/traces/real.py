# SPDX-License-Identifier: Apache-2.0
"""Traces of ops in float arithmetic: a result and nothing on the way, which is not integer.

Formulas are computed in float64, sums in ascending index, and rounded once to float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from simulator.graph.graph import IntGraph
from simulator.graph.op import TensorId
from simulator.graph.ops import Dequantize, FloatFunction, Function, Quantize
from simulator.numerics.float_type import Array
from simulator.traces.steps import wide

Real = NDArray[np.float64]


def _real(values: Array) -> Real:
    return values.astype(np.float64)


def _constant(graph: IntGraph, name: TensorId | None, default: float) -> Real:
    return np.array([default]) if name is None else _real(graph.constants[name])


def quantize(op: Quantize, graph: IntGraph, operands: Sequence[Array]) -> dict[str, Array]:
    """Return ``result``: codes."""
    result = graph.result(op)
    low, high = result.code_type.low, result.code_type.high
    values = _real(operands[0])
    if op.thresholds is not None:
        borders = graph.constants[op.thresholds]
        above = np.searchsorted(borders, operands[0], side="right")
        codes = low + np.where(np.isnan(values), 0, above)
        return {"result": codes.astype(result.type.dtype)}
    with np.errstate(invalid="ignore", over="ignore"):
        steps = np.rint(values / _constant(graph, op.step, 1))
    steps = np.where(np.isnan(steps), -np.inf, steps)
    near = np.clip(steps, low - result.zero_point, high - result.zero_point)
    return {"result": (wide(near) + result.zero_point).astype(result.type.dtype)}


def dequantize(op: Dequantize, graph: IntGraph, operands: Sequence[Array]) -> dict[str, Array]:
    """Return ``result``: real values."""
    codes = wide(operands[0]) - graph.tensors[op.a].zero_point
    values = codes * _constant(graph, op.step, 1) + _constant(graph, op.bias, 0)
    return {"result": values.astype(np.float32)}


def float_function(
    op: FloatFunction, graph: IntGraph, operands: Sequence[Array]
) -> dict[str, Array]:
    """Return ``result``: real values."""
    values = _FUNCTIONS[op.function](op, graph, [_real(operand) for operand in operands])
    return {"result": values.astype(np.float32)}


def _summed(values: Real, axis: int) -> Real:
    """Return the sum over a dimension in ascending index, that dimension kept."""
    moved = np.moveaxis(values, axis, 0)
    total = np.zeros(moved.shape[1:])
    for part in moved:
        total = total + part
    return np.expand_dims(total, axis)


def _layernorm(op: FloatFunction, graph: IntGraph, operands: Sequence[Real]) -> Real:
    (a,) = operands
    channels = a.shape[-1]
    centred = a - _summed(a, -1) / channels
    deviation = np.sqrt(_summed(centred * centred, -1) / channels + op.epsilon)
    weighted: Real = centred / deviation * _constant(graph, op.weight, 1)
    return weighted + _constant(graph, op.bias, 0)


def _l2norm(op: FloatFunction, graph: IntGraph, operands: Sequence[Real]) -> Real:
    (a,) = operands
    length = np.maximum(np.sqrt(_summed(a * a, -1)), op.epsilon)
    return a / length * _constant(graph, op.weight, 1)


def _softmax(_: FloatFunction, __: IntGraph, operands: Sequence[Real]) -> Real:
    (a,) = operands
    exponentials = np.exp(a - a.max(axis=-1, keepdims=True))
    normalized: Real = exponentials / _summed(exponentials, -1)
    return normalized


def _mean(op: FloatFunction, _: IntGraph, operands: Sequence[Real]) -> Real:
    (a,) = operands
    axis = op.axis + 1
    means: Real = _summed(a, axis) / a.shape[axis]
    return means.squeeze(axis)


def _linear(op: FloatFunction, graph: IntGraph, operands: Sequence[Real]) -> Real:
    (a,) = operands
    return a @ _constant(graph, op.weight, 1).T + _constant(graph, op.bias, 0)


def _matmul(op: FloatFunction, _: IntGraph, operands: Sequence[Real]) -> Real:
    a, b = operands
    return a @ (np.swapaxes(b, -1, -2) if op.transpose_b else b)


def _of_one_value(function: Callable[[Real], Real]) -> Callable[..., Real]:
    return lambda op, graph, operands: function(operands[0])


def _gelu(x: Real) -> Real:
    erf = np.vectorize(math.erf, otypes=[np.float64])
    values: Real = x / 2 * (1 + erf(x * math.sqrt(0.5)))
    return values


def _gelu_tanh(x: Real) -> Real:
    # 1 + tanh cancels below zero, where the last bit of tanh counts: the C library's, as in _gelu.
    tanh = np.vectorize(math.tanh, otypes=[np.float64])
    values: Real = x / 2 * (1 + tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))
    return values


def _silu(x: Real) -> Real:
    small = np.exp(-np.abs(x))  # exp of a large number would overflow
    values: Real = x * np.where(x >= 0, 1, small) / (1 + small)
    return values


_FUNCTIONS: Mapping[Function, Callable[[FloatFunction, IntGraph, Sequence[Real]], Real]] = (
    MappingProxyType(
        {
            Function.ADD: lambda op, graph, operands: operands[0] + operands[1],
            Function.LAYERNORM: _layernorm,
            Function.L2NORM: _l2norm,
            Function.SOFTMAX: _softmax,
            Function.GELU: _of_one_value(_gelu),
            Function.GELU_TANH: _of_one_value(_gelu_tanh),
            Function.RELU: _of_one_value(lambda x: np.maximum(x, 0)),
            Function.SILU: _of_one_value(_silu),
            Function.HARDSWISH: _of_one_value(lambda x: x * np.clip(x + 3, 0, 6) / 6),
            Function.MEAN: _mean,
            Function.SCALE: lambda op, graph, operands: operands[0] * op.factor,
            Function.LINEAR: _linear,
            Function.MATMUL: _matmul,
        }
    )
)
