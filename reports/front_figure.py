# SPDX-License-Identifier: Apache-2.0
"""A front as a picture: the first axis against every other one, a row of panels for each set."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from aocq.records.axes import AXES
from reports import palette
from reports.figures import WIDTH
from reports.front import Comparable, Front, figure
from reports.pareto import TOUCHING, log_ticks, ranges, series
from reports.picture import Picture, picture
from reports.svg import house_style, lay_out, printable, title

DESIGNS = 2000  # of a set, the best ranks first; more of them make a file of megabytes
SETS = 3  # that are drawn; more of them are on the page
HEIGHT = 3.4  # inches of a row of panels
DECADE = 10.0  # between the largest and the smallest figure: then an axis is logarithmic


def drawn(front: Front) -> Picture | None:
    """Draw the designs of the largest sets; None where no set has a design.

    Of a large set these are the best ranks. Those on the front are filled and numbered as in the
    table; the others are hollow.
    """
    if not front.sets:
        return None
    sets, pairs = front.sets[:SETS], front.axes[1:]
    with house_style():
        size = (WIDTH, 0.9 + HEIGHT * len(sets))
        whole = Figure(figsize=size, layout="constrained")
        panels = whole.subplots(len(sets), len(pairs), squeeze=False)
        for row, found in zip(panels, sets, strict=True):
            for axes, name in zip(row, pairs, strict=True):
                _panel(axes, front, found, name)
            row[0].set_title(printable(found.title, 120), loc="left", fontsize=8)
        handles = dict(zip(*reversed(panels[0][0].get_legend_handles_labels()), strict=True))
        whole.legend(handles.values(), handles.keys(), loc="outside lower left", ncols=4)
        whole.suptitle(title(front.title), fontsize=9)
        lay_out(whole)
        for row, found in zip(panels, sets, strict=True):
            for axes, name in zip(row, pairs, strict=True):
                _number(axes, front, found, name)
        words = f"{front.title}. On the front: " + "; ".join(
            ", ".join(front.designs[place].name for place in found.front[:20]) for found in sets
        )
        return picture(whole, "front", words)


def logarithmic(values: Sequence[float]) -> bool:
    """Return whether figures are positive and span a decade or more."""
    return bool(values) and min(values) > 0 and max(values) / min(values) >= DECADE


def _panel(axes: Axes, front: Front, found: Comparable, name: str) -> None:
    members = found.members[:DESIGNS]
    rows = [front.designs[place].row for place in members]
    across = [figure(row, name) or 0.0 for row in rows]
    along = [figure(row, front.axes[0]) or 0.0 for row in rows]
    of = series(rows)
    for index, label in enumerate(dict.fromkeys(of)):
        color, marker = palette.SERIES[index % len(palette.SERIES)]
        for filled in (False, True):
            those = [
                i
                for i, place in enumerate(members)
                if of[i] == label
                and (front.ranks[place] == 1) == filled
                and math.isfinite(across[i] + along[i])
            ]
            axes.scatter(
                [across[i] for i in those],
                [along[i] for i in those],
                s=42 if filled else 26,
                marker=marker,
                facecolors=color if filled else "none",
                edgecolors=color,
                zorder=3 if filled else 2,
                label=printable(label, 90) if filled else None,
            )
    _scale(axes, name, across, front.axes[0], along)


def _number(axes: Axes, front: Front, found: Comparable, name: str) -> None:
    """Write the numbers of the front beside its marks, those of marks that touch together."""
    numbers = {place: number for number, place in enumerate(front.order, 1)}
    groups: list[tuple[tuple[float, float], list[int]]] = []
    for place in found.front[:DESIGNS]:
        row = front.designs[place].row
        at = (figure(row, name) or 0.0, figure(row, front.axes[0]) or 0.0)
        if not all(map(math.isfinite, at)):
            continue
        x, y = axes.transData.transform(at)
        for (other_x, other_y), members in groups:
            if abs(other_x - x) < TOUCHING[0] and abs(other_y - y) < TOUCHING[1]:
                members.append(numbers[place])
                break
        else:
            groups.append(((x, y), [numbers[place]]))
    for (x, y), members in groups:
        axes.annotate(
            ranges(members),
            tuple(axes.transData.inverted().transform((x, y))),
            (6, 5),
            textcoords="offset points",
            fontsize=7,
            zorder=4,
        )


def _scale(
    axes: Axes, name: str, across: Sequence[float], other: str, along: Sequence[float]
) -> None:
    axes.set_xlabel(_label(name))
    axes.set_ylabel(_label(other))
    for of, values, set_scale in (
        (axes.xaxis, across, axes.set_xscale),
        (axes.yaxis, along, axes.set_yscale),
    ):
        finite = [*filter(math.isfinite, values)]
        if logarithmic(finite):
            set_scale("log")
            of.set_major_locator(log_ticks(min(finite), max(finite)))
            of.set_minor_locator(NullLocator())
        else:
            of.set_major_locator(MaxNLocator(5))
        of.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))


def _label(name: str) -> str:
    axis = AXES[name]
    return f"{axis.title}, {axis.unit}" + ", ESTIMATED" * axis.estimated
