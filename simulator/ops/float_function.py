# SPDX-License-Identifier: Apache-2.0
"""FloatFunction: see :class:`simulator.graph.ops.Function` for the formulas.

Kernels work row by row (products image by image), so that an image's result depends neither on the
batch it comes in nor on the number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from simulator.gemm import Gemm
from simulator.graph.graph import IntGraph
from simulator.graph.ops import FloatFunction, Function
from simulator.numerics.float_type import Array
from simulator.numerics.jit import kernel as compiled
from simulator.numerics.real_functions import (
    CUBIC,
    REAL_FUNCTIONS,
    ROOT_2_OVER_PI,
    ROOT_HALF,
)
from simulator.ops.behaviour import Behaviour, Kernel, OpResult

Rows = list[list[float]]


# --- references: one image in plain Python floats -------------------------------------------------


def _sum(values: Sequence[float]) -> float:
    total = 0.0
    for value in values:
        total += value
    return total


def _softmax_row(row: Sequence[float]) -> list[float]:
    largest = max(row)
    exponentials = [math.exp(x - largest) for x in row]
    total = _sum(exponentials)
    return [value / total for value in exponentials]


def _layernorm_row(
    row: Sequence[float], weight: Sequence[float], bias: Sequence[float], epsilon: float
) -> list[float]:
    mean = _sum(row) / len(row)
    centred = [x - mean for x in row]
    deviation = math.sqrt(_sum([d * d for d in centred]) / len(row) + epsilon)
    return [d / deviation * g + b for d, g, b in zip(centred, weight, bias, strict=True)]


def _l2norm_row(row: Sequence[float], gain: float, epsilon: float) -> list[float]:
    length = max(math.sqrt(_sum([x * x for x in row])), epsilon)
    return [x / length * gain for x in row]


def _gains(op: FloatFunction, graph: IntGraph) -> tuple[Array, int]:
    """Gains float64 [1] or [H], and how many rows follow each other under one."""
    shape = graph.result(op).shape
    gains = np.ones(1) if op.weight is None else graph.constants[op.weight].astype(np.float64)
    return gains.reshape(-1), shape[-2] if len(shape) > 2 else 1


def _product(a: Rows, columns: Rows, bias: Sequence[float]) -> Rows:
    return [
        [
            _sum([x * y for x, y in zip(row, column, strict=True)]) + offset
            for column, offset in zip(columns, bias, strict=True)
        ]
        for row in a
    ]


def _vector(op: FloatFunction, graph: IntGraph, name: str | None, default: float) -> Array:
    """γ, β or a bias per channel of the result, float64; the default where there is none."""
    if name is None:
        return np.full(graph.result(op).shape[-1], default, np.float64)
    return graph.constants[name].astype(np.float64)


def reference(op: FloatFunction, graph: IntGraph, operands: Sequence[Array]) -> OpResult:
    """One image in plain Python floats."""
    shape = graph.result(op).shape
    values = _evaluated(op, graph, operands[0], operands[-1], shape)
    return OpResult(np.array(values, np.float64).astype(np.float32).reshape(shape))


def _evaluated(  # noqa: PLR0911 - one return per function
    op: FloatFunction, graph: IntGraph, a: Array, b: Array, shape: tuple[int, ...]
) -> object:
    flat: list[float] = a.reshape(-1).tolist()
    rows: Rows = a.reshape(-1, a.shape[-1]).tolist()
    if op.function in REAL_FUNCTIONS:
        return [REAL_FUNCTIONS[op.function](x) for x in flat]
    if op.function is Function.SCALE:
        return [x * op.factor for x in flat]
    if op.function is Function.ADD:
        others: list[float] = np.broadcast_to(b, shape).reshape(-1).tolist()
        return [x + y for x, y in zip(flat, others, strict=True)]
    if op.function is Function.SOFTMAX:
        return [_softmax_row(row) for row in rows]
    if op.function is Function.LAYERNORM:
        weight = _vector(op, graph, op.weight, 1.0).tolist()
        bias = _vector(op, graph, op.bias, 0.0).tolist()
        return [_layernorm_row(row, weight, bias, op.epsilon) for row in rows]
    if op.function is Function.L2NORM:
        gains, together = _gains(op, graph)
        return [
            _l2norm_row(row, float(gains[i // together % len(gains)]), op.epsilon)
            for i, row in enumerate(rows)
        ]
    if op.function is Function.MEAN:
        columns: Rows = np.moveaxis(a, op.axis, -1).reshape(-1, a.shape[op.axis]).tolist()
        return [_sum(column) / len(column) for column in columns]
    if op.function is Function.LINEAR:
        assert op.weight is not None
        bias = _vector(op, graph, op.bias, 0.0).tolist()
        return _product(rows, graph.constants[op.weight].tolist(), bias)
    right = b if op.transpose_b else np.swapaxes(b, -1, -2)
    none = [0.0] * shape[-1]
    return [_product(a[i].tolist(), right[i].tolist(), none) for i in np.ndindex(*shape[:-2])]


# --- kernels --------------------------------------------------------------------------------------


def _rows(batch: Array) -> Array:
    return np.ascontiguousarray(batch).reshape(-1, batch.shape[-1])


def _row_kernel(run: Callable[[Array, Array], object]) -> Kernel:
    """A kernel from a compiled function of (rows, results), both [rows, channels]."""

    def kernel(operands: Sequence[Array]) -> OpResult:
        out = np.empty(operands[0].shape, np.float32)
        run(_rows(operands[0]), _rows(out))
        return OpResult(out)

    return kernel


def _build_unary(op: FloatFunction, _: IntGraph) -> Kernel:
    return _row_kernel(_COMPILED[op.function])


def _build_scale(op: FloatFunction, _: IntGraph) -> Kernel:
    return _row_kernel(lambda x, out: scale_rows(x, op.factor, out))


def _build_softmax(_: FloatFunction, __: IntGraph) -> Kernel:
    return _row_kernel(softmax_rows_float)


def _build_l2norm(op: FloatFunction, graph: IntGraph) -> Kernel:
    gains, together = _gains(op, graph)
    return _row_kernel(lambda x, out: l2norm_rows_float(x, gains, together, op.epsilon, out))


def _build_layernorm(op: FloatFunction, graph: IntGraph) -> Kernel:
    weight, bias = _vector(op, graph, op.weight, 1.0), _vector(op, graph, op.bias, 0.0)
    return _row_kernel(lambda x, out: layernorm_rows_float(x, weight, bias, op.epsilon, out))


def _build_add(_: FloatFunction, __: IntGraph) -> Kernel:
    # float32 addition is float64 addition rounded once; a constant b lacks leading dimensions.
    return lambda operands: OpResult(np.add(operands[0], operands[1], dtype=np.float32))


def _build_mean(op: FloatFunction, _: IntGraph) -> Kernel:
    def kernel(operands: Sequence[Array]) -> OpResult:
        shape = operands[0].shape
        axis = op.axis + 1
        before, after = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
        out = np.empty((before, after), np.float32)
        cube = np.ascontiguousarray(operands[0]).reshape(before, shape[axis], after)
        mean_middle(cube, out)
        return OpResult(out.reshape(*shape[:axis], *shape[axis + 1 :]))

    return kernel


def _build_linear(op: FloatFunction, graph: IntGraph) -> Kernel:
    assert op.weight is not None
    columns = np.ascontiguousarray(graph.constants[op.weight].T, np.float64)
    bias = _vector(op, graph, op.bias, 0.0)
    shape = graph.result(op).shape

    def kernel(operands: Sequence[Array]) -> OpResult:
        out = np.empty((len(operands[0]), *shape), np.float32)
        for image, into in zip(operands[0], out, strict=True):
            rows = np.ascontiguousarray(image, np.float64).reshape(-1, len(columns))
            into[...] = (rows @ columns + bias).reshape(shape)
        return OpResult(out)

    return kernel


def _build_matmul(op: FloatFunction, graph: IntGraph) -> Kernel:
    shape = graph.result(op).shape

    def kernel(operands: Sequence[Array]) -> OpResult:
        out = np.empty((len(operands[0]), *shape), np.float32)
        for a, b, into in zip(*operands, out, strict=True):
            right = np.swapaxes(b, -1, -2) if op.transpose_b else b
            for i in np.ndindex(*shape[:-2]):
                # Copies: the sums may depend on how operands lie in memory.
                left = np.ascontiguousarray(a[i], np.float64)
                into[i] = left @ np.ascontiguousarray(right[i], np.float64)
        return OpResult(out)

    return kernel


@compiled
def gelu_rows(x, out):  # type: ignore[no-untyped-def]
    """GELU by the error function."""
    for i in range(x.shape[0]):
        for c in range(x.shape[1]):
            value = np.float64(x[i, c])
            out[i, c] = np.float32(0.5 * value * (1 + math.erf(value * ROOT_HALF)))


@compiled
def gelu_tanh_rows(x, out):  # type: ignore[no-untyped-def]
    """GELU's approximation by the hyperbolic tangent."""
    for i in range(x.shape[0]):
        for c in range(x.shape[1]):
            value = np.float64(x[i, c])
            inner = ROOT_2_OVER_PI * (value + CUBIC * value * value * value)
            out[i, c] = np.float32(0.5 * value * (1 + math.tanh(inner)))


@compiled
def relu_rows(x, out):  # type: ignore[no-untyped-def]
    """Negative values become 0."""
    for i in range(x.shape[0]):
        for c in range(x.shape[1]):
            out[i, c] = max(x[i, c], np.float32(0))


@compiled
def silu_rows(x, out):  # type: ignore[no-untyped-def]
    """``x / (1 + exp(-x))`` without large exponentials."""
    for i in range(x.shape[0]):
        for c in range(x.shape[1]):
            value = np.float64(x[i, c])
            small = math.exp(-abs(value))
            numerator = value if value >= 0 else value * small
            out[i, c] = np.float32(numerator / (1 + small))


@compiled
def hardswish_rows(x, out):  # type: ignore[no-untyped-def]
    """``x * min(max(x + 3, 0), 6) / 6``."""
    for i in range(x.shape[0]):
        for c in range(x.shape[1]):
            value = np.float64(x[i, c])
            out[i, c] = np.float32(value * min(max(value + 3, 0.0), 6.0) / 6)


@compiled
def scale_rows(x, factor, out):  # type: ignore[no-untyped-def]
    """``x * factor``."""
    for i in range(x.shape[0]):
        for c in range(x.shape[1]):
            out[i, c] = np.float32(np.float64(x[i, c]) * factor)


@compiled
def softmax_rows_float(x, out):  # type: ignore[no-untyped-def]
    """Softmax of each row, the largest value taken off first."""
    exponentials = np.empty(x.shape[1], np.float64)
    for i in range(x.shape[0]):
        largest = np.float64(x[i, 0])
        for c in range(1, x.shape[1]):
            largest = max(largest, np.float64(x[i, c]))
        total = 0.0
        for c in range(x.shape[1]):
            exponentials[c] = math.exp(np.float64(x[i, c]) - largest)
            total += exponentials[c]
        for c in range(x.shape[1]):
            out[i, c] = np.float32(exponentials[c] / total)


@compiled
def layernorm_rows_float(x, weight, bias, epsilon, out):  # type: ignore[no-untyped-def]
    """Normalize each row; the variance is that of the centred values."""
    channels = x.shape[1]
    for i in range(x.shape[0]):
        mean = 0.0
        for c in range(channels):
            mean += np.float64(x[i, c])
        mean /= channels
        variance = 0.0
        for c in range(channels):
            variance += (np.float64(x[i, c]) - mean) * (np.float64(x[i, c]) - mean)
        deviation = math.sqrt(variance / channels + epsilon)
        for c in range(channels):
            normalized = (np.float64(x[i, c]) - mean) / deviation
            out[i, c] = np.float32(normalized * weight[c] + bias[c])


@compiled
def l2norm_rows_float(x, gains, together, epsilon, out):  # type: ignore[no-untyped-def]
    """Divide each row by its length; ``together`` rows follow each other under one gain."""
    for i in range(x.shape[0]):
        squares = 0.0
        for c in range(x.shape[1]):
            squares += np.float64(x[i, c]) * np.float64(x[i, c])
        length = max(math.sqrt(squares), epsilon)
        gain = gains[i // together % gains.shape[0]]
        for c in range(x.shape[1]):
            out[i, c] = np.float32(np.float64(x[i, c]) / length * gain)


@compiled
def mean_middle(x, out):  # type: ignore[no-untyped-def]
    """Mean over the middle dimension, in ascending index."""
    for i in range(x.shape[0]):
        for k in range(x.shape[2]):
            total = 0.0
            for j in range(x.shape[1]):
                total += np.float64(x[i, j, k])
            out[i, k] = np.float32(total / x.shape[1])


_COMPILED: Mapping[Function, Callable[[Array, Array], object]] = MappingProxyType(
    {
        Function.GELU: gelu_rows,
        Function.GELU_TANH: gelu_tanh_rows,
        Function.RELU: relu_rows,
        Function.SILU: silu_rows,
        Function.HARDSWISH: hardswish_rows,
    }
)
_BUILDERS: Mapping[Function, Callable[[FloatFunction, IntGraph], Kernel]] = MappingProxyType(
    {
        **dict.fromkeys(_COMPILED, _build_unary),
        Function.ADD: _build_add,
        Function.LAYERNORM: _build_layernorm,
        Function.L2NORM: _build_l2norm,
        Function.SOFTMAX: _build_softmax,
        Function.MEAN: _build_mean,
        Function.SCALE: _build_scale,
        Function.LINEAR: _build_linear,
        Function.MATMUL: _build_matmul,
    }
)


def build(op: FloatFunction, graph: IntGraph, _: Gemm) -> Kernel:
    """Kernel for batches."""
    return _BUILDERS[op.function](op, graph)


BEHAVIOUR = Behaviour(reference, build)
