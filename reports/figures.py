# SPDX-License-Identifier: Apache-2.0
"""The figures of a run: SQNR along depth, cycles by block, saturation."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, NullLocator
from matplotlib.transforms import Bbox, BboxBase
from numpy.typing import NDArray

from aocq.records.costs import HostStepRecord
from aocq.records.layers import LayerRow
from reports import palette
from reports.format import decibel, share
from reports.looks import kind_group, looks
from reports.ops import (
    HOST,
    Measured,
    block_of,
    by_block,
    first_below,
    measured,
    sums_of_stream,
    worst_ops,
)
from reports.svg import INK, house_style, lay_out, printable, svg_text

WIDTH = 12.5  # inches
LABELLED = 6  # ops named in the depth figure
_CANDIDATES = 24
# Where a label may stand, in points from its mark: near ones first.
_PLACES = [(x, y) for y in (-14, 14, -28, 28, -42, 42, -56, 56) for x in (8, -8, 30, -30)]


def sqnr_along_depth(rows: Sequence[LayerRow]) -> str | None:
    """Draw SQNR in graph order, a mark per op; None if no op has an SQNR.

    A line joins the sums of the residual stream (:func:`reports.ops.sums_of_stream`).
    """
    ops = measured(rows)
    if not ops:
        return None
    with house_style():
        figure, axes = _axes(5.0)
        values = [op.sqnr_db for op in ops]
        low, high = min(0.0, *values), max(0.0, *values)
        margin = 0.06 * max(high - low, 1.0)
        axes.set(xlim=_depth_limits(rows), ylim=(low - 2 * margin, high + margin))
        axes.set(xlabel="op, in graph order", ylabel="SQNR against the float network (dB)")
        axes.set_title(" ", fontsize=8, y=1.0)  # the blocks' names will stand here
        axes.grid(visible=False, axis="x")
        axes.axhspan(low - 2 * margin, 0, color=palette.NO_SIGNAL, alpha=0.1, linewidth=0)
        axes.axhline(0, color=INK, linewidth=1)
        stream = _on_stream(rows, ops)
        axes.plot(
            [op.row.index for op in stream],
            [op.sqnr_db for op in stream],
            color=palette.STREAM,
            linewidth=1.2,
            alpha=0.6,
        )
        _scatter(axes, [(op.row, op.sqnr_db) for op in ops], rows)
        _legend(figure)
        lay_out(figure)
        name_blocks(axes, rows)
        _name_ops(figure, axes, rows, ops)
        tips = {op.row.index: f"{op.row.op}: {decibel(op.sqnr_db)}" for op in ops}
        return svg_text(figure, "depth", _depth_in_words(rows, ops), tips)


def cycles_by_block(rows: Sequence[LayerRow], host: Sequence[HostStepRecord] = ()) -> str | None:
    """Draw the estimated cycles of every block, stacked by kind; None if there are none.

    The host's steps behind the graph are bars of their own.
    """
    blocks = by_block(rows, host)
    if not any(block.cycles for block in blocks):
        return None
    with house_style():
        figure, axes = _axes(1.1 + 0.27 * len(blocks))
        start = [0] * len(blocks)
        kinds = [*(row.kind for row in rows), *(HOST for _ in host)]
        for group, look in looks(kinds).items():
            widths = [
                sum(n for kind, n in block.cycles_by_kind.items() if kind_group(kind) == group)
                for block in blocks
            ]
            if not any(widths):
                continue
            axes.barh(
                range(len(blocks)),
                widths,
                0.72,
                start,
                color=look.color,
                hatch=look.hatch,
                edgecolor=palette.HATCH,
                linewidth=0,
                label=printable(group),
            )
            start = [a + b for a, b in zip(start, widths, strict=True)]
        axes.set_yticks(range(len(blocks)), [printable(block.name) for block in blocks])
        axes.set(ylim=(len(blocks) - 0.4, -0.6), xlabel="cycles of one image, ESTIMATED")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        _legend(figure)
        most = max(blocks, key=lambda block: block.cycles)
        words = f"Estimated cycles by block. Most: {most.name}, {share(most.cycles, sum(start))}."
        return svg_text(figure, "cycles", words, {})


def saturation(rows: Sequence[LayerRow]) -> str | None:
    """Draw the share of saturated results of every op that has any; None if none has."""
    ops = [(row, 100 * row.saturated / row.elements) for row in rows if row.saturated]
    if not ops:
        return None
    with house_style():
        figure, axes = _axes(3.2)
        floor = min(value for _, value in ops) / 2
        axes.set_yscale("log")
        axes.set(xlim=_depth_limits(rows), ylim=(floor, max(200, floor * 4)))
        axes.set(xlabel="op, in graph order", ylabel="saturated results (log scale)")
        axes.yaxis.set_major_formatter(
            FuncFormatter(lambda value, _: f"{value:.12f}".rstrip("0").rstrip(".") + " %")
        )
        axes.yaxis.set_minor_locator(NullLocator())
        axes.set_title(" ", fontsize=8, y=1.0)  # the blocks' names will stand here
        axes.grid(visible=False, axis="x")
        indices, shares = [row.index for row, _ in ops], [value for _, value in ops]
        of = looks(row.kind for row in rows)
        colors = [of[kind_group(row.kind)].color for row, _ in ops]
        axes.vlines(indices, floor, shares, colors=colors, linewidth=1, alpha=0.5)
        _scatter(axes, ops, rows)
        _legend(figure)
        lay_out(figure)
        name_blocks(axes, rows)
        worst, value = max(ops, key=lambda item: item[1])
        tips = {row.index: f"{row.op}: {share(row.saturated, row.elements)}" for row, _ in ops}
        words = f"Saturated results, {len(ops)} ops. Most: {worst.op}, {value:.2f} percent."
        return svg_text(figure, "saturation", words, tips)


def _on_stream(rows: Sequence[LayerRow], ops: Sequence[Measured]) -> list[Measured]:
    """Return those of the measured ops that are sums of the residual stream."""
    stream = {row.index for row in sums_of_stream(rows)}
    return [op for op in ops if op.row.index in stream]


def _axes(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.add_subplot()


def _depth_limits(rows: Sequence[LayerRow]) -> tuple[float, float]:
    first, last = rows[0].index, rows[-1].index
    margin = 0.5 + 0.01 * (last - first)
    return first - margin, last + margin


def _scatter(axes: Axes, ops: Sequence[tuple[LayerRow, float]], rows: Sequence[LayerRow]) -> None:
    """Mark ops at their index, each mark a link to the op's row in the table."""
    size = 34 if len(rows) <= 80 else 22 if len(rows) <= 250 else 14
    for group, look in looks(row.kind for row in rows).items():
        some = [(row, value) for row, value in ops if kind_group(row.kind) == group]
        if not some:
            continue
        marks = axes.scatter(
            [row.index for row, _ in some],
            [value for _, value in some],
            s=size,
            c=look.color,
            marker=look.marker,
            linewidths=0,
            label=printable(group),
            zorder=3,
        )
        marks.set_urls([f"#op-{row.index}" for row, _ in some])


def _legend(figure: Figure) -> None:
    figure.legend(loc="outside upper left", ncols=9, handletextpad=0.3, columnspacing=1.4)


def name_blocks(axes: Axes, rows: Sequence[LayerRow]) -> None:
    """Shade every other block, and write its name above it: whole, or its number, or not at all."""
    width = axes.get_window_extent().width / float(np.ptp(axes.get_xlim()))
    for number, (block, group) in enumerate(groupby(rows, key=lambda row: block_of(row.op))):
        members = list(group)
        left, right = members[0].index - 0.5, members[-1].index + 0.5
        if number % 2:
            axes.axvspan(left, right, color=INK, alpha=0.07, linewidth=0)
        room = (right - left) * width
        for name in (block, block.rpartition(".")[2]):
            if 5.2 * len(name) < room:  # 8-point letters of the house font are about 5 wide
                axes.text(
                    (left + right) / 2,
                    1.0,
                    printable(name),
                    transform=axes.get_xaxis_transform(),
                    ha="center",
                    va="bottom",
                    fontsize=8,
                    in_layout=False,
                )
                break


def _name_ops(
    figure: Figure, axes: Axes, rows: Sequence[LayerRow], ops: Sequence[Measured]
) -> None:
    """Name the worst op, those that first cross a threshold, and the next worst, where room is."""
    worst = worst_ops(rows, _CANDIDATES)
    wanted = {op.row.index: op for op in [worst[0], *(op for _, op in first_below(rows)), *worst]}
    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    drawn = _drawn(axes, rows, ops)
    taken: list[Bbox] = []
    for op in wanted.values():
        if len(taken) < LABELLED:
            taken += _place_label(axes, renderer, op, drawn, taken)


def _drawn(axes: Axes, rows: Sequence[LayerRow], ops: Sequence[Measured]) -> NDArray[np.float64]:
    """Return points, in pixels, that no label may hide: marks, the stream's line, the 0 dB line."""
    marks = [(op.row.index, op.sqnr_db) for op in ops]
    depth = np.linspace(*axes.get_xlim(), 2000)
    lines = [np.column_stack([depth, np.zeros_like(depth)])]
    stream = np.array([(op.row.index, op.sqnr_db) for op in _on_stream(rows, ops)])
    if len(stream):
        lines.append(np.column_stack([depth, np.interp(depth, *stream.T)]))
    return np.asarray(axes.transData.transform(np.vstack([marks, *lines])))


def _place_label(
    axes: Axes,
    renderer: RendererBase,
    op: Measured,
    drawn: NDArray[np.float64],
    taken: Sequence[Bbox],
) -> list[Bbox]:
    """Write an op's name at the nearest place where it hides nothing; return its box, if any."""
    for x, y in _PLACES:
        label = axes.annotate(
            printable(op.row.op),
            (op.row.index, op.sqnr_db),
            (x, y),
            textcoords="offset points",
            ha="left" if x > 0 else "right",
            va="center",
            fontsize=8,
            in_layout=False,
            arrowprops={"arrowstyle": "-", "color": INK, "linewidth": 0.6, "shrinkB": 3},
            zorder=4,
        )
        label.update_positions(renderer)
        # The text alone: an annotation's own extent includes its line.
        box = Text.get_window_extent(label, renderer).padded(2)
        free = not box.count_contains(drawn) and not any(box.overlaps(other) for other in taken)
        if free and _holds(axes.bbox, box):
            return [box]
        label.remove()
    return []


def _holds(outer: BboxBase, inner: BboxBase) -> bool:
    return (
        outer.x0 <= inner.x0
        and inner.x1 <= outer.x1
        and outer.y0 <= inner.y0
        and inner.y1 <= outer.y1
    )


def _depth_in_words(rows: Sequence[LayerRow], ops: Sequence[Measured]) -> str:
    worst = worst_ops(rows, 1)[0]
    words = f"SQNR along depth, {len(ops)} ops. Lowest: {worst.row.op}, {decibel(worst.sqnr_db)}."
    for level, op in first_below(rows):
        words += f" First below {level:g} dB: {op.row.op}."
    return words
