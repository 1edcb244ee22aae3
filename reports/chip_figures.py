# SPDX-License-Identifier: Apache-2.0
"""One network on many chips as a figure: what is left of its accuracy, how fast it is, if it fits.

Limits of gates, and the SRAM that each chip has, are lines.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from aocq.records.accuracy import IMAGES
from reports import palette
from reports.alike import judged_on, network
from reports.figures import WIDTH
from reports.format import kib
from reports.picture import Picture, picture
from reports.rows import TableRow, judgings, score_titles
from reports.svg import INK, house_style, printable, title

SCORE, AGREEMENT, LATENCY, SRAM = palette.BLUE, palette.GREEN, palette.PURPLE, palette.TEAL
LIMIT = palette.RED[0]  # of lines that a mark must not cross
NO_GATES: Mapping[str, float] = MappingProxyType({})


def chips(rows: Sequence[TableRow], gates: Mapping[str, float] = NO_GATES) -> Picture | None:
    """Draw the integer score, agreement, ESTIMATED latency and peak SRAM of every chip.

    The marks of chips on which the network is not feasible are hollow. A chip without a run has
    none.

    Parameters
    ----------
    gates
        limits of the gates that all chips were judged by, by option name; each is a line

    Returns
    -------
    Picture | None
        None if no chip was run
    """
    ran = [(place, row) for place, row in enumerate(rows) if row.integer_score is not None]
    if not ran:
        return None
    with house_style():
        figure = Figure(figsize=(WIDTH, 1.4 + 0.32 * len(rows)), layout="constrained")
        accuracy, latency, sram = figure.subplots(1, 3, sharey=True, width_ratios=(4, 4, 3))
        _accuracy(accuracy, ran, gates)
        _latency(latency, ran, gates)
        _sram(sram, ran)
        accuracy.set_yticks(range(len(rows)), [_name(row) for row in rows])
        accuracy.set_ylim(len(rows) - 0.4, -0.6)
        for axes in (accuracy, latency, sram):
            axes.tick_params(axis="y", length=0)
        handles, labels = accuracy.get_legend_handles_labels()
        for axes in (latency, sram):
            more, others = axes.get_legend_handles_labels()
            handles, labels = handles + more, labels + others
        figure.legend(handles, labels, loc="outside lower left", ncols=5)
        figure.suptitle(title(_title([row for _, row in ran])), fontsize=10)
        feasible = sum(bool(row.feasible) for _, row in ran)
        best = max(ran, key=lambda item: item[1].integer_score or 0.0)[1]
        words = (
            f"{len(rows)} chips, {len(ran)} of them run, feasible on {feasible}. Highest integer "
            f"{score_titles(rows)}: {printable(_name(best))}, {best.integer_score:.2f} percent."
        )
        return picture(figure, "targets", words)


def _accuracy(axes: Axes, ran: Sequence[tuple[int, TableRow]], gates: Mapping[str, float]) -> None:
    places = [place for place, _ in ran]
    scores = [row.integer_score or 0.0 for _, row in ran]
    of = [row for _, row in ran]
    score = score_titles(of)
    agreement = [row.agreement or 0.0 for _, row in ran]
    color, marker = AGREEMENT
    # Hollow and larger: equal figures stay both in sight.
    axes.scatter(
        agreement,
        places,
        s=64,
        marker=marker,
        facecolors="none",
        edgecolors=color,
        label="agreement with float",
    )
    color, marker = SCORE
    axes.scatter(
        scores,
        places,
        s=26,
        marker=marker,
        c=color,
        linewidths=0,
        label=f"integer {score}",
        zorder=3,
    )
    floats = {row.float_score for _, row in ran if row.float_score is not None}
    for value in floats if len(floats) == 1 else ():
        axes.axvline(value, color=INK, linewidth=1, linestyle="--", label=f"float {score}")
    limits = []
    if "max_drop" in gates and len(floats) == 1:
        limits.append((next(iter(floats)) - gates["max_drop"], f"least {score}", "--"))
    if "min_agreement" in gates:
        limits.append((gates["min_agreement"], "least agreement", ":"))
    for value, label, line in limits:
        axes.axvline(value, color=LIMIT, linewidth=1.4, linestyle=line, label=label)
    least = min([*scores, *agreement, *floats, *(value for value, _, _ in limits)])
    margin = 0.05 * (100 - least) + 0.5
    images = all(each.shares_of == IMAGES for each in judgings(of))
    axes.set(
        xlim=(least - margin, 100 + margin), xlabel="percent of the images" if images else "percent"
    )


def _latency(axes: Axes, ran: Sequence[tuple[int, TableRow]], gates: Mapping[str, float]) -> None:
    """Mark times on a logarithmic axis, where a bar would have no natural start."""
    axes.set_xscale("log")
    color, marker = LATENCY
    for feasible, face, label in ((True, color, "feasible"), (False, "none", "not feasible")):
        some = [(place, row) for place, row in ran if bool(row.feasible) is feasible]
        if some:
            axes.scatter(
                [row.latency_ms or math.nan for _, row in some],
                [place for place, _ in some],
                s=40,
                marker=marker,
                facecolors=face,
                edgecolors=color,
                label=label,
            )
    times = [row.latency_ms for _, row in ran if row.latency_ms]
    limit = most_latency(gates)
    if limit:
        axes.axvline(limit, color=LIMIT, linewidth=1.4, linestyle="-.", label="most latency")
        times.append(limit)
    axes.set_xlim(min(times, default=1.0) / 2, max(times, default=1.0) * 8)
    for place, row in ran:
        if row.latency_ms:
            axes.annotate(
                f"{row.latency_ms:,.3g} ms" + ("" if row.feasible else ", not feasible"),
                (row.latency_ms, place),
                (7, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
            )
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("latency of one image, ms (log scale), ESTIMATED")


def most_latency(gates: Mapping[str, float]) -> float | None:
    """Return the latency in milliseconds that gates allow at most; None where none does."""
    limits = [gates["max_latency_ms"]] if "max_latency_ms" in gates else []
    if gates.get("min_fps"):
        limits.append(1000 / gates["min_fps"])
    return min(limits, default=None)


def _sram(axes: Axes, ran: Sequence[tuple[int, TableRow]]) -> None:
    """Mark each chip's peak as a part of the SRAM that it has; the budget is the line at all."""
    color, marker = SRAM
    found = [
        (place, row, 100 * row.peak_sram_bytes / row.sram_bytes)
        for place, row in ran
        if row.peak_sram_bytes and row.sram_bytes
    ]
    axes.set_xscale("log")
    axes.scatter(
        [value for _, _, value in found],
        [place for place, _, _ in found],
        s=40,
        marker=marker,
        facecolors=[color if value <= 100 else "none" for _, _, value in found],
        edgecolors=color,
        label="peak SRAM",
    )
    axes.axvline(100, color=LIMIT, linewidth=1.4, linestyle="--", label="SRAM that the chip has")
    for place, row, value in found:
        axes.annotate(
            kib(row.peak_sram_bytes or 0),
            (value, place),
            (-7 if value <= 100 else 7, 0),
            textcoords="offset points",
            ha="right" if value <= 100 else "left",
            va="center",
            fontsize=8,
        )
    values = [100.0, *(value for _, _, value in found)]
    axes.set_xlim(min(values) / 8, max(values) * 8)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g} %"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("of the chip's SRAM (log scale), ESTIMATED")


def _title(ran: Sequence[TableRow]) -> str:
    """Return network, method, widths and images, each as often as the runs differ in it."""
    named = [
        [network(row) for row in ran],
        [f"{row.method} W{row.w_bits}A{row.a_bits}" for row in ran],
        [judged_on(row) for row in ran if row.images is not None],
    ]
    return ", ".join(" / ".join(dict.fromkeys(values)) for values in named if values)


def _name(row: TableRow) -> str:
    name = printable(row.variant.get("profile", row.model))
    return name if row.integer_score is not None else f"{name} (no run)"
