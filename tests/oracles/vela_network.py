# SPDX-License-Identifier: Apache-2.0
"""A graph as a .tflite file that Vela compiles, for its cycles alone.

It differs from :mod:`simulator.export.tflite_graph` in what no cycle depends on, or what a person
who brings a network to an Ethos-U does before the compiler:

- Scales: Vela refuses a RESHAPE that changes a scale, so there is none; some operators see another
  scale than in the graph.
- The network starts where the first operator computes: who writes the image writes it in the order
  of patches.
- Tensors have the graph's own dimensions, without one for images: Vela takes a permutation of more
  dimensions apart into more passes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from simulator.export import tflite_file
from simulator.export.tflite_file import TfliteFile
from simulator.export.tflite_graph import Translation, translate_op
from simulator.export.tflite_model import tflite_bytes
from simulator.graph import IntGraph
from simulator.graph.op import Op
from simulator.graph.ops import Reshape, Transpose


class VelaTranslation(Translation):
    """Ops of a graph as operators that Vela takes."""

    def at_scale(self, op: Op, name: str, scale: float) -> tflite_file.Tensor:
        """Return an operand with the scale that it has, whatever it is worth to this op."""
        del op, scale
        return self.operand(name)


def arranged_inputs(graph: IntGraph) -> frozenset[str]:
    """Return the inputs, and what Reshapes and Transposes make of nothing but inputs."""
    found = set(graph.inputs)
    for op in graph.ops:
        if isinstance(op, Reshape | Transpose) and found.issuperset(op.operands):
            found.add(op.name)
    return frozenset(found)


def network_file(graph: IntGraph) -> bytes:
    """Return a .tflite file of a graph for one image.

    Raises
    ------
    InputError
        If an op has no form in TFLite; it is named.
    """
    found, given = VelaTranslation(graph, images=1), arranged_inputs(graph)
    for op in graph.ops:
        if op.name not in given:
            translate_op(found, op)
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
