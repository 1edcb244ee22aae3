# SPDX-License-Identifier: Apache-2.0
"""What every operation of an IntGraph has, and the step that many of them end with."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar

from simulator.numerics.integer_type import Overflow
from simulator.numerics.rounding import Rounding

TensorId = str


@dataclass(frozen=True, slots=True, kw_only=True)
class Requantization:
    """Accumulator to code: ``fit(round(acc * multiplier[c] >> shift[c]) + z_y)``.

    multiplier : unsigned constant, [1] or [channels]
    shift      : unsigned constant, [1] or [channels], 0..62
    The exact fixed-point form of the ratio between the operands' scales and the result's.
    """

    multiplier: TensorId
    shift: TensorId
    rounding: Rounding
    overflow: Overflow


@dataclass(frozen=True, slots=True, kw_only=True)
class Op:
    """What every operation has: a name, which is also the name of its result."""

    arithmetic: ClassVar[str] = "integer"
    operand_fields: ClassVar[tuple[str, ...]] = ("a",)
    constant_fields: ClassVar[tuple[str, ...]] = ()

    name: TensorId

    @property
    def kind(self) -> str:
        """The operation's name in lower case, as text and tables print it."""
        return type(self).__name__.lower()

    @property
    def operands(self) -> tuple[TensorId, ...]:
        """The data operands in order: activations or constants."""
        found: list[TensorId] = []
        for field in self.operand_fields:
            value = getattr(self, field)
            if value is not None:
                found.extend([value] if isinstance(value, str) else value)
        return tuple(found)

    @property
    def constants(self) -> tuple[TensorId, ...]:
        """The constants an op reads beside its operands: bias, multipliers, tables."""
        found = [getattr(self, field) for field in self.constant_fields]
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Requantization):
                found += [value.multiplier, value.shift]
        return tuple(name for name in found if name is not None)
