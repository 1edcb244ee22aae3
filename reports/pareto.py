# SPDX-License-Identifier: Apache-2.0
"""Runs on the same images as a Pareto plot: accuracy against latency, SRAM and energy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from numpy.typing import NDArray

from reports import palette
from reports.alike import judged_on, network
from reports.figures import WIDTH
from reports.rows import TableRow, score_titles
from reports.svg import INK, house_style, lay_out, printable, svg_text, title

HEIGHT = 4.6  # inches
LEAST_SPAN = 1.0  # points of a score that its axis spans at least
TICKS = ((1.0, 2.0, 5.0), (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0))  # of a decade: few, or many
TOUCHING = (28.0, 11.0)  # pixels between two marks that share a label


@dataclass(frozen=True, slots=True)
class Cost:
    """A cost of a run, as an axis: its name, and how a row has it; None where it has none."""

    name: str
    label: str
    of: Callable[[TableRow], float | None]


COSTS = (
    Cost("latency", "latency of one image, ms (log scale), ESTIMATED", lambda row: row.latency_ms),
    Cost(
        "SRAM",
        "peak SRAM, KiB (log scale), ESTIMATED",
        lambda row: None if row.peak_sram_bytes is None else row.peak_sram_bytes / 1024,
    ),
    Cost("energy", "energy of one image, mJ (log scale), ESTIMATED", lambda row: row.energy_mj),
)


def front(rows: Sequence[TableRow], cost: Cost) -> list[int]:
    """Return the places of the rows that no other beats, cheapest first.

    A row beats another that costs as much or more and is as accurate or less, and not the same in
    both. Rows without a figure, or with a cost of zero, are left out.
    """
    found = sorted(
        ((value, -(row.integer_score or 0.0), place) for place, row, value in _placed(rows, cost)),
    )
    best: list[int] = []
    for value, accuracy, place in found:
        if best:
            last = rows[best[-1]]
            same = (value, -accuracy) == (cost.of(last), last.integer_score)
            if not same and -accuracy <= (last.integer_score or 0.0):
                continue
        best.append(place)
    return best


def pareto(rows: Sequence[TableRow], name: str, numbers: Sequence[int]) -> str | None:
    """Draw the integer score against each cost that at least two rows have; None if there is none.

    Parameters
    ----------
    rows
        runs on the same images
    name
        prefix of the figure's ids
    numbers
        of the rows, written beside their marks, each of which links to ``#run-<number>``
    """
    costs = [cost for cost in COSTS if len(_placed(rows, cost)) > 1]
    if not costs:
        return None
    with house_style():
        figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
        panels = figure.subplots(1, len(costs), sharey=True, squeeze=False)[0]
        for panel, cost in zip(panels, costs, strict=True):
            _panel(panel, rows, cost, numbers)
        panels[0].set_ylabel(f"integer {score_titles(rows)} (%)")
        _widen(panels[0])  # all panels share its axis
        entries = {
            label: handle
            for panel in panels
            for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)
        }
        figure.legend(entries.values(), entries.keys(), loc="outside lower left", ncols=4)
        figure.suptitle(title(_of(rows)), fontsize=9)
        lay_out(figure)
        for panel, cost in zip(panels, costs, strict=True):
            _number(panel, _placed(rows, cost), numbers)
        tips = {
            number: f"{number}: {_label(row)}, {row.integer_score or 0.0:.2f} %"
            for number, row in zip(numbers, rows, strict=True)
        }
        return svg_text(figure, name, _in_words(rows, costs, numbers), tips)


def series(rows: Sequence[TableRow]) -> list[str]:
    """Return which series each row belongs to: its network, or if all have one, its method."""
    networks = [network(row) for row in rows]
    if len({*networks}) > 1:
        return networks
    return [f"{row.method} W{row.w_bits}A{row.a_bits}" for row in rows]


def _panel(axes: Axes, rows: Sequence[TableRow], cost: Cost, numbers: Sequence[int]) -> None:
    placed = _placed(rows, cost)
    of = series(rows)
    for index, name in enumerate(dict.fromkeys(of)):
        color, marker = palette.SERIES[index % len(palette.SERIES)]
        for place, row, value in placed:
            if of[place] != name:
                continue
            mark = axes.scatter(
                [value],
                [row.integer_score or 0.0],
                s=46,
                marker=marker,
                facecolors=color if row.feasible else "none",
                edgecolors=color,
                zorder=3,
            )
            mark.set_urls([f"#run-{numbers[place]}"])
        axes.scatter([], [], s=46, marker=marker, c=color, label=printable(name, 90))
    axes.set_xscale("log")
    best = _corners(rows, cost)
    if len(best) > 1:
        axes.step(
            [value for value, _ in best],
            [score for _, score in best],
            where="post",
            color=INK,
            linewidth=1,
            linestyle="--",
            zorder=2,
            label="no run is better in both",
        )
    if any(not row.feasible for row in rows):
        axes.scatter([], [], s=46, facecolors="none", edgecolors=INK, label="hollow: not a YES")
    costs = [value for _, _, value in placed]
    low, high = min(costs) / 1.6, max(costs) * 1.6
    axes.set_xlim(low, high)
    axes.margins(y=0.12)
    axes.xaxis.set_major_locator(log_ticks(low, high))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel(cost.label)


def log_ticks(low: float, high: float) -> LogLocator:
    """Return ticks of a log axis from ``low`` to 2.56 times that or more: two at least."""
    few, many = (LogLocator(subs=subs, numticks=9) for subs in TICKS)
    enough = sum(low <= tick <= high for tick in few.tick_values(low, high)) > 1
    return few if enough else many


def _widen(axes: Axes) -> None:
    """Let the axis of a score span some points, so that hundredths do not look like a cliff."""
    low, high = axes.get_ylim()
    if high - low < LEAST_SPAN:
        middle = (low + high) / 2
        axes.set_ylim(middle - LEAST_SPAN / 2, middle + LEAST_SPAN / 2)


def _corners(rows: Sequence[TableRow], cost: Cost) -> list[tuple[float, float]]:
    """Return costs and scores of the front, each pair once: a line from two on."""
    found = ((cost.of(rows[at]) or 0.0, rows[at].integer_score or 0.0) for at in front(rows, cost))
    return list(dict.fromkeys(found))


def has_line(rows: Sequence[TableRow]) -> bool:
    """Return whether a plot of rows has a line of those that none beats, against any cost."""
    return any(len(_corners(rows, cost)) > 1 for cost in COSTS)


def _number(
    axes: Axes, placed: Sequence[tuple[int, TableRow, float]], numbers: Sequence[int]
) -> None:
    """Write the rows' numbers beside their marks, those of marks that touch together."""
    groups: list[tuple[NDArray[np.float64], list[int]]] = []
    for place, row, value in placed:
        at = np.asarray(axes.transData.transform((value, row.integer_score or 0.0)))
        near = next((g for g in groups if np.all(np.abs(g[0] - at) < TOUCHING)), None)
        if near is None:
            groups.append((at, [numbers[place]]))
        else:
            near[1].append(numbers[place])
    for at, found in groups:
        axes.annotate(
            ranges(found),
            tuple(axes.transData.inverted().transform(at)),
            (6, 5),
            textcoords="offset points",
            fontsize=8,
            zorder=4,
        )


def ranges(numbers: Sequence[int]) -> str:
    """Write numbers briefly: ``1, 4-6``."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(f"{p[0]}-{p[-1]}" if len(p) > 2 else ", ".join(map(str, p)) for p in parts)


def _placed(rows: Sequence[TableRow], cost: Cost) -> list[tuple[int, TableRow, float]]:
    """Return place, row and cost of the rows that have an accuracy and a cost above zero."""
    return [
        (place, row, value)
        for place, row in enumerate(rows)
        if row.integer_score is not None and (value := cost.of(row))
    ]


def _of(rows: Sequence[TableRow]) -> str:
    """Return the figure's title: what all rows are of, and the images."""
    networks = list(dict.fromkeys(map(network, rows)))
    of = networks[0] if len(networks) == 1 else f"{len(networks)} networks"
    return f"{of}, {judged_on(rows[0])}"


def _label(row: TableRow) -> str:
    chip = row.variant.get("profile", "")
    return f"{network(row)} {row.method} W{row.w_bits}A{row.a_bits}" + f" on {chip}" * bool(chip)


def _in_words(rows: Sequence[TableRow], costs: Sequence[Cost], numbers: Sequence[int]) -> str:
    best = [
        f"{cost.name}: {', '.join(str(numbers[place]) for place in front(rows, cost))}"
        for cost in costs
    ]
    against = f"Integer {score_titles(rows)} against costs, {_of(rows)}."
    return f"{against} Runs that none beats, by {'; '.join(best)}."
