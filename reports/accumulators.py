# SPDX-License-Identifier: Apache-2.0
"""A sweep over accumulator widths as a table and a figure."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from aocq.records.accumulator_widths import SWEEP_NAME, SweepRecord, SweepRow, save_sweep
from reports import palette
from reports.figures import WIDTH
from reports.format import CHANGED, MISSING, PERSISTENT, TRANSIENT, evaluated, named, percent, share
from reports.limits import capital
from reports.picture import Picture, picture
from reports.svg import INK, house_style, title
from simulator.files import write_text

FILES = tuple(f"accumulators.{ending}" for ending in ("md", "csv", "png", "svg", "json"))
_LEGEND = (
    f"Persistent: {PERSISTENT}; transient: {TRANSIENT}; changed: {CHANGED}; all as shares of the "
    "results of all ops with an accumulator. Overflowing: ops with any of these. Headroom: "
    "register bits that no completed sum used, in the op with the fewest."
)
BESIDE: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0)}  # covers no data
# Colour and marker by rule; what is persistent is drawn through, what is transient dashed.
LOOK_OF_RULE = {"wrap": palette.BLUE, "saturate": palette.ORANGE}


def network(record: SweepRecord) -> str:
    """Return the network's name and, in brackets, the constructor's arguments beside it."""
    return named(record.model, record.arguments)


def head(record: SweepRecord) -> tuple[str, ...]:
    """Return the table's headings; the third is the score's title."""
    return (
        *("bits", "rule", record.score.title, "agreement", "persistent", "transient", "changed"),
        *("overflowing", "headroom", "run"),
    )


def legend(record: SweepRecord) -> str:
    """Return what the columns mean."""
    agreed = f"share of {record.shares_of}, {record.alike} as with exact sums"
    return f"{capital(record.score.title)} in percent; agreement: {agreed}. {_LEGEND}"


def lines(record: SweepRecord, *, proven: bool = True) -> list[list[str]]:
    """Return the rows of the table as text, in the order of :func:`head`.

    ``proven``: also those that were not run, because a narrower register proves them.
    """
    return [
        [
            str(row.bits),
            row.overflow,
            f"{row.main_score:.2f}",
            percent(row.agreement),
            share(row.persistent, row.outputs),
            share(row.transient, row.outputs),
            share(row.changed, row.outputs),
            f"{row.overflowing}/{record.accumulators}",
            str(row.least_headroom_bits),
            _run(row),
        ]
        for row in record.rows
        if proven or row.same_as is None
    ]


def _run(row: SweepRow) -> str:
    """Return whether a row is exact, and which narrower register proves it."""
    if row.same_as is not None:
        return f"exact, as {row.same_as[0]} {row.same_as[1]}"
    return "exact" if row.exact else MISSING


def _scheme(record: SweepRecord) -> str:
    """Return the method and its widths: ``aocq W4A8``, ``aocq W4A8 mixed``."""
    mixed = " mixed" if record.mixed else ""
    return f"{record.method} W{record.weight_bits}A{record.activation_bits}{mixed}"


def summary(record: SweepRecord) -> str:
    """Return network, method, images and the first width without overflow, in a few sentences."""
    skipped = f" ({record.skipped_images} skipped)" if record.skipped_images else ""
    text = (
        f"{network(record)}, {_scheme(record)}, "
        f"lowered for {record.profile} with the outermost register of every accumulator replaced; "
        f"{evaluated(record.images, record.data)}{skipped}. Exact sums: "
        f"{record.score.title} {percent(record.exact_score)}."
    )
    if record.exact_from is None:
        return f"{text} Every width that was run overflows."
    return (
        f"{text} At {record.exact_from} bits nothing overflows on these images: wider registers, "
        "and either rule, give the same integers and were not run."
    )


def markdown(record: SweepRecord) -> str:
    """Return the table as Markdown."""
    names = head(record)
    rows = [list(names), ["---:", "---", *["---:"] * (len(names) - 3), "---"], *lines(record)]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return f"# Accumulator widths\n\n{summary(record)}\n\n{table}\n\n{legend(record)}\n"


def csv_text(record: SweepRecord) -> str:
    """Return the rows as CSV with full precision; ``exact`` is yes or no.

    The column of the score bears its key.
    """
    names = [*SweepRow.model_fields, "exact"]
    names[names.index("main_score")] = record.score.key
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    for row in record.rows:
        same_as = "" if row.same_as is None else f"{row.same_as[0]} {row.same_as[1]}"
        exact = "yes" if row.exact else "no"
        plain = row.model_dump()
        plain[record.score.key] = plain.pop("main_score")
        writer.writerow({**plain, "same_as": same_as, "exact": exact})
    return text.getvalue()


def write_sweep(record: SweepRecord, folder: Path) -> None:
    """Write accumulators.md, .csv, .png, .svg and .json into ``folder``, each whole or not."""
    name = Path(SWEEP_NAME).stem
    write_text(folder / f"{name}.md", markdown(record))
    write_text(folder / f"{name}.csv", csv_text(record))
    figure(record).write(folder, name)
    save_sweep(record, folder)


def figure(record: SweepRecord) -> Picture:
    """Draw the score over the width, by rule; below it the share of outputs that overflow."""
    with house_style():
        drawing = Figure(figsize=(WIDTH, 7.0), layout="constrained")
        accuracy, overflow = drawing.subplots(2, 1, sharex=True)
        accuracy.axhline(
            record.exact_score, color=INK, linewidth=1, linestyle="--", label="exact sums"
        )
        shares: list[float] = []
        for rule, (color, marker) in LOOK_OF_RULE.items():
            rows = [row for row in record.rows if row.overflow == rule]
            if not rows:
                continue
            bits = [row.bits for row in rows]
            # Hollow and larger below: where both rules agree, both stay in sight.
            hollow = {"markersize": 9, "fillstyle": "none"} if rule == "wrap" else {"markersize": 4}
            style: dict[str, Any] = {"color": color, "marker": marker, "linewidth": 1.4, **hollow}
            accuracy.plot(bits, [row.main_score for row in rows], label=rule, **style)
            for what, line in (("persistent", "-"), ("transient", ":")):
                values = [_positive(getattr(row, what), row.outputs) for row in rows]
                shares += [value for value in values if not math.isnan(value)]
                overflow.plot(bits, values, linestyle=line, label=f"{rule}, {what}", **style)
        accuracy.set(ylabel=f"integer {record.score.title} (%)", ylim=(-3, 103))
        accuracy.set_title(
            title(
                f"{network(record)}, {_scheme(record)} on {record.profile}, "
                f"{evaluated(record.images, record.data)}"
            ),
            fontsize=9,
        )
        accuracy.legend(**BESIDE)
        _shares(overflow, shares)
        overflow.set_xlabel("bits of the outermost accumulator register")
        overflow.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=24))
        return picture(drawing, "accumulators", summary(record))


def _positive(part: int, whole: int) -> float:
    """Return a share in percent; not a number, which no line shows, where it is nothing."""
    return 100 * part / whole if part else math.nan


def _shares(axes: Axes, shares: Sequence[float]) -> None:
    """Make the axis of shares logarithmic; where there are none, say so."""
    axes.set_ylabel("outputs that overflow (log scale)")
    if not shares:
        axes.set(yticks=[], ylim=(0, 1))
        axes.text(0.5, 0.5, "no overflow at any width", transform=axes.transAxes, ha="center")
        return
    axes.set_yscale("log")
    axes.set_ylim(min(shares) / 3, 200)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} %"))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.legend(**BESIDE)
