# SPDX-License-Identifier: Apache-2.0
"""Softmax, normalizations and functions of one value in ONNX, whatever their integer algorithm."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.errors import InputError
from simulator.export.onnx_file import OnnxFile, Value, index_of
from simulator.export.real_numbers import l2norm_gain, normalization, scales
from simulator.export.recognized import function_of
from simulator.export.score_scales import score_scale
from simulator.graph.op import Op
from simulator.graph.ops import (
    GeluPolynomial,
    InterpolatedLookup,
    L2Norm,
    LayerNorm,
    LayerNormBisection,
    Lookup,
    ShiftGelu,
    Shiftmax,
    Softmax,
    SoftmaxFloatTable,
    SoftmaxGemmlowp,
    SoftmaxIBert,
    SoftmaxIta,
    SoftmaxLog2,
    SoftmaxLut513,
)

# Operators by name of a function; those of several nodes are below.
_OPERATORS: Mapping[str, tuple[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "gelu": ("Gelu", {}),
        "gelu_tanh": ("Gelu", {"approximate": "tanh"}),
        "relu": ("Relu", {}),
        "hardswish": ("HardSwish", {}),
    }
)
_SIGMOIDS = {"silu": 1.0, "quick_gelu": 1.702}


def function(file: OnnxFile, name: str, kind: str, x: str) -> str:
    """Add a function of one value and return the name of its real values."""
    real = f"{name}/real"
    if kind in _OPERATORS:
        operator, attributes = _OPERATORS[kind]
        return file.add(operator, [x], real, **attributes)
    argument = x
    if _SIGMOIDS[kind] != 1:
        factor = file.constant(f"{name}/factor", np.float32(_SIGMOIDS[kind]))
        argument = file.add("Mul", [x, factor], f"{name}/argument")
    return file.add("Mul", [x, file.add("Sigmoid", [argument], f"{name}/sigmoid")], real)


def divided_by_length(
    file: OnnxFile, name: str, x: str, gain: NDArray[np.floating[Any]], least: float
) -> str:
    """Add rows over their lengths, at least ``least``, times a gain; return the real values."""
    last = file.shape(f"{name}/last", [-1])
    length = file.add("ReduceL2", [x, last], f"{name}/length", keepdims=1)
    shortest = file.constant(f"{name}/least", np.float32(least))
    divisor = file.add("Max", [length, shortest], f"{name}/divisor")
    direction = file.add("Div", [x, divisor], f"{name}/direction")
    factor = file.constant(f"{name}/gain", gain.astype(np.float32))
    return file.add("Mul", [direction, factor], f"{name}/real")


def _at_own_scale(kind: str) -> Callable[[OnnxFile, Any], Value]:
    """Return the rule of an op that is a function in real numbers."""

    def rule(file: OnnxFile, op: Any) -> Value:
        x = file.read(file.operand(op.a), op.name, scales(file.graph, op.a))
        return file.write(op.name, function(file, op.name, kind, x))

    return rule


def _lookup(file: OnnxFile, op: Any) -> Value:
    """The function that a table holds, or the table itself."""
    kind = function_of(file.graph, op)
    if kind is not None:
        return _at_own_scale(kind)(file, op)
    x, tensor = file.operand(op.a), file.graph.tensors[op.a]
    value = file.stored(file.graph.result(op))
    offset = value.zero_point - file.graph.result(op).zero_point
    entries = (file.graph.constants[op.table].astype(np.int64) + offset).astype(value.dtype)
    wide = file.add("Cast", [x.name], f"{op.name}/code", to="int32")
    low = file.constant(f"{op.name}/low", np.int32(index_of(tensor.code_type, x, tensor)))
    place = file.add("Sub", [wide, low], f"{op.name}/place")
    table = file.constant(f"{op.name}/table", entries)
    file.add("Gather", [table, place], op.name, axis=0)
    return value


def _interpolated(file: OnnxFile, op: Any) -> Value:
    kind = function_of(file.graph, op)
    if kind is None:
        raise InputError(
            f"{op.name}: its table of {file.graph.tensors[op.table].size} samples is that of no "
            "function that ONNX has, and straight lines between samples have no form there"
        )
    return _at_own_scale(kind)(file, op)


def _softmax(file: OnnxFile, op: Any) -> Value:
    worth = np.array([score_scale(file.graph, op)])
    x = file.read(file.operand(op.a), op.name, worth)
    return file.write(op.name, file.add("Softmax", [x], f"{op.name}/real", axis=-1))


def _logarithms(file: OnnxFile, op: Any) -> Value:
    """Negated binary logarithms of probabilities, rounded up from 1.5 times a power of two on."""
    worth = np.array([score_scale(file.graph, op)])
    x = file.read(file.operand(op.a), op.name, worth)
    natural = file.add("LogSoftmax", [x], f"{op.name}/log", axis=-1)
    tensor = file.graph.result(op)
    value = file.stored(tensor)
    scale = file.constant(f"{op.name}/octaves", np.float32(-1 / math.log(2)))
    binary = file.add("Mul", [natural, scale], f"{op.name}/binary")
    late = file.constant(f"{op.name}/late", np.float32(math.log2(1.5) - 0.5))
    binary = file.add("Sub", [binary, late], f"{op.name}/rounded_late")
    parameters, _ = file.parameters(op.name, value, np.ones(1))
    clipped = file.clipped(op.name, binary, tensor, np.ones(1))
    file.add("QuantizeLinear", [clipped, *parameters], value.name)
    return value


def _layernorm(file: OnnxFile, op: Any) -> Value:
    found = normalization(file.graph, op)
    x = file.read(file.operand(op.a), op.name, found.operand)
    parameters = [
        file.constant(f"{op.name}/{role}", np.float32(values))
        for role, values in (("weight", found.gamma), ("bias", found.beta))
    ]
    real = file.add(
        "LayerNormalization",
        [x, *parameters],
        f"{op.name}/real",
        axis=-1,
        epsilon=found.epsilon,
    )
    return file.write(op.name, real)


def _l2norm(file: OnnxFile, op: Any) -> Value:
    x = file.read(file.operand(op.a), op.name, np.ones(1))
    gain = l2norm_gain(file.graph, op)
    by_head = gain.reshape(-1, 1, 1) if gain.size > 1 else gain
    least = max(op.epsilon, 1) * 2.0**-op.sqrt_fraction_bits
    return file.write(op.name, divided_by_length(file, op.name, x, by_head, least))


NONLINEAR: Mapping[type[Op], Callable[[OnnxFile, Any], Value]] = MappingProxyType(
    {
        Lookup: _lookup,
        InterpolatedLookup: _interpolated,
        GeluPolynomial: _at_own_scale("gelu"),
        ShiftGelu: _at_own_scale("quick_gelu"),
        Softmax: _softmax,
        SoftmaxFloatTable: _softmax,
        SoftmaxGemmlowp: _softmax,
        SoftmaxLut513: _softmax,
        SoftmaxIta: _softmax,
        SoftmaxIBert: _softmax,
        Shiftmax: _softmax,
        SoftmaxLog2: _logarithms,
        LayerNorm: _layernorm,
        LayerNormBisection: _layernorm,
        L2Norm: _l2norm,
    }
)
