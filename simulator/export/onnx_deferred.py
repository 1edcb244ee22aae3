# SPDX-License-Identifier: Apache-2.0
"""A softmax whose division comes after the product with the values, in ONNX's QDQ form."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np

from simulator.export.onnx_file import OnnxFile, Value
from simulator.export.real_numbers import factors, power, result_scales
from simulator.graph.op import Op
from simulator.graph.ops import DeferredSoftmax, NormalizedMatMul


def _logarithms(file: OnnxFile, op: Any) -> Value:
    """Distances from the largest score of a row, in steps of the logarithm; ties to even."""
    x = file.read(file.operand(op.a), op.name, op.multiplier * power([op.shift]))
    last = file.shape(f"{op.name}/last", [-1])
    largest = file.add("ReduceMax", [x, last], f"{op.name}/largest", keepdims=1)
    steps = file.add("Sub", [largest, x], f"{op.name}/steps")
    tensor = file.graph.result(op)
    value = file.stored(tensor)
    parameters, _ = file.parameters(op.name, value, np.ones(1))
    clipped = file.clipped(op.name, steps, tensor, np.ones(1))
    file.add("QuantizeLinear", [clipped, *parameters], value.name)
    return value


def _normalized(file: OnnxFile, op: Any) -> Value:
    """Levels gathered by codes; their product with the values over their sums."""
    graph = file.graph
    codes, b = file.operand(op.a), file.operand(op.b)
    table = graph.constants[op.levels].astype(np.float32)
    place = file.add("Cast", [codes.name], f"{op.name}/place", to="int32")
    levels = file.add(
        "Gather", [file.constant(f"{op.name}/table", table), place], f"{op.name}/levels", axis=0
    )
    if op.transpose_b:
        rank = len(graph.result(op).shape) + 1
        order = [*range(rank - 2), rank - 1, rank - 2]
        b = replace(b, name=file.add("Transpose", [b.name], f"{op.name}/turned", perm=order))
    values = file.read(b, f"{op.name}/1", np.ones(1))
    product = file.add("MatMul", [levels, values], f"{op.name}/product")
    last = file.shape(f"{op.name}/last", [-1])
    total = file.add("ReduceSum", [levels, last], f"{op.name}/sum", keepdims=1)
    one = file.constant(f"{op.name}/one", np.float32(1))
    divisor = file.add("Max", [total, one], f"{op.name}/divisor")
    mean = file.add("Div", [product, divisor], f"{op.name}/mean")
    worth = factors(graph, op.requantize) * np.ldexp(1.0, op.reciprocal_bits)
    factor = file.real_constant(f"{op.name}/factor", worth * result_scales(graph, op.name))
    return file.write(op.name, file.add("Mul", [mean, factor], f"{op.name}/real"))


DEFERRED: Mapping[type[Op], Callable[[OnnxFile, Any], Value]] = MappingProxyType(
    {DeferredSoftmax: _logarithms, NormalizedMatMul: _normalized}
)
