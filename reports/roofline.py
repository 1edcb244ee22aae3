# SPDX-License-Identifier: Apache-2.0
"""The roofline of a run: what every product achieves, beside what array and DRAM port allow.

Source of the form: Williams, Waterman and Patterson, Roofline: an insightful visual performance
model for multicore architectures, Communications of the ACM 52 (2009) 65-76.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from aocq.records.layers import LayerRow
from aocq.records.run import RunResult
from reports import palette
from reports.figures import WIDTH
from reports.limits import RESOURCES, gigabytes
from reports.svg import INK, house_style, lay_out, svg_text

# By what bounds an op.
_LOOKS = {
    "compute": palette.BLUE,
    "vector": palette.GREEN,
    "host": palette.PINK,
    "sram": palette.PURPLE,
    "dma": palette.ORANGE,
}
_LARGEST, _SMALLEST = 150.0, 16.0  # areas of marks: of the op with most cycles, and of none
_NOTHING = 10_000  # MACs for each byte: what is read from DRAM then are a few factors


def roofline(result: RunResult, rows: Sequence[LayerRow]) -> str | None:
    """Draw MACs per cycle of every product over its MACs per byte from DRAM; None without any.

    Areas of marks grow with the op's cycles. Products that read no weights from DRAM, but a few
    factors at most, stand at the right.
    """
    products = [row for row in rows if row.macs and row.cycles]
    if not products:
        return None
    moved = [intensity for row in products if (intensity := _intensity(row)) is not None]
    low = min(moved, default=1.0) / 2
    beyond = max(moved, default=1.0) * 6  # where marks without traffic stand
    most = max(row.cycles for row in products)
    with house_style():
        figure = Figure(figsize=(WIDTH, 4.6), layout="constrained")
        axes = figure.add_subplot()
        axes.set(xscale="log", yscale="log", xlim=(low, beyond * 2))
        achieved = [row.macs / row.cycles for row in products]
        top = max([*achieved, result.profile.macs_per_cycle or 0.0])
        axes.set_ylim(min(achieved) / 2, top * 2)
        _roofs(axes, result, (low, beyond * 2))
        for bound, (color, marker) in _LOOKS.items():
            some = [row for row in products if row.bound_by == bound]
            if not some:
                continue
            marks = axes.scatter(
                [_intensity(row) or beyond for row in some],
                [row.macs / row.cycles for row in some],
                s=[_SMALLEST + _LARGEST * row.cycles / most for row in some],
                c=color,
                marker=marker,
                alpha=0.75,
                linewidths=0,
                zorder=3,
            )
            axes.scatter([], [], s=40, c=color, marker=marker, label=f"by {RESOURCES[bound]}")
            marks.set_urls([f"#op-{row.index}" for row in some])
        if len(moved) < len(products):
            axes.axvline(beyond / 2, color=INK, linewidth=0.6, linestyle=":")
            axes.text(
                beyond,
                0.02,
                "no weights from DRAM",
                transform=axes.get_xaxis_transform(),
                ha="center",
                fontsize=8,
            )
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
            axis.set_minor_locator(NullLocator())
        axes.set_xlabel("MACs for each byte of constants from DRAM (log scale)")
        axes.set_ylabel("MACs per cycle achieved (log scale), ESTIMATED")
        figure.legend(loc="outside upper left", ncols=6)
        lay_out(figure)
        tips = {row.index: _tip(row) for row in products}
        return svg_text(figure, "roofline", _in_words(result, products), tips)


def _roofs(axes: Axes, result: RunResult, ends: tuple[float, float]) -> None:
    """Draw the array's and the DRAM port's limits, as far as the record knows them."""
    peak = result.profile.macs_per_cycle
    port = result.ports.get("dram")
    rate = port.bytes_per_cycle if port else None
    ridge = peak / rate if peak and rate else None
    style: dict[str, Any] = {"color": INK, "linewidth": 1.2, "zorder": 2}
    if peak:
        start = max(ends[0], ridge) if ridge else ends[0]
        axes.plot([start, ends[1]], [peak, peak], **style)
        axes.annotate(
            f"{peak:,.6g} MACs per cycle",
            (ends[1], peak),
            (-4, 4),
            textcoords="offset points",
            ha="right",
            fontsize=8,
        )
    if rate:
        end = min(ends[1], ridge) if ridge else ends[1]
        if end > ends[0]:
            axes.plot([ends[0], end], [ends[0] * rate, end * rate], **style)
            middle = math.sqrt(ends[0] * end)
            axes.annotate(
                f"DRAM port, {gigabytes(rate, result.profile.clock_mhz)}",
                (middle, middle * rate),
                (-6, 6),
                textcoords="offset points",
                ha="right",
                fontsize=8,
            )


def _intensity(row: LayerRow) -> float | None:
    """Return MACs for each byte from DRAM; None of a product that reads no weights from there."""
    if row.macs >= _NOTHING * row.weight_bytes:
        return None
    return row.macs / row.weight_bytes


def _tip(row: LayerRow) -> str:
    return f"{row.op}: {row.macs / row.cycles:,.3g} MACs per cycle, {row.cycles:,} cycles"


def _in_words(result: RunResult, products: Sequence[LayerRow]) -> str:
    macs, cycles = sum(row.macs for row in products), sum(row.cycles for row in products)
    words = f"Roofline of {len(products)} products: together {macs / cycles:,.3g} MACs per cycle"
    peak = result.profile.macs_per_cycle
    return f"{words} of {peak:,.6g}." if peak else f"{words}."
