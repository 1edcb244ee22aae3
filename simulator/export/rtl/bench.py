# SPDX-License-Identifier: Apache-2.0
"""What a testbench is made of: loops over elements, and the memory that each port is fed from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from math import prod
from types import MappingProxyType

from simulator.graph.shapes import Shape
from simulator.numerics.float_type import Array
from simulator.numerics.integer_type import IntType


class Part(StrEnum):
    """What of an op is tested."""

    WHOLE = "whole"
    SUMS = "sums"  # products to accumulators
    REQUANTIZATION = "requantization"  # accumulators to codes


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """One of the nested loops over elements, the outermost first: ``extent`` rounds."""

    name: str
    extent: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """The port ``in_NAME`` and the memory ``NAME.hex`` whose words it carries.

    Attributes
    ----------
    words
        codes, in row-major order
    strides
        by how many words each loop moves on; 0 where it does not
    """

    name: str
    kind: IntType
    words: Array
    strides: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rom:
    """A memory file ``NAME.hex`` that a module reads itself: a table, a constant per channel."""

    name: str
    kind: IntType
    words: Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrapper:
    """A module with the ports of a bench, made of our units.

    Attributes
    ----------
    body
        SystemVerilog between the ports and ``endmodule``
    units
        those of :mod:`simulator.rtl` that it instantiates
    unused
        streams that it does not read, because its units hold those constants in memories
    """

    body: str
    units: tuple[str, ...]
    roms: tuple[Rom, ...] = ()
    unused: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """The testbench of one op.

    Attributes
    ----------
    loops
        one element is given away in every round of the innermost loop
    streams
        the operands and the constants that belong to an element
    result
        codes [images, ...], which come in row-major order
    sums
        whether there is one result for each round of the innermost loop but one, not for each of
        its elements
    numbers
        fields of the op that are single numbers or words, by name, and zero points
    roms
        tables of the op
    """

    op: str
    formula: str
    part: Part
    loops: tuple[Loop, ...]
    streams: tuple[Stream, ...]
    result: Array
    result_kind: IntType
    sums: bool = False
    numbers: Mapping[str, int | str] = field(default_factory=lambda: MappingProxyType({}))
    roms: tuple[Rom, ...] = ()

    @property
    def dump_name(self) -> str:
        """The name by which golden vectors have the results."""
        return f"{self.op}.accumulator" if self.part is Part.SUMS else self.op


def strides_of(shape: Shape) -> tuple[int, ...]:
    """Return the strides of an array in row-major order, in elements."""
    return tuple(prod(shape[axis + 1 :]) for axis in range(len(shape)))


def broadcast_strides(shape: Shape, onto: Shape) -> tuple[int, ...]:
    """Return the strides of an array that is repeated along dimensions of ``onto``.

    Raises
    ------
    ValueError
        If the shapes do not broadcast.
    """
    if len(shape) > len(onto):
        raise ValueError(f"{shape} has more dimensions than {onto}")
    missing = len(onto) - len(shape)
    found = [0] * missing
    for extent, stride, other in zip(shape, strides_of(shape), onto[missing:], strict=True):
        if extent not in (1, other):
            raise ValueError(f"{shape} does not repeat along {onto}")
        found.append(stride if extent == other else 0)
    return tuple(found)


def loops_over(shape: Sequence[int]) -> tuple[Loop, ...]:
    """Return a loop for each dimension of a result [images, ...]."""
    names = ["image", *(f"dimension_{axis}" for axis in range(len(shape) - 1))]
    return tuple(Loop(name=name, extent=extent) for name, extent in zip(names, shape, strict=True))
