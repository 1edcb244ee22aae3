# SPDX-License-Identifier: Apache-2.0
"""Figures of sensitivities (score against bytes) and of searches (SQNR against bytes)."""

from __future__ import annotations

import math
import re

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from aocq.records.search import CandidateRow, SearchResult, Sensitivity
from reports import palette
from reports.figures import WIDTH
from reports.picture import Picture, picture
from reports.sensitivity_table import noise_share
from reports.svg import INK, house_style, printable, title

LABELLED = 8  # steps whose layers are named
KIBIBYTE = 1024


def sensitivity_figure(found: Sensitivity) -> Picture:
    """Draw each step's score against the bytes that it adds, steps of one kind of layer alike."""
    kinds = list(dict.fromkeys(_kind(row.op) for row in found.rows))
    looks = dict(zip(kinds, palette.SERIES * math.ceil(len(kinds) / len(palette.SERIES))))  # noqa: B905
    with house_style():
        figure = Figure(figsize=(WIDTH, 4.4), layout="constrained")
        axes = figure.subplots()
        for kind in kinds:
            color, marker = looks[kind]
            own = [row for row in found.rows if _kind(row.op) == kind]
            axes.scatter(
                [row.added.weight_bytes / KIBIBYTE for row in own],
                [noise_share(row, found) or 0.0 for row in own],
                s=[52 if row.measured is not None else 24 for row in own],
                facecolors=[color if row.measured is not None else "none" for row in own],
                edgecolors=color,
                marker=marker,
                label=printable(kind),
            )
        for row in found.rows[:LABELLED]:
            axes.annotate(
                f"{printable(row.op)} {row.other}",
                (row.added.weight_bytes / KIBIBYTE, noise_share(row, found) or 0.0),
                (5, 3),
                textcoords="offset points",
                fontsize=7,
            )
        axes.axhline(0, color=INK, linewidth=0.8)
        axes.set(
            xlabel="bytes that the step adds, KiB, ESTIMATED",
            ylabel="noise that it adds, percent of the run's",
        )
        figure.legend(loc="outside lower left", ncols=6)
        figure.suptitle(
            title(f"{found.network} on {found.profile}: filled marks were emulated"), fontsize=9
        )
        best = found.rows[0]
        words = (
            f"Noise that each step adds against bytes that it adds, {len(found.rows)} steps. Most "
            f"noise per byte is taken away by {printable(best.op)} at {best.other} bits."
        )
        return picture(figure, "sensitivity", words)


def search_figure(found: SearchResult) -> Picture:
    """Draw SQNR of all candidates against weight bytes, the front as a line."""
    rows = [row for row in found.rows if row.found.sqnr_db is not None]
    front = sorted((row for row in rows if row.on_front), key=lambda row: row.costs.weight_bytes)
    with house_style():
        figure = Figure(figsize=(WIDTH, 4.2), layout="constrained")
        axes = figure.subplots()
        color, marker = palette.BLUE
        for within, face, label in (
            (True, color, "within the budget"),
            (False, "none", "above it"),
        ):
            own = [row for row in rows if row.within_budget is within]
            if own:
                axes.scatter(
                    [row.costs.weight_bytes / 1e6 for row in own],
                    [_decibel(row) for row in own],
                    s=30,
                    facecolors=face,
                    edgecolors=color,
                    marker=marker,
                    label=label,
                )
        axes.plot(
            [row.costs.weight_bytes / 1e6 for row in front],
            [_decibel(row) for row in front],
            color=palette.GREEN[0],
            linewidth=1.2,
            label="front",
        )
        confirmed = [row for row in rows if row.confirmed and row.confirmed.sqnr_db is not None]
        if confirmed:
            axes.scatter(
                [row.costs.weight_bytes / 1e6 for row in confirmed],
                [row.confirmed.sqnr_db or 0.0 for row in confirmed if row.confirmed],
                s=46,
                facecolors="none",
                edgecolors=palette.ORANGE[0],
                marker=palette.ORANGE[1],
                label="confirmed on other images",
            )
        if (most := found.budget.get("weight_bytes")) is not None:
            axes.axvline(most / 1e6, color=palette.RED[0], linestyle="--", label="budget")
        for row in dict.fromkeys((*rows[:1], *front)):
            axes.annotate(
                str(row.number),
                (row.costs.weight_bytes / 1e6, _decibel(row)),
                (5, 4),
                textcoords="offset points",
                fontsize=8,
            )
        axes.set(xlabel="weight bytes, MB (10^6)", ylabel="SQNR of the logits, dB")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
        figure.legend(loc="outside lower left", ncols=5)
        figure.suptitle(title(f"{found.network} on {found.profile}, {found.engine}"), fontsize=9)
        words = (
            f"SQNR against weight bytes of {len(rows)} candidates; {len(front)} of them on the "
            "front."
        )
        return picture(figure, "search", words)


def _decibel(row: CandidateRow) -> float:
    return row.found.sqnr_db or 0.0


def _kind(op: str) -> str:
    """Return which layer of a block an op is: its name without numbers."""
    return re.sub(r"\.?\b\d+\b\.?", ".", op).strip(".").removeprefix("blocks.")
