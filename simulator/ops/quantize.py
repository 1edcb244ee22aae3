# SPDX-License-Identifier: Apache-2.0
"""Quantize and Dequantize: see :mod:`simulator.graph.ops`."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.gemm import Gemm
from simulator.graph.graph import IntGraph
from simulator.graph.op import TensorId
from simulator.graph.ops import Dequantize, Quantize
from simulator.numerics.float_type import Array
from simulator.numerics.jit import kernel as compiled
from simulator.ops.behaviour import Behaviour, Kernel, OpResult


class Pattern(NamedTuple):
    """A broadcast constant without its repetitions.

    Element i of a row-major image has ``values[i // run % len(values)]``.
    """

    values: NDArray[np.float64]
    run: int

    def rows(self, batch: Array) -> Array:
        """Return ``batch`` as [repetitions, values, run]."""
        return np.ascontiguousarray(batch).reshape(-1, len(self.values), self.run)


def pattern(constant: Array, shape: tuple[int, ...]) -> Pattern:
    """Return how ``constant`` repeats when it is broadcast to ``shape``.

    A vector of channels has run 1, one value per head [heads, 1, 1] the size of a head as its run.
    """
    extents = (1,) * (len(shape) - constant.ndim) + constant.shape
    varying = [axis for axis, extent in enumerate(extents) if extent > 1]
    if not varying:
        return Pattern(constant.reshape(1).astype(np.float64), 1)
    first, last = varying[0], varying[-1] + 1
    middle = np.broadcast_to(constant.reshape(extents[first:last]), shape[first:last])
    return Pattern(middle.reshape(-1).astype(np.float64), math.prod(shape[last:]))


def _each(constant: Array, shape: tuple[int, ...]) -> list[float]:
    """One Python float per element of an image, in row-major order."""
    return [float(value) for value in np.broadcast_to(constant, shape).reshape(-1).tolist()]


def quantize_reference(op: Quantize, graph: IntGraph, operands: Sequence[Array]) -> OpResult:
    """One image in plain Python floats."""
    result = graph.result(op)
    low, high = result.code_type.low, result.code_type.high
    codes, saturated = [], 0
    values = operands[0].reshape(-1).tolist()
    if op.thresholds is not None:
        borders = graph.constants[op.thresholds].tolist()
        codes = [low if math.isnan(x) else low + bisect_right(borders, x) for x in values]
        return OpResult(np.array(codes, result.type.dtype).reshape(result.shape))
    assert op.step is not None
    for x, step in zip(values, _each(graph.constants[op.step], result.shape), strict=True):
        scaled = x / step
        if math.isfinite(scaled):
            code = round(scaled) + result.zero_point  # Python rounds ties to even
        else:
            code = high + 1 if scaled > 0 else low - 1
        codes.append(min(max(code, low), high))
        saturated += not low <= code <= high
    return OpResult(np.array(codes, result.type.dtype).reshape(result.shape), saturated)


def build_quantize(op: Quantize, graph: IntGraph, _: Gemm) -> Kernel:
    """Kernel for batches."""
    result = graph.result(op)
    low, high = result.code_type.low, result.code_type.high
    if op.thresholds is not None:
        borders = graph.constants[op.thresholds].astype(np.float64)

        def by_thresholds(operands: Sequence[Array]) -> OpResult:
            out = np.empty(operands[0].shape, result.type.dtype)
            flat = np.ascontiguousarray(operands[0]).reshape(-1)
            count_thresholds(flat, borders, low, out.reshape(-1))
            return OpResult(out)

        return by_thresholds
    steps = pattern(_constant(graph, op.step), result.shape)

    def by_step(operands: Sequence[Array]) -> OpResult:
        out = np.empty(operands[0].shape, result.type.dtype)
        saturated = quantize_rows(
            steps.rows(operands[0]), steps.values, result.zero_point, low, high, steps.rows(out)
        )
        return OpResult(out, int(saturated))

    return by_step


def dequantize_reference(op: Dequantize, graph: IntGraph, operands: Sequence[Array]) -> OpResult:
    """One image in plain Python floats."""
    result = graph.result(op)
    zero_point = graph.tensors[op.a].zero_point
    steps = _each(graph.constants[op.step], result.shape)
    values = [
        float(code - zero_point) * step
        for code, step in zip(operands[0].reshape(-1).tolist(), steps, strict=True)
    ]
    if op.bias is not None:
        biases = _each(graph.constants[op.bias], result.shape)
        values = [value + bias for value, bias in zip(values, biases, strict=True)]
    return OpResult(np.array(values, np.float64).astype(np.float32).reshape(result.shape))


def build_dequantize(op: Dequantize, graph: IntGraph, _: Gemm) -> Kernel:
    """Kernel for batches."""
    result = graph.result(op)
    zero_point = graph.tensors[op.a].zero_point
    step = graph.constants[op.step]
    bias = np.zeros(1, np.float32) if op.bias is None else graph.constants[op.bias]
    # Both repeat alike once they are broadcast against each other.
    shape = np.broadcast_shapes(step.shape, bias.shape)
    steps, biases = (
        pattern(np.broadcast_to(constant, shape), result.shape) for constant in (step, bias)
    )

    def kernel(operands: Sequence[Array]) -> OpResult:
        out = np.empty(operands[0].shape, np.float32)
        dequantize_rows(
            steps.rows(operands[0]), zero_point, steps.values, biases.values, steps.rows(out)
        )
        return OpResult(out)

    return kernel


def _constant(graph: IntGraph, name: TensorId | None) -> Array:
    assert name is not None  # verify() has seen to it
    return graph.constants[name]


@compiled
def quantize_rows(x, steps, zero_point, low, high, out):  # type: ignore[no-untyped-def]
    """Quantize [repetitions, steps, run] into ``out``; return how many codes did not fit."""
    saturated = 0
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            step = steps[j]
            for k in range(x.shape[2]):
                code = np.rint(np.float64(x[i, j, k]) / step) + zero_point
                if code > high:
                    out[i, j, k] = high
                    saturated += 1
                elif code >= low:
                    out[i, j, k] = np.int64(code)
                else:  # too low, or not a number
                    out[i, j, k] = low
                    saturated += 1
    return saturated


@compiled
def count_thresholds(x, borders, low, out):  # type: ignore[no-untyped-def]
    """``out[i] = low + number of borders <= x[i]``, by halving."""
    for i in range(x.shape[0]):
        value = np.float64(x[i])
        begin, end = 0, borders.shape[0]
        while begin < end:
            middle = (begin + end) // 2
            if value >= borders[middle]:
                begin = middle + 1
            else:
                end = middle
        out[i] = low + begin


@compiled
def dequantize_rows(x, zero_point, steps, biases, out):  # type: ignore[no-untyped-def]
    """``(x - zero_point) * step + bias`` of [repetitions, steps, run]."""
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            for k in range(x.shape[2]):
                centred = np.float64(np.int64(x[i, j, k]) - zero_point)
                out[i, j, k] = np.float32(centred * steps[j] + biases[j])


QUANTIZE = Behaviour(quantize_reference, build_quantize)
DEQUANTIZE = Behaviour(dequantize_reference, build_dequantize)
