# SPDX-License-Identifier: Apache-2.0
"""The SRAM over a run's ops: live bytes against the budget, and the place of every tensor."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from aocq.records.layers import LayerRow
from aocq.records.run import BufferRecord, RunResult
from reports import palette
from reports.figures import WIDTH, lay_out, name_blocks
from reports.format import kib
from reports.limits import peak_buffers, peak_sentence
from reports.looks import kind_group, looks
from reports.svg import INK, house_style, printable, svg_text

# What bytes are for: their colour, and what the legend calls them.
_STORAGE = {
    "activation": (palette.BLUE[0], "activations"),
    "temporary": (palette.ORANGE[0], "temporaries between passes of an op"),
    "weights": (palette.GREEN[0], "tiles of weights"),
}
_BUDGET = palette.RED[0]
_IN_SIGHT = 4  # times the peak: a budget beyond is named at the top and not drawn
_LEAST = 0.004  # of the peak: smaller tensors are not drawn one by one
_NAMED = 3  # tensors of the peak that bear their names


def memory_timeline(result: RunResult, rows: Sequence[LayerRow]) -> str | None:
    """Draw live bytes over the ops, stacked by what they are for, and each tensor's place.

    Buffers that live in DRAM are left out. None where the record has no memory plan.
    """
    buffers = [buffer for buffer in result.buffers if buffer.offset is not None]
    if not buffers or not rows:
        return None
    with house_style():
        figure = Figure(figsize=(WIDTH, 6.6), layout="constrained")
        live, places = figure.subplots(2, 1, sharex=True, height_ratios=(3, 4))
        _live(live, buffers, result, len(rows))
        _places(places, buffers, result, rows)
        live.set_title(" ", fontsize=8)  # the blocks' names will stand here
        places.set_xlabel("op, in graph order")
        figure.legend(*live.get_legend_handles_labels(), loc="outside upper left", ncols=4)
        figure.legend(*places.get_legend_handles_labels(), loc="outside lower left", ncols=10)
        lay_out(figure)
        name_blocks(live, rows)
        return svg_text(figure, "memory", _in_words(result), _tips(buffers, rows))


def live_bytes(buffers: Sequence[BufferRecord], ops: int) -> dict[str, NDArray[np.float64]]:
    """Return how many bytes are in SRAM during each op, by what they are for.

    Of an op of several passes it is the pass with the most bytes.
    """
    moments = {(op, 0) for op in range(ops)}
    moments |= {at for each in buffers for at in (_begin(each), _end(each)) if at[0] < ops}
    order = sorted(moments)
    place = {moment: number for number, moment in enumerate(order)}
    changes = {storage: np.zeros(len(order) + 1) for storage in _STORAGE}
    for buffer in buffers:
        changes[buffer.storage][place.get(_begin(buffer), len(order))] += buffer.bytes
        end = place.get(_end(buffer), len(order) - 1) + 1
        changes[buffer.storage][end] -= buffer.bytes
    live = {storage: np.cumsum(change)[:-1] for storage, change in changes.items()}
    total = np.sum([*live.values()], axis=0)
    fullest = [0] * ops
    for number, (op, _) in enumerate(order):
        if total[number] >= total[fullest[op]] or order[fullest[op]][0] != op:
            fullest[op] = number
    return {storage: values[fullest] for storage, values in live.items()}


def _begin(buffer: BufferRecord) -> tuple[int, int]:
    return buffer.first, buffer.first_pass


def _end(buffer: BufferRecord) -> tuple[int, int]:
    return buffer.last, buffer.last_pass


def _live(axes: Axes, buffers: Sequence[BufferRecord], result: RunResult, ops: int) -> None:
    edges = np.arange(ops + 1) - 0.5
    below = np.zeros(ops)
    for storage, values in live_bytes(buffers, ops).items():
        if values.any():
            color, label = _STORAGE[storage]
            axes.stairs(
                (below + values) / 1024, edges, baseline=below / 1024, fill=True, color=color,
                alpha=0.75, label=label,
            )  # fmt: skip
            below = below + values
    axes.set_xlim(-1, ops)
    _peak(axes, below)
    axes.set_ylabel("live in SRAM, KiB, ESTIMATED")
    _budget(axes, int(below.max()), result.memory.sram_bytes)
    axes.grid(visible=False, axis="x")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def _peak(axes: Axes, live: NDArray[np.float64]) -> None:
    """Write how many bytes the fullest op has."""
    op = int(np.argmax(live))
    right = op < len(live) / 2
    axes.annotate(
        kib(int(live[op])),
        (op + (0.5 if right else -0.5), live[op] / 1024),
        (4 if right else -4, -4),
        textcoords="offset points",
        ha="left" if right else "right",
        va="top",
        fontsize=8,
    )


def _budget(axes: Axes, peak: int, budget: int) -> None:
    """Draw the line that bytes must not cross; where it is far above, say so at the top."""
    label = f"SRAM of the profile: {kib(budget)}"
    if budget <= _IN_SIGHT * peak:
        axes.axhline(budget / 1024, color=_BUDGET, linewidth=1.4, linestyle="--", label=label)
        axes.set_ylim(0, 1.12 * max(peak, budget) / 1024)
    else:
        axes.plot([], [], color=_BUDGET, linewidth=1.4, linestyle="--", label=f"{label}, above")
        axes.set_ylim(0, 1.12 * peak / 1024)


def _places(
    axes: Axes, buffers: Sequence[BufferRecord], result: RunResult, rows: Sequence[LayerRow]
) -> None:
    """Draw every tensor as a rectangle: its ops across, its bytes upwards."""
    of_kind = looks(row.kind for row in rows)
    kinds = {row.op: kind_group(row.kind) for row in rows}
    end = max((buffer.offset or 0) + buffer.bytes for buffer in buffers)
    drawn = [buffer for buffer in buffers if buffer.bytes >= _LEAST * end]
    for group, look in of_kind.items():
        some = [buffer for buffer in drawn if kinds.get(buffer.op) == group]
        _rectangles(axes, some, rows, look.color, f"by {group}")
    _rectangles(axes, [b for b in drawn if b.op not in kinds], rows, INK, "input")
    axes.set(xlim=(-1, len(rows)), ylim=(0, 1.03 * end / 1024))
    axes.set_ylabel("place in SRAM, KiB")
    axes.grid(visible=False, axis="x")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    for buffer in peak_buffers(result)[:_NAMED]:
        if buffer.offset is not None:
            axes.annotate(
                printable(buffer.name),
                ((buffer.first + buffer.last) / 2, (buffer.offset + buffer.bytes / 2) / 1024),
                ha="left" if buffer.first < len(rows) / 2 else "right",
                va="center",
                fontsize=8,
                in_layout=False,
            )
    if result.memory.sram_bytes <= 1.03 * end:
        axes.axhline(result.memory.sram_bytes / 1024, color=_BUDGET, linewidth=1.4, linestyle="--")


def _rectangles(
    axes: Axes,
    buffers: Sequence[BufferRecord],
    rows: Sequence[LayerRow],
    color: str,
    label: str,
) -> None:
    if not buffers:
        return
    patches = PatchCollection(
        [
            Rectangle(
                (buffer.first - 0.5, (buffer.offset or 0) / 1024),
                min(buffer.last, len(rows)) - buffer.first + 1,
                buffer.bytes / 1024,
            )
            for buffer in buffers
        ],
        facecolor=color,
        edgecolor=palette.GRAY[0],
        linewidth=0.5,
        alpha=0.6,
    )
    index = {row.op: row.index for row in rows}
    patches.set_urls([f"#op-{index.get(buffer.op, 0)}" for buffer in buffers])
    axes.add_collection(patches)
    axes.plot([], [], color=color, linewidth=6, alpha=0.6, label=label)


def _tips(buffers: Sequence[BufferRecord], rows: Sequence[LayerRow]) -> dict[int, str]:
    """Return what pointing at a rectangle shows: the tensors that its op writes."""
    written: dict[str, list[str]] = {}
    for buffer in buffers:
        written.setdefault(buffer.op, []).append(
            f"{buffer.name} ({buffer.type}, {kib(buffer.bytes)})"
        )
    tips = {row.index: " + ".join(written.get(row.op, [row.op])) for row in rows}
    return {0: rows[0].op, **tips}


def _in_words(result: RunResult) -> str:
    memory = result.memory
    return (
        f"SRAM over the ops: peak {kib(memory.peak_sram_bytes)} of {kib(memory.sram_bytes)}. "
        f"{peak_sentence(result)}"
    )
