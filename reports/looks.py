# SPDX-License-Identifier: Apache-2.0
"""How figures tell kinds of ops apart: a colour, a marker and a hatch for each that a graph has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import cycle, product

from reports import palette
from reports.ops import HOST

LAYOUT_KINDS = ("concat", "slice", "reshape", "transpose")
LAYOUT = "layout"
FLOAT = "float"  # all that is not integer arithmetic
# What a group looks like if it can, by what its name has in it: a family of ops of one task.
_PREFERRED = {
    "matmul": palette.BLUE,
    "add": palette.ORANGE,
    "layernorm": palette.GREEN,
    "softmax": palette.PURPLE,
    "shiftmax": palette.PURPLE,
    "lookup": palette.PINK,
    "gelu": palette.PINK,
    "rescale": palette.TEAL,
    "mean": palette.OCHRE,
    LAYOUT: palette.GRAY,
    FLOAT: palette.RED,
    HOST: palette.BROWN,
}


@dataclass(frozen=True, slots=True)
class Look:
    """Colour and hatch of bars, colour and marker of points."""

    color: str
    marker: str
    hatch: str


def kind_group(kind: str) -> str:
    """Return the kind as figures tell it: those that only move data are one, and those in float."""
    if kind.startswith("float_") or kind in {"quantize", "dequantize"}:
        return FLOAT
    return LAYOUT if kind in LAYOUT_KINDS else kind


def looks(kinds: Iterable[str]) -> Mapping[str, Look]:
    """Return the look of every group of kinds that occurs, in the legend's order.

    No two are alike, up to 48 groups. Common kinds look the same in every graph. The others take
    what is free, in the order of their names: the colours in turn, hatched once these are used up.
    """
    groups = sorted({kind_group(kind) for kind in kinds}, key=lambda group: (_place(group), group))
    found: dict[str, Look] = {}
    for group in groups:
        wanted = _preferred(group)
        if wanted is not None and wanted not in found.values():
            found[group] = wanted
    every = [Look(*series, hatch) for hatch, series in product(palette.HATCHES, palette.SERIES)]
    free = cycle([look for look in every if look not in found.values()] or every)
    return {group: found.get(group) or next(free) for group in groups}


def look(kind: str, among: Mapping[str, Look]) -> Look:
    """Return the look of an op kind among those of a graph."""
    return among[kind_group(kind)]


def _place(group: str) -> int:
    """Return the place of a group's family in the legend; behind all others without one."""
    return next((i for i, name in enumerate(_PREFERRED) if name in group), len(_PREFERRED))


def _preferred(group: str) -> Look | None:
    family = next((name for name in _PREFERRED if name in group), None)
    return None if family is None else Look(*_PREFERRED[family], palette.HATCHES[0])
