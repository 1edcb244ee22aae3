# SPDX-License-Identifier: Apache-2.0
"""The SRAM over a run's ops: live bytes against the budget, and the place of every tensor."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from aocq.records.costs import BufferRecord
from aocq.records.layers import LayerRow
from aocq.records.run import RunResult
from reports import palette
from reports.figures import WIDTH, name_blocks
from reports.format import kib
from reports.limits import peak_buffers, peak_sentence
from reports.looks import kind_group, looks
from reports.svg import INK, house_style, lay_out, printable, svg_text

# What bytes are for: their colour, their hatch, and what the legend calls them.
IN_DRAM = "in DRAM"
_STORAGE = {
    "activation": (palette.BLUE[0], "", "activations"),
    "temporary": (palette.ORANGE[0], "", "temporaries between passes of an op"),
    "weights": (palette.GREEN[0], "", "tiles of weights"),
    IN_DRAM: (palette.GRAY[0], "///", "in DRAM"),
}
_BUDGET = palette.RED[0]
_IN_SIGHT = 4  # times the peak: a budget beyond is named at the top and not drawn
_LEAST = 0.004  # of the peak: smaller tensors are not drawn one by one
_NAMED = 3  # tensors of the peak that bear their names

Span = tuple[float, float]


def spans(buffers: Sequence[BufferRecord], rows: Sequence[LayerRow]) -> list[Span]:
    """Return where each buffer begins and ends on an axis on which op 3 takes 2.5 to 3.5.

    The passes of an op are equal parts of it.
    """
    passes = Counter({row.index: row.passes or 1 for row in rows})
    for buffer in buffers:
        for op, number in ((buffer.first, buffer.first_pass), (buffer.last, buffer.last_pass)):
            passes[op] = max(passes[op], number + 1)
    return [
        (
            b.first - 0.5 + b.first_pass / passes[b.first],
            b.last - 0.5 + (b.last_pass + 1) / passes[b.last],
        )
        for b in buffers
    ]


def live_bytes(
    buffers: Sequence[BufferRecord], lives: Sequence[Span], ops: int
) -> tuple[NDArray[np.float64], dict[str, NDArray[np.int64]]]:
    """Return where the number of live bytes may change, and that number from there on.

    It is told by what bytes are for, and has an entry less than there are edges.
    """
    edges = np.array(sorted({-0.5, ops - 0.5, *(edge for life in lives for edge in life)}))
    found = {storage: np.zeros(len(edges) - 1, np.int64) for storage in _STORAGE}
    for buffer, life in zip(buffers, lives, strict=True):
        begin, end = np.searchsorted(edges, life)
        found[_storage(buffer)][begin:end] += buffer.bytes
    return edges, found


def _storage(buffer: BufferRecord) -> str:
    return IN_DRAM if buffer.offset is None else buffer.storage


def memory_timeline(result: RunResult, rows: Sequence[LayerRow]) -> str | None:
    """Draw live bytes over the ops, stacked by what they are for, and each tensor's place in SRAM.

    None where the record has no memory plan.
    """
    buffers = [buffer for buffer in result.buffers if buffer.first <= buffer.last < len(rows)]
    if not buffers:
        return None
    lives = spans(buffers, rows)
    with house_style():
        figure = Figure(figsize=(WIDTH, 6.6), layout="constrained")
        live, places = figure.subplots(2, 1, sharex=True, height_ratios=(3, 4))
        live.set_xlim(-1, len(rows))
        _live(live, result, *live_bytes(buffers, lives, len(rows)))
        _places(places, dict(zip((b.name for b in buffers), lives, strict=True)), result, rows)
        live.set_title(" ", fontsize=8, y=1.0)  # the blocks' names will stand here
        places.set_xlabel("op, in graph order")
        figure.legend(*live.get_legend_handles_labels(), loc="outside upper left", ncols=5)
        figure.legend(*places.get_legend_handles_labels(), loc="outside lower left", ncols=8)
        lay_out(figure)
        name_blocks(live, rows)
        return svg_text(figure, "memory", _in_words(result), _tips(buffers, rows))


def _live(
    axes: Axes,
    result: RunResult,
    edges: NDArray[np.float64],
    live: Mapping[str, NDArray[np.int64]],
) -> None:
    below = np.zeros(len(edges) - 1, np.int64)
    for storage, values in live.items():
        if values.any():
            color, hatch, label = _STORAGE[storage]
            axes.stairs(
                (below + values) / 1024, edges, baseline=below / 1024, fill=True,
                facecolor=color, edgecolor=palette.HATCH if hatch else color, linewidth=0,
                hatch=hatch, alpha=0.75, label=label,
            )  # fmt: skip
            below = below + values
    _peak(axes, result, edges, below)
    axes.set_ylabel("live, KiB, ESTIMATED")
    _budget(axes, int(below.max()), result.memory.sram_bytes)
    _plain(axes)


def _peak(
    axes: Axes, result: RunResult, edges: NDArray[np.float64], live: NDArray[np.int64]
) -> None:
    """Mark the fullest moment, with its bytes and its op."""
    place = int(np.argmax(live))
    x, y = float(edges[place : place + 2].mean()), live[place] / 1024
    right = x < edges[-1] / 2
    name = f" during {printable(result.peak.op)}" if result.peak else ""
    axes.plot([x], [y], marker="v", markersize=5, color=INK, zorder=4)
    axes.annotate(
        f"{kib(int(live[place]))}{name}",
        (x, y),
        (7 if right else -7, 5),
        textcoords="offset points",
        ha="left" if right else "right",
        va="bottom",
        fontsize=8,
        in_layout=False,
    )


def _budget(axes: Axes, peak: int, budget: int) -> None:
    """Draw the line that bytes must not cross; where it is far above, say so at the top."""
    label = f"SRAM of the profile: {kib(budget)}"
    if budget <= _IN_SIGHT * peak:
        axes.axhline(budget / 1024, color=_BUDGET, linewidth=1.4, linestyle="--", label=label)
        axes.set_ylim(0, 1.18 * max(peak, budget) / 1024)
    else:
        axes.plot([], [], color=_BUDGET, linewidth=1.4, linestyle="--", label=f"{label}, above")
        axes.set_ylim(0, 1.18 * peak / 1024)


def _plain(axes: Axes) -> None:
    axes.grid(visible=False, axis="x")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def _places(
    axes: Axes, lives: Mapping[str, Span], result: RunResult, rows: Sequence[LayerRow]
) -> None:
    """Draw every tensor in SRAM as a rectangle: its ops across, its bytes upwards."""
    of_kind = looks(row.kind for row in rows)
    kinds = {row.op: kind_group(row.kind) for row in rows}
    index = {row.op: row.index for row in rows}
    held = {b.name: b for b in result.buffers if b.name in lives and b.offset is not None}
    end = max((_end(buffer) for buffer in held.values()), default=1)
    drawn = [b for b in held.values() if b.bytes >= _LEAST * end]
    groups = [(f"by {group}", look.color, group) for group, look in of_kind.items()]
    for label, color, group in [*groups, ("input", INK, None)]:
        some = [b for b in drawn if kinds.get(b.op) == group]
        if some:
            patches = PatchCollection(
                [_rectangle(buffer, lives[buffer.name]) for buffer in some],
                facecolor=color,
                edgecolor=palette.GRAY[0],
                # An outline would be all there is of a temporary between two passes.
                linewidth=[0.5 if lives[b.name][1] - lives[b.name][0] >= 1 else 0 for b in some],
                alpha=0.6,
            )
            patches.set_urls([f"#op-{index.get(b.op, 0)}" for b in some])
            axes.add_collection(patches)
            axes.plot([], [], color=color, linewidth=6, alpha=0.6, label=label)
    axes.set(ylim=(0, 1.03 * end / 1024), ylabel="place in SRAM, KiB")
    _plain(axes)
    for buffer in [b for b in peak_buffers(result) if b.name in held][:_NAMED]:
        left, right = lives[buffer.name]
        axes.annotate(
            printable(buffer.name),
            ((left + right) / 2, (_end(buffer) - buffer.bytes / 2) / 1024),
            ha="left" if left < len(rows) / 2 else "right",
            va="center",
            fontsize=8,
            in_layout=False,
        )
    if result.memory.sram_bytes <= 1.03 * end:
        axes.axhline(result.memory.sram_bytes / 1024, color=_BUDGET, linewidth=1.4, linestyle="--")


def _end(buffer: BufferRecord) -> int:
    return (buffer.offset or 0) + buffer.bytes


def _rectangle(buffer: BufferRecord, life: Span) -> Rectangle:
    bottom = (buffer.offset or 0) / 1024
    return Rectangle((life[0], bottom), life[1] - life[0], buffer.bytes / 1024)


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
