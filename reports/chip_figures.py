# SPDX-License-Identifier: Apache-2.0
"""One network on many chips as a figure: what is left of its accuracy, and how long it takes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from reports import palette
from reports.alike import judged_on, network
from reports.figures import WIDTH
from reports.picture import Picture, picture
from reports.rows import TableRow
from reports.svg import INK, house_style, printable, title

TOP1, AGREEMENT, LATENCY = palette.BLUE, palette.GREEN, palette.PURPLE


def chips(rows: Sequence[TableRow]) -> Picture | None:
    """Draw integer top-1, agreement and ESTIMATED latency of every chip; None if none was run.

    The marks of chips on which the network is not feasible are hollow. A chip without a run has
    none.
    """
    ran = [(place, row) for place, row in enumerate(rows) if row.integer_top1 is not None]
    if not ran:
        return None
    with house_style():
        figure = Figure(figsize=(WIDTH, 1.4 + 0.32 * len(rows)), layout="constrained")
        accuracy, latency = figure.subplots(1, 2, sharey=True)
        _accuracy(accuracy, ran)
        _latency(latency, ran)
        accuracy.set_yticks(range(len(rows)), [_name(row) for row in rows])
        accuracy.set_ylim(len(rows) - 0.4, -0.6)
        for axes in (accuracy, latency):
            axes.tick_params(axis="y", length=0)
        handles, labels = accuracy.get_legend_handles_labels()
        more, others = latency.get_legend_handles_labels()
        figure.legend(handles + more, labels + others, loc="outside lower left", ncols=6)
        figure.suptitle(title(_title([row for _, row in ran])), fontsize=10)
        feasible = sum(bool(row.feasible) for _, row in ran)
        best = max(ran, key=lambda item: item[1].integer_top1 or 0.0)[1]
        words = (
            f"{len(rows)} chips, {len(ran)} of them run, feasible on {feasible}. Highest integer "
            f"top-1: {printable(_name(best))}, {best.integer_top1:.2f} percent."
        )
        return picture(figure, "targets", words)


def _accuracy(axes: Axes, ran: Sequence[tuple[int, TableRow]]) -> None:
    places = [place for place, _ in ran]
    top1 = [row.integer_top1 or 0.0 for _, row in ran]
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
    color, marker = TOP1
    axes.scatter(
        top1, places, s=26, marker=marker, c=color, linewidths=0, label="integer top-1", zorder=3
    )
    floats = {row.float_top1 for _, row in ran if row.float_top1 is not None}
    for value in floats if len(floats) == 1 else ():
        axes.axvline(value, color=INK, linewidth=1, linestyle="--", label="float top-1")
    least = min([*top1, *agreement, *floats])
    margin = 0.05 * (100 - least) + 0.5
    axes.set(xlim=(least - margin, 100 + margin), xlabel="percent of the images")


def _latency(axes: Axes, ran: Sequence[tuple[int, TableRow]]) -> None:
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
    axes.set_xlim(min(times, default=1.0) / 2, max(times, default=1.0) * 3)
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
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("latency of one image, ms (log scale), ESTIMATED")


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
    return name if row.integer_top1 is not None else f"{name} (no run)"
