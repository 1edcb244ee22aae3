# SPDX-License-Identifier: Apache-2.0
"""Tables of a profile that name a file: the contents of a chip's own ROM.

Without such a table a network's tables are computed when it is lowered, for the scales of each
tensor. A ROM holds one function at one scale: what reads it is rescaled to that.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from pydantic import Field

from simulator.numerics.integer_type import IntType
from simulator.profile.section import Section

if TYPE_CHECKING:
    from simulator.profile.profile import NpuProfile

# Section and key of every table.
PLACES = (
    ("softmax", "table"),
    ("softmax", "exponential_table"),
    ("softmax", "reciprocal_table"),
    ("gelu", "table"),
    ("layernorm", "root_table"),
)
INTERPOLATED_ENTRIES = 513
INTERPOLATED = IntType(bits=16)

_Scale = Annotated[float, Field(gt=0, lt=1e30)]
_ZeroPoint = Annotated[int, Field(ge=-(1 << 15), lt=1 << 15)]


class ChipTable(Section):
    """A file of entries, lowest code first; its path starts from the profile's folder.

    ``entries`` are what the file holds: a profile's text has none.
    """

    file: Annotated[str, Field(min_length=1, max_length=1000)]
    entries: Annotated[list[int], Field(default_factory=list)]


class ExponentialTable(ChipTable):
    """Exponentials of differences of scores, a code of which is worth ``input_scale``."""

    input_scale: _Scale


class SampleTable(ChipTable):
    """A function of codes around 0: what a code is worth, before and behind it."""

    input_scale: _Scale
    output_scale: _Scale


class CodeTable(SampleTable):
    """A function with one entry per code, which may have zero points."""

    input_zero_point: _ZeroPoint = 0
    output_zero_point: _ZeroPoint = 0


class TableUse(NamedTuple):
    """A table that a profile has: its place, how many entries it must have, and of which type.

    ``zero_points`` are its own, with the types of their codes, by the name of their key.
    """

    path: tuple[str, str]
    table: ChipTable
    size: int
    type: IntType
    zero_points: dict[str, tuple[int, IntType]]

    @property
    def name(self) -> str:
        """The place as a message says it."""
        return ".".join(self.path)

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with the entries."""
        found = self.table.entries
        if len(found) != self.size:
            yield f"{self.name}: {self.table.file} has {len(found)} entries, wanted {self.size}"
        for index, entry in enumerate(found):
            if not self.type.low <= entry <= self.type.high:
                yield (
                    f"{self.name}: {self.table.file}: entry {index} is {entry}, wanted "
                    f"{self.type}: {self.type.low}..{self.type.high}"
                )
                break
        for key, (zero_point, kind) in self.zero_points.items():
            if not kind.low <= zero_point <= kind.high:
                yield f"{self.name}.{key} = {zero_point}: wanted a code of {kind}"


def table_uses(profile: NpuProfile) -> Iterator[TableUse]:
    """Yield the tables that a profile has."""
    codes = IntType(bits=profile.activation.bits)
    for section, key in PLACES:
        table = getattr(getattr(profile, section), key, None)
        if table is None:
            continue
        of_parts = IntType(bits=getattr(profile.layernorm, "part_bits", 8))
        kind = of_parts if section == "layernorm" else codes
        if isinstance(table, CodeTable):
            zero_points = {
                name: (getattr(table, name), kind)
                for name in ("input_zero_point", "output_zero_point")
            }
            yield TableUse((section, key), table, 1 << kind.bits, kind, zero_points)
        elif isinstance(table, ExponentialTable):
            bits: Any = getattr(profile.softmax, "table_bits", None)
            exponentials = IntType(bits=bits, signed=False)
            yield TableUse((section, key), table, 1 << codes.bits, exponentials, {})
        else:
            yield TableUse((section, key), table, INTERPOLATED_ENTRIES, INTERPOLATED, {})


def with_entries(plain: dict[str, Any]) -> list[str]:
    """Name the tables of a profile's text that hold entries themselves, not a file."""
    found = []
    for section, key in PLACES:
        values = plain.get(section)
        table = values.get(key) if isinstance(values, dict) else None
        if isinstance(table, dict) and "entries" in table:
            found.append(f"{section}.{key}.entries: not a key of this table, entries are in files")
    return found
