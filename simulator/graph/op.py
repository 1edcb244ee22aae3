# SPDX-License-Identifier: Apache-2.0
"""The base of all operations of an IntGraph, and the requantization that many of them end with."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar

from simulator.numerics.accumulator import Accumulator
from simulator.numerics.added_field import added
from simulator.numerics.rescaling import Arithmetic, RescaleRule

__all__ = [
    "FLOAT_ARITHMETIC",
    "Op",
    "Requantization",
    "TensorId",
    "accumulator_of",
    "added",
    "residual_of",
]

TensorId = str
FLOAT_ARITHMETIC = "float32"


@dataclass(frozen=True, slots=True, kw_only=True)
class Requantization(RescaleRule):
    """Accumulator to code: ``fit(round(acc * multiplier[c] >> shift[c]) + z_y)``.

    multiplier : unsigned constant, [1] or [channels]; where ``arithmetic`` is float, a constant of
        that float type
    shift      : unsigned constant, [1] or [channels], 0..62; none where ``arithmetic`` is float
    The exact fixed-point form of the ratio between the operands' scales and the result's.

    The other fields are those of :class:`simulator.numerics.rescaling.RescaleRule`. Where
    ``arithmetic`` is float, y = ``fit(round(float(acc) * multiplier[c]) + z_y)``, the product
    rounded to that type; saturating only.
    """

    multiplier: TensorId
    shift: TensorId | None

    @classmethod
    def by(
        cls, rule: RescaleRule, *, multiplier: TensorId, shift: TensorId | None
    ) -> Requantization:
        """Return a requantization by a rule, its factors in two constants."""
        choices = {field.name: getattr(rule, field.name) for field in fields(RescaleRule)}
        return cls(multiplier=multiplier, shift=shift, **choices)


@dataclass(frozen=True, slots=True, kw_only=True)
class Op:
    """Base of every operation: a name, which is also the name of its result."""

    arithmetic: ClassVar[str] = "integer"
    operand_fields: ClassVar[tuple[str, ...]] = ("a",)
    constant_fields: ClassVar[tuple[str, ...]] = ()

    name: TensorId

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
    def requantizations(self) -> tuple[Requantization, ...]:
        """The requantizations that the op ends with: at most one in most ops."""
        values = (getattr(self, name) for name in _field_names(type(self)))
        return tuple(value for value in values if isinstance(value, Requantization))

    @property
    def computes_in(self) -> str:
        """``integer``, or the float type that any part of the op is computed in."""
        for found in self.requantizations:
            if found.arithmetic is not Arithmetic.FIXED_POINT:
                return str(found.arithmetic)
        return self.arithmetic

    @property
    def constants(self) -> tuple[TensorId, ...]:
        """The constants an op reads beside its operands: bias, multipliers, tables."""
        found = [getattr(self, field) for field in self.constant_fields]
        for requantization in self.requantizations:
            found += [requantization.multiplier, requantization.shift]
        return tuple(name for name in found if name is not None)


def _field_names(kind: type[Op]) -> tuple[str, ...]:
    """Return the names of a kind of op's fields: they are looked up for every op of a graph."""
    if kind not in _FIELD_NAMES:
        _FIELD_NAMES[kind] = tuple(declared.name for declared in fields(kind))
    return _FIELD_NAMES[kind]


_FIELD_NAMES: dict[type[Op], tuple[str, ...]] = {}


def accumulator_of(op: Op) -> Accumulator | None:
    """Return the accumulator that an op sums in; None of ops without sums."""
    return getattr(op, "accumulator", None)


def residual_of(op: Op) -> TensorId | None:
    """Return the residual that an op's result is added to in the same step; None of others."""
    return getattr(op, "residual", None)
