# SPDX-License-Identifier: Apache-2.0
"""IntGraph: tensors, ops in order of execution, constants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from types import MappingProxyType

from simulator.graph.op import Op, TensorId
from simulator.numerics.float_type import Array, FloatType, TensorType
from simulator.numerics.integer_type import IntType

FORMAT = 1


class Role(StrEnum):
    """Origin of a tensor's codes."""

    INPUT = "input"
    CONSTANT = "constant"
    ACTIVATION = "activation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """A named array of integers and how to read them: ``real ≈ scale * (code - zero_point)``.

    A tensor of type ``f32`` holds the real values themselves: no scale, zero point 0.

    Attributes
    ----------
    shape
        of one image, without a batch dimension
    scale
        one factor, or one per channel of the last dimension; empty where no real value is meant
        (multipliers, shifts) or where it is implied (weights). Only the two ends of a graph and
        reports read it: execution needs no real number.
    """

    name: TensorId
    shape: tuple[int, ...]
    type: TensorType
    role: Role
    zero_point: int = 0
    scale: tuple[float, ...] = ()

    @property
    def is_float(self) -> bool:
        """True of a tensor of real values, not codes."""
        return isinstance(self.type, FloatType)

    @property
    def code_type(self) -> IntType:
        """The type of its codes; TypeError where it holds real values."""
        if isinstance(self.type, FloatType):
            raise TypeError(f"tensor {self.name}: is {self.type}, it has no codes")
        return self.type

    @property
    def size(self) -> int:
        """Number of elements."""
        size = 1
        for extent in self.shape:
            size *= extent
        return size

    @property
    def bytes(self) -> int:
        """Bytes on the chip: sub-byte codes are packed, rows are not padded."""
        return (self.size * self.type.bits + 7) // 8


@dataclass(frozen=True, kw_only=True)
class IntGraph:
    """The computation of the chip; the only description that anything downstream reads.

    Attributes
    ----------
    name
        the model
    profile
        name of the hardware profile it was lowered for
    inputs, outputs
        tensor names, in order
    tensors
        every tensor by name
    ops
        in order of execution (each operand is an input, a constant or an earlier result)
    constants
        codes (or float32 values) of every tensor of role ``constant``
    meta
        text for people and front ends (class count, preprocessing); never read by execution
    """

    name: str
    profile: str
    inputs: tuple[TensorId, ...]
    outputs: tuple[TensorId, ...]
    tensors: Mapping[TensorId, Tensor]
    ops: tuple[Op, ...]
    constants: Mapping[TensorId, Array]
    meta: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @cached_property
    def makers(self) -> Mapping[TensorId, Op]:
        """The op that writes each result, by the result's name."""
        return MappingProxyType({op.name: op for op in self.ops})

    def result(self, op: Op) -> Tensor:
        """Return the tensor that ``op`` writes."""
        return self.tensors[op.name]

    def is_constant(self, name: TensorId) -> bool:
        """Return true if the tensor's codes are part of the graph."""
        return self.tensors[name].role is Role.CONSTANT

    @property
    def float_ops(self) -> int:
        """Number of ops that are not integer arithmetic, sums rescaled in float included."""
        return sum(op.computes_in != "integer" for op in self.ops)
