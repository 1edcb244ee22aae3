# SPDX-License-Identifier: Apache-2.0
"""Fields of recipes, described once: type, bounds, default, and what a command line says of them.

A field is written as ``Annotated[int, Interval(ge=0, le=4), Option("...")] = 4``. Constructors
check the bounds by it, files are validated by it, and :mod:`aocq.cli.groups` makes options of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from math import inf
from types import MappingProxyType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from annotated_types import Interval

# Of classes that are read from files: no other keys, no conversions.
STRICT: Mapping[str, object] = MappingProxyType({"extra": "forbid", "strict": True})


@dataclass(frozen=True, slots=True)
class Option:
    """What a command line says of a field: a sentence, and the option's name if it has its own."""

    help: str
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldSpec:
    """The description of one field.

    Attributes
    ----------
    type
        without annotations, such as ``int`` or ``Literal["minmax", "mse"]``
    choices
        of a Literal; empty for other types
    low, high
        bounds of a number, both included
    option
        None: no option of a command line
    """

    name: str
    type: Any
    default: Any
    choices: tuple[object, ...]
    low: float
    high: float
    option: Option | None

    def problem(self, value: Any) -> str | None:
        """Return what is wrong with a value of the field's type, if anything."""
        if self.choices:
            wanted = f"one of {', '.join(map(str, self.choices))}"
            fits = value in self.choices
        else:
            wanted = f"{self.low:g} to {self.high:g}"
            bounded = (self.low, self.high) != (-inf, inf)
            # What is not a number is beyond neither bound, and within none.
            fits = not bounded or value is None or self.low <= value <= self.high
        return None if fits else f"{self.name} = {value!r}: wanted {wanted}"


_DESCRIBED: dict[type, Mapping[str, FieldSpec]] = {}


def field_specs(cls: type) -> Mapping[str, FieldSpec]:
    """Return the description of every field of a dataclass whose fields have defaults, by name."""
    if cls not in _DESCRIBED:
        hints = get_type_hints(cls, include_extras=True)
        _DESCRIBED[cls] = MappingProxyType(
            {
                field.name: _spec(field.name, hints[field.name], field.default)
                for field in fields(cls)
            }
        )
    return _DESCRIBED[cls]


def _spec(name: str, hint: Any, default: Any) -> FieldSpec:
    kind, *notes = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    bounds: Any = next((note for note in notes if isinstance(note, Interval)), Interval())
    return FieldSpec(
        name=name,
        type=kind,
        default=default,
        choices=_choices(kind),
        low=-inf if bounds.ge is None else bounds.ge,
        high=inf if bounds.le is None else bounds.le,
        option=next((note for note in notes if isinstance(note, Option)), None),
    )


def _choices(kind: Any) -> tuple[object, ...]:
    if get_origin(kind) is Literal:
        return get_args(kind)
    literals = [part for part in get_args(kind) if get_origin(part) is Literal]
    return (*(choice for part in literals for choice in get_args(part)), None) if literals else ()


def check_fields(value: object) -> None:
    """Check a dataclass's values against its fields' choices and bounds.

    Raises
    ------
    ValueError
        At the first value that its field cannot have, naming both.
    """
    for name, spec in field_specs(type(value)).items():
        problem = spec.problem(getattr(value, name))
        if problem is not None:
            raise ValueError(problem)
