# SPDX-License-Identifier: Apache-2.0
"""C text of numbers, initializers and arrays."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TypeAlias

from simulator.numerics.integer_type import IntArray, IntType

INT64_LOWEST = -(1 << 63)
PER_LINE = 16  # elements of an array

# A value of an initializer: an expression, a number, or the fields of a struct.
Value: TypeAlias = "str | int | Mapping[str, Value]"


def number(value: int) -> str:
    """Return an integer constant expression; C has no literal for the lowest number of 64 bits."""
    return f"({INT64_LOWEST + 1} - 1)" if value == INT64_LOWEST else str(int(value))


def initializer(value: Value, indent: int = 1) -> str:
    """Return a C99 initializer with designators; fields of structs stand on lines of their own."""
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return number(value)
    inner = "    " * (indent + 1)
    lines = [f"{inner}.{name} = {initializer(field, indent + 1)}," for name, field in value.items()]
    return "{\n" + "\n".join(lines) + "\n" + "    " * indent + "}"


def listed(values: list[int] | tuple[int, ...]) -> str:
    """Return the initializer of a short array, on one line."""
    return "{" + ", ".join(map(number, values)) + "}"


def array_lines(values: IntArray) -> Iterator[str]:
    """Yield the elements of an array between braces, a few per line."""
    flat = values.reshape(-1).tolist()
    for start in range(0, len(flat), PER_LINE):
        yield "    " + ", ".join(map(number, flat[start : start + PER_LINE])) + ","


def c_type(kind: IntType) -> str:
    """Return the type of <stdint.h> that holds the codes of a type in memory."""
    return f"{kind.dtype.name}_t"


def identifier(name: str) -> str:
    """Return the name of a tensor or op as part of a C identifier; two names may give the same."""
    return re.sub(r"\W", "_", name, flags=re.ASCII)
