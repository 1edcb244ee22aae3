# SPDX-License-Identifier: Apache-2.0
"""A graph as a .tflite file that Vela compiles, for its cycles alone.

It differs from :mod:`simulator.export.tflite_graph` in what no cycle depends on, or what a person
who brings a network to an Ethos-U does before the compiler:

- Weights: where the graph has none, they are random.
- Scales: Vela refuses a RESHAPE that changes a scale, so there is none; some operators see another
  scale than in the graph.
- The network starts where the first operator computes: who writes the image writes it in the order
  of patches.
- A SquaredDifference is a SUB and a MUL: Vela has no operation for SQUARED_DIFFERENCE, and makes
  nine of it in 32 bits.
- Tensors have the graph's own dimensions, without one for images: Vela takes a permutation of more
  dimensions apart into more passes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np

from simulator.export import tflite_file
from simulator.export.tflite_file import TfliteFile
from simulator.export.tflite_graph import Translation, translate_op
from simulator.export.tflite_model import tflite_bytes
from simulator.graph import IntGraph
from simulator.graph.op import Op
from simulator.graph.ops import Add, MatMul, Mean, Reshape, SquaredDifference, Transpose

_MATRIX = 2
_LARGEST_CODE = 127
_LARGEST = 3  # standard deviations, of some hundred weights


class VelaTranslation(Translation):
    """Ops of a graph as operators that Vela takes."""

    def at_scale(self, op: Op, name: str, scale: float) -> tflite_file.Tensor:
        """Return an operand with the scale that it has, whatever it is worth to this op."""
        del op, scale
        return self.operand(name)

    def alike(self, other: str, name: str, shape: Sequence[int]) -> tflite_file.Tensor:
        """Add a tensor of the type and scale of another one, and a shape of its own."""
        described = self.file.tensors[self.operand(other).index]
        tensor = self.file.tensor(name, described["dtype"], shape)
        self.file.tensors[tensor.index]["quantization"] = described["quantization"]
        return tensor

    def reshape(
        self, source: tflite_file.Tensor, result: tflite_file.Tensor, shape: Sequence[int]
    ) -> None:
        """Add a RESHAPE to a shape that begins with the one image."""
        sizes = self.integers(f"{result.name}/shape", shape)
        self.file.op("RESHAPE", [source, sizes], [result])


def _squares(found: VelaTranslation, op: SquaredDifference) -> None:
    result = found.graph.result(op)
    scale = found.graph.tensors[op.a].scale[0]
    difference = found.file.tensor(
        f"{op.name}/difference", "int8", (found.images, *result.shape), scale=scale
    )
    found.file.op("SUB", [found.operand(name) for name in op.operands], [difference])
    found.declare(result)
    found.file.op("MUL", [difference, difference], [found.tensors[op.name]])


def _mean(found: VelaTranslation, op: Mean) -> None:
    """Add a MEAN of a matrix: Vela takes those that leave at most two dimensions of three."""
    shape = found.graph.tensors[op.a].shape
    if op.axis != len(shape) - 1 or len(shape) <= _MATRIX:
        translate_op(found, op)
        return
    result = found.graph.result(op)
    rows = math.prod(shape[:-1])
    found.declare(result)
    flat = found.alike(op.a, f"{op.name}/rows", (1, rows, shape[-1]))
    means = found.alike(op.name, f"{op.name}/means", (1, rows, 1))
    found.reshape(found.operand(op.a), flat, (1, rows, shape[-1]))
    axes = found.integers(f"{op.name}.axes", [_MATRIX])
    found.file.op("MEAN", [flat, axes], [means], keepDims=True)
    found.reshape(means, found.tensors[op.name], (1, *result.shape))


def _sum(found: VelaTranslation, op: Add) -> None:
    """Add masks of any width, which switch scores off, as 8-bit codes."""
    graph, scale = found.graph, found.graph.result(op).scale[0]
    operands = [
        found.file.tensor(f"{op.name}/{name}", "int8", data=graph.constants[name], scale=scale)
        if graph.is_constant(name)
        else found.operand(name)
        for name in op.operands
    ]
    found.result(op, "ADD", operands)


_RULES: Mapping[type[Op], Callable[[VelaTranslation, Any], None]] = MappingProxyType(
    {SquaredDifference: _squares, Add: _sum, Mean: _mean}
)


def arranged_inputs(graph: IntGraph) -> frozenset[str]:
    """Return the inputs, and what Reshapes and Transposes make of nothing but inputs."""
    found = set(graph.inputs)
    for op in graph.ops:
        if isinstance(op, Reshape | Transpose) and found.issuperset(op.operands):
            found.add(op.name)
    return frozenset(found)


def with_weights(graph: IntGraph) -> IntGraph:
    """Return a graph whose layers have weights: zeros, of a graph without any, are random codes.

    Vela compresses weights, so what they are has some influence on its cycles. The codes have the
    normal distribution of a fresh network's; the largest of some hundred is the largest code.
    """
    generator = np.random.default_rng(0)
    constants = dict(graph.constants)
    for op in graph.ops:
        if isinstance(op, MatMul) and graph.is_constant(op.b) and not constants[op.b].any():
            codes = generator.normal(scale=_LARGEST_CODE / _LARGEST, size=constants[op.b].shape)
            codes = np.rint(codes).clip(-_LARGEST_CODE, _LARGEST_CODE)
            constants[op.b] = codes.astype(constants[op.b].dtype)
    return replace(graph, constants=constants)


def network_file(graph: IntGraph) -> bytes:
    """Return a .tflite file of a graph for one image.

    Raises
    ------
    InputError
        If an op has no form in TFLite; it is named.
    """
    graph = with_weights(graph)
    found, given = VelaTranslation(graph, images=1), arranged_inputs(graph)
    for op in graph.ops:
        if op.name not in given:
            _RULES.get(type(op), translate_op)(found, op)
    found.file.inputs = [found.operand(name) for name in found.inputs]
    found.file.outputs = [found.tensors[name] for name in graph.outputs]
    _remove_images(found.file)
    return tflite_bytes(found.file.described(), found.file.constants)


def _remove_images(file: TfliteFile) -> None:
    """Remove the first dimension, of one image, from all activations, shapes, axes and orders."""
    names = [tensor["name"] for tensor in file.tensors]
    for tensor in file.tensors:
        if tensor["name"] not in file.constants:
            del tensor["shape"][0]
    for operator in file.operators:
        inputs = [names[index] for index in operator["inputs"] if index >= 0]
        if operator["kind"] == "CONCATENATION":
            operator["options"]["axis"] -= 1
            changed = {name: file.constants[name][0] for name in inputs if name in file.constants}
        else:
            changed = _parameters(operator["kind"], inputs, file)
        for name, values in changed.items():
            file.constants[name] = values
            file.tensors[names.index(name)]["shape"] = list(values.shape)


def _parameters(kind: str, inputs: list[str], file: TfliteFile) -> dict[str, np.ndarray[Any, Any]]:
    """Return an operator's constant shapes, axes and orders without the dimension of images."""
    constants = {name: file.constants[name] for name in inputs[1:] if name in file.constants}
    if kind in {"RESHAPE", "SLICE"}:
        return {name: values[1:] for name, values in constants.items()}
    if kind == "MEAN":
        return {name: values - 1 for name, values in constants.items()}
    if kind == "TRANSPOSE":
        return {name: values[1:] - 1 for name, values in constants.items()}
    return {}
