# SPDX-License-Identifier: Apache-2.0
"""The columns of the table of all ops: all those of ``layers.csv``, with headings for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from aocq.records.layers import LayerRow
from reports.format import MISSING, count

# In this order; columns that are not here follow, under their own names.
HEADINGS: Mapping[str, str] = MappingProxyType(
    {
        "op": "Op",
        "index": "#",
        "kind": "Kind",
        "shape": "Shape",
        "type": "Type",
        "arithmetic": "Arithmetic",
        "sqnr_db": "SQNR dB",
        "cycles": "Cycles",
        "bound_by": "Bound by",
        "compute_cycles": "Compute",
        "vector_cycles": "Vector",
        "host_cycles": "Host",
        "issue_cycles": "Issue",
        "sram_cycles": "SRAM port",
        "dma_cycles": "DRAM port",
        "stall_cycles": "Stall",
        "passes": "Passes",
        "macs": "MACs",
        "a_bits": "Bits of a",
        "b_bits": "Bits of b",
        "weight_bytes": "Weight bytes",
        "sram_bytes": "SRAM bytes",
        "dram_bytes": "DRAM bytes",
        "elements": "Results",
        "saturated": "Saturated",
        "overflowed": "Overflowed",
        "persistent": "Persistent",
        "transient": "Transient",
        "changed": "Changed",
        "sum_bits": "Sum bits",
        "headroom_bits": "Headroom",
        "accumulator_bits": "Accumulator bits",
        "proven_free": "Proven free",
        "differing_codes": "Mismatches",
        "onto_residual": "On the stream",
    }
)
# What a sheet of paper has room for; layers.csv has the rest.
PRINTED = frozenset(
    ("op", "index", "kind", "shape", "sqnr_db", "cycles", "bound_by", "macs", "weight_bytes")
    + ("saturated", "headroom_bits")
)
_WORDS = frozenset(("op", "kind", "shape", "type", "arithmetic", "bound_by", "unit", "form"))


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table; ``words``: its cells are no numbers."""

    name: str
    heading: str
    words: bool
    printed: bool


@dataclass(frozen=True, slots=True)
class Cell:
    """What a cell shows, and, where that is rounded, the exact value."""

    text: str
    exact: str = ""


def columns(rows: Sequence[LayerRow]) -> list[Column]:
    """Return the columns that the rows have something in: older records lack some."""
    names = [name for name in HEADINGS if name in LayerRow.model_fields]
    names += [name for name in LayerRow.model_fields if name not in HEADINGS]
    return [
        Column(name, HEADINGS.get(name, name.replace("_", " ")), name in _WORDS, name in PRINTED)
        for name in names
        if any(getattr(row, name) is not None for row in rows)
    ]


def cell(row: LayerRow, column: Column) -> Cell:
    """Return a cell of the table."""
    value = getattr(row, column.name)
    if column.name == "proven_free" and row.accumulator_bits is None:
        return Cell(MISSING)  # there is nothing to prove
    if value is None or value == "":
        return Cell(MISSING)
    if isinstance(value, bool):
        return Cell("yes" if value else "no")
    if isinstance(value, int):
        return Cell(count(value))
    if isinstance(value, float):
        return Cell(f"{value:,.2f}", str(value))
    return Cell(str(value))
