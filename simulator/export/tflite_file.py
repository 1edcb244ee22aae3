# SPDX-License-Identifier: Apache-2.0
"""Describe a .tflite model, from a single operator up to a whole network.

::

    model = TfliteFile()
    x = model.tensor("x", "int8", (4, 192), scale=0.05, zero_point=3)
    w = model.tensor("w", "int8", data=weights, scale=per_row, axis=0)      # [768, 192]
    b = model.tensor("b", "int32", data=bias, scale=0.05 * per_row, axis=0)
    y = model.tensor("y", "int8", (4, 768), scale=0.1, zero_point=-5)
    model.op("FULLY_CONNECTED", [x, w, b], [y], keepNumDims=True)
    model.inputs, model.outputs = [x], [y]
    content = tflite_bytes(model.described(), model.constants)

Operators, options and their fields have the names of TensorFlow Lite's schema (``schema.fbs``; the
options in the lower camel case of its Python form): ``model.op("SOFTMAX", [x], [y], beta=1.0)``.
An option that is a type is given by name: ``quantizedBiasType="INT64"``. Options not given have
the schema's defaults. An input that is left out is ``None``.

This module only describes; :mod:`simulator.export.tflite_model` makes the file, which needs the
flatbuffers library and the schema.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Tensor:
    """A tensor of the model: its place in the list of tensors, and its name."""

    index: int
    name: str


@dataclass
class TfliteFile:
    """A model under construction: one subgraph of tensors and operators in order of execution."""

    tensors: list[dict[str, Any]] = field(default_factory=list)
    operators: list[dict[str, Any]] = field(default_factory=list)
    constants: dict[str, NDArray[Any]] = field(default_factory=dict)
    inputs: Sequence[Tensor] = ()
    outputs: Sequence[Tensor] = ()

    def tensor(
        self,
        name: str,
        dtype: str,
        shape: Sequence[int] | None = None,
        *,
        scale: ArrayLike | None = None,
        zero_point: ArrayLike = 0,
        axis: int = 0,
        data: ArrayLike | None = None,
    ) -> Tensor:
        """Add a tensor.

        Parameters
        ----------
        name
            Unique in the model.
        dtype
            numpy's name: ``int8``, ``int16``, ``int32``, ``int64``, ``float32``
        shape
            Needed unless there is ``data``.
        scale, zero_point
            One number, or one per entry of dimension ``axis``. The file holds float32 scales.
        data
            The values of a constant; they must fit ``dtype``.
        """
        if any(other["name"] == name for other in self.tensors):
            raise ValueError(f"tensor {name!r} is there already")
        if data is not None:
            values = np.asarray(data)
            stored = values.astype(dtype)
            if not np.array_equal(stored, values):
                raise ValueError(f"tensor {name!r}: data does not fit {dtype}")
            self.constants[name] = stored
            shape = stored.shape
        if shape is None:
            raise ValueError(f"tensor {name!r}: needs a shape or data")
        quantization = None
        if scale is not None:
            scales = np.atleast_1d(np.asarray(scale, np.float32))
            zeros = np.broadcast_to(np.asarray(zero_point, np.int64), scales.shape)
            # Every float32 is a float64, so JSON carries it exactly.
            quantization = {
                "scale": [float(value) for value in scales],
                "zero_point": [int(value) for value in zeros],
                "axis": axis,
            }
        index = len(self.tensors)
        self.tensors.append(
            {"name": name, "dtype": dtype, "shape": list(shape), "quantization": quantization}
        )
        return Tensor(index, name)

    def op(
        self,
        kind: str,
        inputs: Sequence[Tensor | None],
        outputs: Sequence[Tensor],
        **options: bool | int | float | str,
    ) -> None:
        """Add an operator behind those already there."""
        self.operators.append(
            {
                "kind": kind,
                "inputs": [-1 if tensor is None else tensor.index for tensor in inputs],
                "outputs": [tensor.index for tensor in outputs],
                "options": options,
            }
        )

    def described(self) -> dict[str, Any]:
        """Return everything but the constants, as JSON can hold it."""
        return {
            "tensors": self.tensors,
            "operators": self.operators,
            "inputs": [tensor.index for tensor in self.inputs],
            "outputs": [tensor.index for tensor in self.outputs],
        }
