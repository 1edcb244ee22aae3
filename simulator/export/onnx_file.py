# SPDX-License-Identifier: Apache-2.0
"""An ONNX file under construction whose tensors are codes: operators, initializers, names.

This module only describes; :mod:`simulator.export.onnx_model` makes the file, which needs the onnx
package.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.errors import InputError
from simulator.export.real_numbers import WIDEST_CODES, Real, scales
from simulator.graph import IntGraph, Tensor
from simulator.numerics.integer_type import IntType, Overflow, limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A tensor of the file: codes as they are stored, or real values."""

    name: str
    zero_point: int = 0
    dtype: str = "int8"
    real: bool = False


@dataclass
class OnnxFile:
    """A file under construction, for a fixed number of images at a time.

    ``nodes`` are what JSON can hold, ``constants`` the initializers by name. Signed codes of up to
    8 bits are stored with ``offset`` added: with 128 they are uint8, which some kernels want.
    ``owner`` is the op that nodes are added for: ``owners`` says of each node's output whose it is.
    ``overflow`` is what becomes of its codes outside their type.
    """

    graph: IntGraph
    images: int
    offset: int = 0
    nodes: list[dict[str, Any]] = field(default_factory=list)
    constants: dict[str, NDArray[Any]] = field(default_factory=dict)
    values: dict[str, Value] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    owner: str = ""
    overflow: Overflow = Overflow.SATURATE

    def add(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Add an operator and return its output's name."""
        self.nodes.append(
            {"kind": kind, "inputs": list(inputs), "outputs": [output], "attributes": attributes}
        )
        self.owners[output] = self.owner
        return output

    def constant(self, name: str, values: NDArray[Any] | np.generic) -> str:
        """Add an initializer, once, and return its name."""
        array = np.asarray(values)
        assert np.array_equal(self.constants.setdefault(name, array), array), name
        return name

    def shape(self, name: str, extents: Sequence[int]) -> str:
        """Add an initializer of shapes, axes or indices."""
        return self.constant(name, np.array(extents, np.int64))

    def real_constant(self, name: str, values: Real) -> str:
        """Add an initializer of real values, [C], or one value where all are equal."""
        same = values.ndim == 1 and same_everywhere(values)
        return self.constant(name, np.float32(values.flat[0] if same else values))

    def stored(self, tensor: Tensor) -> Value:
        """Return how the file stores a tensor's codes."""
        kind = tensor.code_type
        if kind.bits > WIDEST_CODES:
            raise InputError(f"tensor {tensor.name}: {kind} has no code type in QDQ form")
        wide = 8 if kind.bits <= 8 else 16
        offset = self.offset if kind.signed and wide == 8 else 0
        dtype = f"{'int' if kind.signed and not offset else 'uint'}{wide}"
        return Value(name=tensor.name, zero_point=tensor.zero_point + offset, dtype=dtype)

    def operand(self, name: str) -> Value:
        """Return a tensor that is there, or a constant of the graph."""
        if name not in self.values:
            self.constant(name, self.stored_constant(name))
            tensor = self.graph.tensors[name]
            real = Value(name=name, real=True)
            self.values[name] = real if tensor.is_float else self.stored(tensor)
        return self.values[name]

    def stored_constant(self, name: str) -> NDArray[Any]:
        """Return a constant of the graph as the file stores it."""
        tensor, codes = self.graph.tensors[name], self.graph.constants[name]
        if tensor.is_float:
            return codes.astype(np.float32)
        value = self.stored(tensor)
        offset = value.zero_point - tensor.zero_point
        stored: NDArray[Any] = (codes.astype(np.int64) + offset).astype(value.dtype)
        return stored

    def read(self, value: Value, reader: str, worth: Real, columns: int | None = None) -> str:
        """Return the real values of a tensor: a DequantizeLinear for each reader.

        onnxruntime fuses only those that have one reader.

        Parameters
        ----------
        worth
            of a code to this reader, [1] or [C] of the last dimension
        columns
            the extent of the last dimension (else that of ``worth``): where it is another, values
            are multiplied, and thereby repeated
        """
        columns = worth.size if columns is None else columns
        if value.real:
            return value.name
        stem = f"{reader}/of/{value.name}"
        if columns != worth.size and not same_everywhere(worth):
            plain = self.read(value, reader, np.ones(1))
            factor = self.real_constant(f"{stem}/factor", worth)
            return self.add("Mul", [plain, factor], f"{stem}/scaled")
        parameters, attributes = self.parameters(stem, value, worth)
        return self.add("DequantizeLinear", [value.name, *parameters], f"{stem}/real", **attributes)

    def write(self, name: str, real: str) -> Value:
        """Return a result as the codes that the graph has, from its real values.

        Sums too wide to be codes stay real, a unit of them being worth 1.
        """
        tensor = self.graph.tensors[name]
        if tensor.is_float or tensor.code_type.bits > WIDEST_CODES:
            return Value(name=real, real=True)
        value, worth = self.stored(tensor), scales(self.graph, name)
        parameters, attributes = self.parameters(name, value, worth)
        clipped = self.clipped(name, real, tensor, worth)
        self.add("QuantizeLinear", [clipped, *parameters], value.name, **attributes)
        return value

    def clipped(self, name: str, real: str, tensor: Tensor, worth: Real) -> str:
        """Return real values between the codes that the op yields.

        Those are less than what its storage holds where the type is narrower, or where the op
        saturates without the lowest code.
        """
        kind = tensor.code_type
        allowed = limits(kind, self.overflow)
        if kind.bits in {8, 16} and allowed == (kind.low, kind.high):
            return real
        ends = [(end - tensor.zero_point) * worth for end in allowed]
        low, high = (
            self.real_constant(f"{name}/{word}", end)
            for word, end in zip(("low", "high"), ends, strict=True)
        )
        above = self.add("Max", [real, low], f"{name}/above")
        return self.add("Min", [above, high], f"{name}/clipped")

    def parameters(self, stem: str, value: Value, worth: Real) -> tuple[list[str], dict[str, int]]:
        """Add scale and zero point: one of each, or one per channel."""
        same = same_everywhere(worth)
        scale = np.float32(worth[0]) if same else worth.astype(np.float32)
        zero = np.full(np.shape(scale), value.zero_point, value.dtype)
        names = [
            self.constant(f"{stem}/scale", scale),
            self.constant(f"{stem}/zero_point", zero),
        ]
        return names, {} if same else {"axis": -1}


def same_everywhere(values: Real) -> bool:
    """Return whether all values of a vector are one."""
    return bool((values == values.flat[0]).all())


def index_of(kind: IntType, value: Value, tensor: Tensor) -> int:
    """Return what is subtracted from a stored code to get its place in a table."""
    return kind.low + value.zero_point - tensor.zero_point
