# SPDX-License-Identifier: Apache-2.0
"""How the float network's values lie in the ranges of the types that hold their codes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from aocq.records.layers import LayerRow
from aocq.records.run import DistributionRecord, RunResult
from reports import palette
from reports.figures import WIDTH, name_blocks
from reports.svg import house_style, lay_out, printable, svg_text

# Of the axis, in ranges of the type: what is beyond is drawn at the edge.
_LEAST, _MOST = -0.75, 1.75
_INSIDE, _OUTSIDE, _ENDS = palette.BLUE[0], palette.ORANGE[0], palette.GRAY[0]


def distributions(result: RunResult, rows: Sequence[LayerRow]) -> str | None:
    """Draw each tensor's quantiles in units of its type's range; None of a record without any.

    0 is the least value that a code can stand for and 1 the largest: what lies outside is clipped,
    and a tensor that fills little of it has few codes for most of its values.
    """
    index = {row.op: row.index for row in rows}
    found = [
        (index[each.op], each, scaled)
        for each in result.distributions
        if each.op in index and (scaled := in_range(each)) is not None
    ]
    if not found:
        return None
    with house_style():
        figure = Figure(figsize=(WIDTH, 4.6), layout="constrained")
        axes = figure.add_subplot()
        axes.axhspan(0, 1, color=palette.GREEN[0], alpha=0.12, linewidth=0, label="codes")
        places = np.array([place for place, _, _ in found])
        values = np.clip(np.array([scaled for _, _, scaled in found]), _LEAST, _MOST)
        width = 3.5 if len(rows) <= 80 else 2.2 if len(rows) <= 250 else 1.4
        for low, high, line, label in (
            (1, 7, 0.4 * width, "0.1 to 99.9 % of the values"),
            (3, 5, 1.6 * width, "25 to 75 %"),
        ):
            axes.vlines(
                places, values[:, low], values[:, high], color=_INSIDE, linewidth=line, label=label
            )
        ends = values[:, [0, 8]]
        for column, marker in enumerate(("v", "^")):
            outside = (ends[:, column] < 0) if column == 0 else (ends[:, column] > 1)
            marks = axes.scatter(
                places, ends[:, column], s=6 * width, marker=marker, linewidths=0,
                c=np.where(outside, _OUTSIDE, _ENDS), zorder=3,
            )  # fmt: skip
            marks.set_urls([f"#op-{place}" for place in places])
        axes.scatter([], [], marker="^", c=_ENDS, label="largest and least value")
        axes.scatter([], [], marker="^", c=_OUTSIDE, label="the same, clipped")
        first, last = rows[0].index, rows[-1].index
        axes.set(xlim=(first - 1, last + 1), ylim=(_LEAST - 0.05, _MOST + 0.05))
        axes.set(xlabel="op, in graph order", ylabel="float values, range of the type = 0 to 100 %")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f} %"))
        axes.grid(visible=False, axis="x")
        axes.set_title(" ", fontsize=8, y=1.0)  # the blocks' names will stand here
        figure.legend(loc="outside upper left", ncols=6)
        lay_out(figure)
        name_blocks(axes, rows)
        tips = {place: _tip(each) for place, each, _ in found}
        return svg_text(figure, "distributions", _in_words(found), tips)


def in_range(found: DistributionRecord) -> list[float] | None:
    """Return least value, quantiles and largest value as parts of the type's range.

    None of a tensor whose values are no codes.
    """
    if found.low is None or found.high is None or found.high <= found.low:
        return None
    low, width = found.low, found.high - found.low
    return [(value - low) / width for value in (found.least, *found.quantiles, found.most)]


def narrowest(result: RunResult, count: int = 5) -> list[tuple[str, float]]:
    """Return the ops whose values fill the least of their type's range: (op, part), least first.

    What is filled lies between the quantiles of 0.1 and 99.9 %.
    """
    parts = [
        (each.op, scaled[7] - scaled[1])
        for each in result.distributions
        if (scaled := in_range(each)) is not None
    ]
    return sorted(parts, key=lambda item: item[1])[:count]


def _tip(found: DistributionRecord) -> str:
    return (
        f"{found.op}: values {found.least:.4g} to {found.most:.4g}, "
        f"codes {found.low:.4g} to {found.high:.4g}"
    )


def _in_words(found: Sequence[tuple[int, DistributionRecord, list[float]]]) -> str:
    clipped = [each.op for _, each, scaled in found if scaled[0] < 0 or scaled[8] > 1]
    words = f"Float values in the ranges of their types, {len(found)} tensors"
    worst = max(found, key=lambda item: max(-item[2][0], item[2][8] - 1))
    if clipped:
        words += f"; {len(clipped)} have clipped values, most of all {printable(worst[1].op)}"
    return f"{words}."
