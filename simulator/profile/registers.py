# SPDX-License-Identifier: Apache-2.0
"""The table ``[registers]``: widths of registers inside ops, beside the accumulators'.

They change no integer: the emulator computes in 64 bits, and says of each whether it can overflow.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, Field

from simulator.graph.ops import op_names
from simulator.numerics.integer_type import IntType

ValueName = Annotated[str, Field(pattern=r"^[a-z0-9_]+$", max_length=100)]
# By kind of op, as reports call it, and by value: {"softmax": {"sum": "u36"}}.
RegisterTable = dict[ValueName, dict[ValueName, str]]


def _known(table: RegisterTable) -> RegisterTable:
    """Refuse kinds of ops that there are not, and types that no register has."""
    names = op_names()
    found = []
    for kind, values in table.items():
        if kind not in names:
            found.append(f"{kind}: no such kind of op; they are {', '.join(sorted(names))}")
        for value, text in values.items():
            try:
                IntType.parse(text)
            except ValueError as error:
                found.append(f"{kind}.{value}: {error}")
    if found:
        raise ValueError("; ".join(found))
    return table


Registers = Annotated[RegisterTable, AfterValidator(_known), Field(default_factory=dict)]


def widths(table: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, IntType]]:
    """Return the types that the texts of a table write."""
    return {
        kind: {value: IntType.parse(text) for value, text in values.items()}
        for kind, values in table.items()
    }
