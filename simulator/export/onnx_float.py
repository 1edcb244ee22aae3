# SPDX-License-Identifier: Apache-2.0
"""Functions of real values in ONNX: operators that a method or a chip leaves in float."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from simulator.export.onnx_file import OnnxFile, Value
from simulator.export.onnx_nonlinear import divided_by_length, function
from simulator.graph.ops import Function


def float_function(file: OnnxFile, op: Any) -> Value:
    """Return the real values of a function of real values."""
    inputs = [file.operand(name).name for name in op.inputs]
    real = _RULES[op.function](file, op, inputs)
    return Value(name=real, real=True)


def _parameter(file: OnnxFile, op: Any, role: str, default: float) -> str:
    name = getattr(op, role)
    channels = file.graph.result(op).shape[-1]
    values = np.full(channels, default) if name is None else file.graph.constants[name]
    return file.constant(f"{op.name}/{role}", values.astype(np.float32))


def _plain(kind: str, **attributes: Any) -> Callable[[OnnxFile, Any, list[str]], str]:
    return lambda file, op, inputs: file.add(kind, inputs, f"{op.name}/real", **attributes)


def _unary(kind: str) -> Callable[[OnnxFile, Any, list[str]], str]:
    return lambda file, op, inputs: function(file, op.name, kind, inputs[0])


def _layernorm(file: OnnxFile, op: Any, inputs: list[str]) -> str:
    operands = [
        *inputs,
        _parameter(file, op, "weight", 1.0),
        _parameter(file, op, "bias", 0.0),
    ]
    epsilon = float(op.epsilon)
    return file.add("LayerNormalization", operands, f"{op.name}/real", axis=-1, epsilon=epsilon)


def _l2norm(file: OnnxFile, op: Any, inputs: list[str]) -> str:
    gain = np.ones(1) if op.weight is None else file.graph.constants[op.weight]
    return divided_by_length(file, op.name, inputs[0], gain, op.epsilon)


def _mean(file: OnnxFile, op: Any, inputs: list[str]) -> str:
    axes = file.shape(f"{op.name}/axes", [op.axis + 1])
    return file.add("ReduceMean", [*inputs, axes], f"{op.name}/real", keepdims=0)


def _scale(file: OnnxFile, op: Any, inputs: list[str]) -> str:
    factor = file.constant(f"{op.name}/factor", np.float32(op.factor))
    return file.add("Mul", [*inputs, factor], f"{op.name}/real")


def _linear(file: OnnxFile, op: Any, inputs: list[str]) -> str:
    matrix = np.ascontiguousarray(file.graph.constants[op.weight].T).astype(np.float32)
    weight = file.constant(f"{op.name}/weight", matrix)
    product = file.add("MatMul", [*inputs, weight], f"{op.name}/product")
    return file.add("Add", [product, _parameter(file, op, "bias", 0.0)], f"{op.name}/real")


def _matmul(file: OnnxFile, op: Any, inputs: list[str]) -> str:
    a, b = inputs
    if op.transpose_b:
        rank = len(file.graph.result(op).shape) + 1
        order = [*range(rank - 2), rank - 1, rank - 2]
        b = file.add("Transpose", [b], f"{op.name}/turned", perm=order)
    return file.add("MatMul", [a, b], f"{op.name}/real")


_RULES: Mapping[Function, Callable[[OnnxFile, Any, list[str]], str]] = MappingProxyType(
    {
        Function.ADD: _plain("Add"),
        Function.LAYERNORM: _layernorm,
        Function.L2NORM: _l2norm,
        Function.SOFTMAX: _plain("Softmax", axis=-1),
        Function.GELU: _unary("gelu"),
        Function.GELU_TANH: _unary("gelu_tanh"),
        Function.RELU: _unary("relu"),
        Function.SILU: _unary("silu"),
        Function.HARDSWISH: _unary("hardswish"),
        Function.MEAN: _mean,
        Function.SCALE: _scale,
        Function.LINEAR: _linear,
        Function.MATMUL: _matmul,
    }
)
