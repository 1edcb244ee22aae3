# SPDX-License-Identifier: Apache-2.0
"""Fields of recipes, described once: type, bounds, default, and what a command line says of them.

A field is written as ``Annotated[int, Interval(ge=0, le=4), Option("...")] = 4``. Constructors
check the bounds by it, files are validated by it, and :mod:`aocq.cli.groups` makes options of it.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from annotated_types import Interval

# Of classes that are read from files: no other keys, no conversions.
STRICT: Mapping[str, object] = MappingProxyType({"extra": "forbid", "strict": True})


@dataclass(frozen=True, slots=True)
class Option:
    """What a command line says of a field.

    Attributes
    ----------
    help
        a sentence
    name
        of the option; empty where it is the field's
    bounds
        of a number that is typed; None where they are the field's own
    """

    help: str
    name: str = ""
    bounds: Interval | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldSpec:
    """The description of one field.

    Attributes
    ----------
    type
        without annotations, such as ``int`` or ``Literal["minmax", "mse"]``
    choices
        of a Literal; empty for other types
    bounds
        of a number
    option
        None: no option of a command line
    """

    name: str
    type: Any
    default: Any
    choices: tuple[object, ...]
    bounds: Interval
    option: Option | None

    @property
    def option_bounds(self) -> Interval:
        """Bounds of a number on a command line."""
        return (self.option and self.option.bounds) or self.bounds

    def problem(self, value: Any) -> str | None:
        """Return what is wrong with a value of the field's type, if anything."""
        if self.choices:
            wanted = f"one of {', '.join(map(str, self.choices))}"
            fits = value in self.choices
        else:
            wanted = _in_words(self.bounds)
            fits = value is None or _within(self.bounds, value)
        return None if fits else f"{self.name} = {value!r}: wanted {wanted}"


# A comparison and its words for every kind of bound.
_COMPARISONS: Mapping[str, tuple[Callable[[Any, Any], bool], str]] = MappingProxyType(
    {
        "ge": (operator.ge, "at least"),
        "gt": (operator.gt, "more than"),
        "le": (operator.le, "at most"),
        "lt": (operator.lt, "less than"),
    }
)


def _bounds(interval: Interval) -> Mapping[str, Any]:
    found = {kind: getattr(interval, kind) for kind in _COMPARISONS}
    return {kind: bound for kind, bound in found.items() if bound is not None}


def _within(interval: Interval, value: Any) -> bool:
    # NaN compares as false with every bound.
    return all(_COMPARISONS[kind][0](value, bound) for kind, bound in _bounds(interval).items())


def _in_words(interval: Interval) -> str:
    if interval.ge is not None and interval.le is not None:
        return f"{interval.ge:g} to {interval.le:g}"
    bounds = _bounds(interval).items()
    return " and ".join(f"{_COMPARISONS[kind][1]} {bound:g}" for kind, bound in bounds)


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
        bounds=bounds,
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
