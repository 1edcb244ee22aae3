# SPDX-License-Identifier: Apache-2.0
"""Groups of options that commands share: dataclasses in a signature, single options for typer."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from functools import wraps
from typing import Any, Self, get_type_hints

Command = Callable[..., None]


@dataclass(frozen=True)
class OptionGroup:
    """Options that belong together; a command's parameter of such a type is all of them.

    A field is an option as typer describes it, or a group again.
    """

    @classmethod
    def parameters(cls) -> dict[str, tuple[Any, Any]]:
        """Return annotation and default (or ``inspect.Parameter.empty``) by name of a field."""
        hints = get_type_hints(cls, include_extras=True)
        return {
            field.name: (
                hints[field.name],
                inspect.Parameter.empty if field.default is MISSING else field.default,
            )
            for field in fields(cls)
        }

    @classmethod
    def made_of(cls, values: Mapping[str, Any]) -> Self:
        """Return the group from its fields' values."""
        return cls(**values)


def is_group(annotation: Any) -> bool:
    """Return whether a parameter's annotation is a group."""
    return isinstance(annotation, type) and issubclass(annotation, OptionGroup)


def grouped(command: Command) -> Command:
    """Return a command that takes the options of its groups one by one, as typer hands them over.

    Raises
    ------
    ValueError
        If two options have one name.
    """
    asked = {
        name: (parameter.annotation, parameter.default)
        for name, parameter in inspect.signature(command, eval_str=True).parameters.items()
    }

    @wraps(command)
    def single(**values: Any) -> None:
        command(**_gathered(asked, values))

    parameters = _flattened(asked)
    names = [parameter.name for parameter in parameters]
    if len(set(names)) < len(names):
        raise ValueError(f"{command.__module__}: two options have one name: {', '.join(names)}")
    single.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    single.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return single


def _flattened(asked: Mapping[str, tuple[Any, Any]]) -> list[inspect.Parameter]:
    found = []
    for name, (annotation, default) in asked.items():
        if is_group(annotation):
            found += _flattened(annotation.parameters())
        else:
            kind = inspect.Parameter.KEYWORD_ONLY
            found.append(inspect.Parameter(name, kind, default=default, annotation=annotation))
    return found


def _gathered(asked: Mapping[str, tuple[Any, Any]], values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: (
            annotation.made_of(_gathered(annotation.parameters(), values))
            if is_group(annotation)
            else values[name]
        )
        for name, (annotation, _) in asked.items()
    }
