# SPDX-License-Identifier: Apache-2.0
"""An ONNX file under construction whose tensors are codes: operators, initializers, names.

This module only describes; the onnx package is in the environment of the oracles, where
:mod:`engine_process` writes the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aocq.capture import FloatNode
from aocq.methods import QuantizedModel
from aocq.methods.quantizers import ActivationQuantizer
from simulator.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A tensor of the file: codes with what they stand for, or (no quantizer) real values."""

    name: str
    scale: float = 0.0
    zero_point: int = 0
    dtype: str = "int8"
    real: bool = False


@dataclass
class Description:
    """A file under construction, for a fixed number of images at a time.

    ``nodes`` are what JSON can hold, ``constants`` the initializers by name. Signed codes are
    stored with ``offset`` added: with 128 they are uint8, which some kernels want.
    """

    model: QuantizedModel
    images: int
    offset: int = 0
    nodes: list[dict[str, Any]] = field(default_factory=list)
    constants: dict[str, NDArray[Any]] = field(default_factory=dict)
    values: dict[str, Value] = field(default_factory=dict)

    def add(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Add an operator and return its output's name."""
        self.nodes.append(
            {"kind": kind, "inputs": list(inputs), "outputs": [output], "attributes": attributes}
        )
        return output

    def constant(self, name: str, values: NDArray[Any]) -> str:
        """Add an initializer, once, and return its name."""
        self.constants[name] = values
        return name

    def shape(self, name: str, extents: Sequence[int]) -> str:
        """Add an initializer of shapes, axes or indices."""
        return self.constant(name, np.array(extents, np.int64))

    def read(self, value: Value, reader: str) -> str:
        """Return the real values of a tensor: a DequantizeLinear for each reader.

        onnxruntime fuses only those that have one reader.
        """
        if value.real:
            return value.name
        stem = f"{reader}.of.{value.name}"
        return self.add(
            "DequantizeLinear",
            [value.name, *self._parameters(stem, value)],
            f"{stem}.real",
        )

    def write(self, node: FloatNode, real: str) -> Value:
        """Return a node's result from its real values: codes, where the model has a quantizer."""
        quantizer = self.model.activations.get(node.name)
        if quantizer is None:
            if node.name not in self.model.fused_layers:
                raise InputError(f"{node.name}: stays in float; onnxruntime is asked for integers")
            return Value(name=real, real=True)
        value = self.codes(node)
        self.add("QuantizeLinear", [real, *self._parameters(node.name, value)], value.name)
        return value

    def codes(self, node: FloatNode) -> Value:
        """Return a node's result as codes.

        Raises
        ------
        InputError
            If it has none, its steps differ by channel, or it has levels or more than 8 bits.
        """
        quantizer = self.model.activations.get(node.name)
        if not isinstance(quantizer, ActivationQuantizer) or quantizer.alpha:
            raise InputError(f"{node.name}: has not one step, as QuantizeLinear is written with")
        if quantizer.type.bits > 8:
            raise InputError(f"{node.name}: is {quantizer.type}; the integer kernels read 8 bits")
        offset = self.offset if quantizer.type.signed else 0
        return Value(
            name=f"{node.name}.codes",
            scale=quantizer.scale,
            zero_point=quantizer.zero_point + offset,
            dtype="int8" if quantizer.type.signed and not offset else "uint8",
        )

    def _parameters(self, stem: str, value: Value) -> list[str]:
        return [
            self.constant(f"{stem}.scale", np.array(value.scale, np.float32)),
            self.constant(f"{stem}.zero_point", np.array(value.zero_point, value.dtype)),
        ]
