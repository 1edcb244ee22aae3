# SPDX-License-Identifier: Apache-2.0
"""Tables of a profile that name a file: the contents of a chip's own ROM.

Without such a table a network's tables are computed when it is lowered, for the scales of each
tensor. A ROM holds one function at one scale: what reads it is rescaled to that.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from pydantic import AfterValidator, Field

from simulator.graph.verify_tensors import LARGEST_SCALE, SMALLEST_SCALE
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


def _of_a_tensor(scale: float) -> float:
    """Refuse what no tensor of a graph has: its codes are those of a table."""
    if not SMALLEST_SCALE <= scale <= LARGEST_SCALE:
        raise ValueError(f"must be a scale from {SMALLEST_SCALE:.3g} to {LARGEST_SCALE:.3g}")
    return scale


_Scale = Annotated[float, AfterValidator(_of_a_tensor)]
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
    ``positive`` are the entries that are at least 1: of the largest score of a row, counted from
    the end where below 0. ``least`` is the smallest entry where it is not the type's.
    """

    path: tuple[str, str]
    table: ChipTable
    size: int
    type: IntType
    zero_points: dict[str, tuple[int, IntType]]
    positive: tuple[int, ...] = ()
    least: int | None = None

    @property
    def name(self) -> str:
        """The place as a message says it."""
        return ".".join(self.path)

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with the entries."""
        found = self.table.entries
        low = self.type.low if self.least is None else self.least
        if len(found) != self.size:
            yield f"{self.name}: {self.table.file} has {len(found)} entries, wanted {self.size}"
        for index, entry in enumerate(found):
            if not low <= entry <= self.type.high:
                yield (
                    f"{self.name}: {self.table.file}: entry {index} is {entry}, wanted "
                    f"{self.type}: {low}..{self.type.high}"
                )
                break
        else:
            yield from self._of_largest_scores()
        for key, (zero_point, kind) in self.zero_points.items():
            if not kind.low <= zero_point <= kind.high:
                yield f"{self.name}.{key} = {zero_point}: wanted a code of {kind}"

    def _of_largest_scores(self) -> Iterator[str]:
        found = self.table.entries
        for index in self.positive if len(found) == self.size else ():
            if found[index] < 1:
                yield (
                    f"{self.name}: {self.table.file}: entry {index % self.size} is {found[index]}, "
                    "wanted at least 1: an exponential of the largest score"
                )


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
            yield TableUse((section, key), table, 1 << codes.bits, exponentials, {}, (0,))
        elif section == "softmax":
            last = (-2, -1) if key == "exponential_table" else ()
            yield TableUse((section, key), table, INTERPOLATED_ENTRIES, INTERPOLATED, {}, last, 0)
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
