# SPDX-License-Identifier: Apache-2.0
"""A front as one HTML page: scatter plot, parallel coordinates, a table by dominance.

The plots are drawn by the page's own scripts from figures inside it, as SVG; it asks for nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from aocq.records.axes import AXES
from reports import palette
from reports.alike import network
from reports.format import MISSING
from reports.front import Front, figure
from reports.front_figure import DESIGNS, logarithmic
from reports.front_files import said_of, volume_in_words, with_unit, written
from reports.tables import ESTIMATED
from reports.templating import template

# What points can be told apart by, and how a row says it.
SET = "comparable set"
TOLD_BY = ("network", "method", "bits", "profile")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A row of the table.

    name : with a mark where the design does not fit its chip
    figures : exact and as text, of the page's axes in order
    by : number of the row of a design that dominates it; None without one
    """

    number: int
    rank: int | None
    name: str
    page: str
    told: dict[str, str]
    figures: list[tuple[float | None, str]]
    by: int | None
    set_of: int | None


def html(front: Front) -> str:
    """Return the page of a front."""
    names = axes_of(front)
    lines = lines_of(front, names)
    told = {key: len({line.told[key] for line in lines}) for key in lines[0].told} if lines else {}
    return template("front.html.j2").render(
        front=front,
        axes=AXES,
        names=names,
        lines=lines,
        notes=said_of(front),
        told=[key for key, number in told.items() if number > 1],
        colored=[key for key, number in told.items() if number > 1 and key != SET],
        heads={name: head(name) for name in names},
        volumes=[volume_in_words(front, at) for at in range(len(front.sets))],
        best=[
            {name: with_unit(found.best[name], name) for name in found.over} for found in front.sets
        ],
        left_out=len(front.order) - len(lines),
        data=data(front, names, lines),
        ESTIMATED=ESTIMATED,
    )


def head(name: str) -> str:
    """Return the head of an axis' column: its name, with the unit where the name lacks it."""
    unit = AXES[name].unit
    return name if name.endswith(f"_{unit.lower()}") else f"{name}, {unit}"


def axes_of(front: Front) -> list[str]:
    """Return the axes of a page: those of the front, then others of which a design has a figure."""
    rows = [design.row for design in front.designs]
    others = [
        name
        for name in AXES
        if name not in front.axes and any(figure(row, name) is not None for row in rows)
    ]
    return [*front.axes, *others]


def lines_of(front: Front, names: list[str]) -> list[Line]:
    """Return the rows of the table, in the order of the front."""
    numbers = {place: number for number, place in enumerate(front.order, 1)}
    found = []
    for place in front.order[:DESIGNS]:
        design, by = front.designs[place], front.beaten_by[place]
        row, at = design.row, front.set_of[place]
        variant = {name: value for name, value in row.variant.items() if name != "profile"}
        values = [figure(row, name) for name in names]
        found.append(
            Line(
                number=numbers[place],
                rank=front.ranks[place],
                name=design.marked,
                page=design.page,
                told={
                    "network": network(row),
                    "method": row.method,
                    "bits": f"W{row.w_bits}A{row.a_bits}",
                    "profile": row.variant.get("profile", MISSING),
                    **{name: variant.get(name) or MISSING for name in _variants(front)},
                    SET: MISSING if at is None else front.sets[at].title,
                },
                figures=[
                    (value, written(value, name)) for value, name in zip(values, names, strict=True)
                ],
                by=None if by is None else numbers[by],
                set_of=at,
            )
        )
    return found


def _variants(front: Front) -> list[str]:
    rows = [design.row for design in front.designs]
    found = dict.fromkeys(name for row in rows for name in row.variant)
    return [name for name in found if name not in TOLD_BY]


def data(front: Front, names: list[str], lines: list[Line]) -> dict[str, Any]:
    """Return what the page's scripts draw; infinities, which JSON lacks, as none."""
    finite = [
        [value if value is not None and math.isfinite(value) else None for value, _ in line.figures]
        for line in lines
    ]
    columns = [[row[at] for row in finite if row[at] is not None] for at in range(len(names))]
    return {
        "axes": [
            {
                **{"name": name, "title": AXES[name].title, "unit": AXES[name].unit},
                **{
                    "most": AXES[name].most,
                    "log": logarithmic([v for v in found if v is not None]),
                },
            }
            for name, found in zip(names, columns, strict=True)
        ],
        "chosen": len(front.axes),
        "sets": [found.title for found in front.sets],
        "colors": [color for color, _ in palette.SERIES],
        "designs": [
            {
                **{"number": line.number, "name": line.name, "page": line.page},
                **{"rank": line.rank, "set": line.set_of, "told": line.told},
                **{"figures": figures, "texts": [text for _, text in line.figures]},
            }
            for line, figures in zip(lines, finite, strict=True)
        ],
    }
