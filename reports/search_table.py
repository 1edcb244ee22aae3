# SPDX-License-Identifier: Apache-2.0
"""The candidates of a search as a table: Markdown, CSV, JSON, and for the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from aocq.records.design_costs import budget_in_words
from aocq.records.search import CandidateRow, Quality, SearchResult
from reports.design_costs import COST_HEADS, cost_cells
from reports.flat_csv import flat_csv
from reports.format import MISSING, NO_NOISE, decibel, percent, plural, signed
from simulator import strict_json

HEADS = (
    *("no.", "bits of weights", "expected", "SQNR", "agreement", "drop", *COST_HEADS),
    *("within budget", "front"),
)
CONFIRMED_HEADS = ("no.", "bits of weights", "images", "SQNR", "agreement", "drop", *COST_HEADS)
_NONE_ON_FRONT = "no candidate is on the front."
_LEGEND = (
    "Candidates in the order of emulation; 0 is the run's own recipe. Expected: SQNR by the "
    "scores and what was measured before. SQNR of the logits and agreement with the float network, "
    "drop of the main score in points: of the integer network. Latency and energy of one image "
    "and peak SRAM are ESTIMATED. Front: no candidate within the budget has less "
    "noise for no more of any cost that the budget names."
)


def markdown(found: SearchResult) -> str:
    """Return all candidates as Markdown, those that were confirmed in a table of their own."""
    budget = budget_in_words(found.budget)
    parts = [
        f"# Recipes of {found.network} on {found.profile} within {budget}",
        f"Engine {found.engine}; {found.rows[0].found.images} images in the search.",
    ]
    confirmed = confirmed_cells(found)
    if confirmed:
        images = next(row.confirmed.images for row in found.rows if row.confirmed is not None)
        parts += [
            "## Confirmed",
            f"On {images} images that the search did not use, with the run's own options:",
            _table(CONFIRMED_HEADS, confirmed),
        ]
        if told := no_gain_in_words(found):
            parts.append(f"{told[0].upper()}{told[1:]}")
    parts += ["## Candidates", _table(HEADS, candidate_cells(found)), _LEGEND]
    return "\n\n".join(parts) + "\n"


def candidate_cells(found: SearchResult) -> list[list[str]]:
    """Return the candidates as cells under :data:`HEADS`."""
    return [
        [
            *(str(row.number), row.layers, decibel(row.predicted_db)),
            *quality_cells(row.found),
            *cost_cells(row.costs),
            *("yes" if row.within_budget else "no", "front" if row.on_front else ""),
        ]
        for row in found.rows
    ]


def confirmed_cells(found: SearchResult) -> list[list[str]]:
    """Return what was confirmed as cells under :data:`CONFIRMED_HEADS`."""
    return [
        [
            *(str(row.number), row.layers, str(row.confirmed.images)),
            *quality_cells(row.confirmed),
            *cost_cells(row.confirmed_costs),
        ]
        for row in found.rows
        if row.confirmed is not None and row.confirmed_costs is not None
    ]


def no_gain_in_words(found: SearchResult) -> str | None:
    """Return a sentence where no confirmed recipe has more SQNR than the run's own; else None.

    None too where nothing was confirmed.
    """
    confirmed = {row.number: row.confirmed for row in found.rows if row.confirmed is not None}
    own = confirmed.pop(0, None)
    if own is None:
        return None
    if not confirmed:
        return None if _others_on_front(found) else "no gain was confirmed: " + _NONE_ON_FRONT
    number, best = max(confirmed.items(), key=lambda item: _level(item[1]))
    if _level(best) > _level(own):
        return None
    above = "" if found.rows[0].within_budget else ", which is above the budget"
    return (
        f"no gain was confirmed: on the {plural(own.images, 'image')} that the search did not use, "
        f"candidate {number} has an SQNR of {decibel(best.sqnr_db, NO_NOISE)}, no more than the "
        f"{decibel(own.sqnr_db, NO_NOISE)} of the run's own recipe{above}."
    )


def _others_on_front(found: SearchResult) -> bool:
    return any(row.on_front and row.number for row in found.rows)


def _level(quality: Quality) -> float:
    """Return an SQNR that can be compared: infinite without noise."""
    return math.inf if quality.sqnr_db is None else quality.sqnr_db


def quality_cells(quality: Quality | None) -> list[str]:
    """Return SQNR, agreement and drop as cells."""
    if quality is None:
        return [MISSING] * 3
    return [decibel(quality.sqnr_db, NO_NOISE), percent(quality.agreement), signed(quality.drop)]


def json_text(found: SearchResult) -> str:
    """Return a search as JSON."""
    return strict_json.dumps(plain(found), indent=1, ensure_ascii=False) + "\n"


def csv_text(found: SearchResult) -> str:
    """Return the candidates as CSV with full precision; an empty cell means None."""
    return flat_csv([asdict(row) for row in found.rows])


def plain(found: SearchResult) -> dict[str, Any]:
    """Return a search as plain values."""
    return {**asdict(found), "budget": dict(found.budget), "rows": [asdict(r) for r in found.rows]}


def front_of(found: SearchResult) -> list[CandidateRow]:
    """Return the candidates on the front, cheapest in weight bytes first."""
    front = [row for row in found.rows if row.on_front]
    return sorted(front, key=lambda row: row.costs.weight_bytes)


def _table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [list(heads), ["---:", "---", *["---:"] * (len(heads) - 2)], *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
