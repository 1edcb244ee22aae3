# SPDX-License-Identifier: Apache-2.0
"""Sensitivity of a run to every single width: scores of all steps, the top ones emulated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pandas as pd

from aocq.records.design_costs import DesignCosts
from aocq.records.search import KindRow, Quality, Sensitivity, StepRow
from aocq.search.candidates import Laboratory, emulated
from aocq.search.noise_model import decibel_of, share_of
from aocq.search.places import Place, recipe_at
from aocq.search.scored_run import ScoredRun

LEAST_FOR_CORRELATION = 3

# Called with what is known so far, after every emulated step.
OnRows = Callable[[Sensitivity], None]


def sensitivity(
    scored: ScoredRun, laboratory: Laboratory, confirm: int, on_rows: OnRows = lambda found: None
) -> Sensitivity:
    """Return all steps of a run, ``confirm`` of them emulated: those of most score per byte."""
    steps = _steps(scored)
    ranked = sorted(steps, key=lambda step: -_worth(step[2]))
    rows = [row for _, _, row in ranked]
    found = _sensitivity(scored, rows)
    on_rows(found)
    recipe, graph = laboratory.request.calibration.recipe, scored.run.reference
    for number, (place, bits, row) in enumerate(ranked[:confirm]):
        candidate = recipe_at(recipe, graph, dict(scored.places) | {place: bits})
        name = f"{number + 1}/{min(confirm, len(rows))} {row.op}: {row.bits} → {row.other} bits"
        result, folder = emulated(laboratory, candidate, name)
        rows[number] = replace(
            row,
            measured=Quality.of_run(result),
            added=DesignCosts.of_run(result).plus(scored.costs.costs, -1),
            run=str(folder.relative_to(laboratory.request.out)),
        )
        found = _sensitivity(scored, rows)
        on_rows(found)
    return found


def _steps(scored: ScoredRun) -> list[tuple[Place, int, StepRow]]:
    noise = share_of(scored.start.accuracy.logit_sqnr_db.integer_float)
    found = []
    for place, now in scored.places.items():
        for bits in _beside(place, now):
            after, before = scored.scores.scores[place, bits], scored.scores.scores[place, now]
            added = (after.noise - before.noise) / scored.scores.power
            row = StepRow(
                op=place.op,
                kind=place.kind,
                bits=now,
                other=bits,
                noise=added,
                divergence=after.divergence - before.divergence,
                predicted_db=decibel_of(max(noise + added, 1e-12)) - decibel_of(max(noise, 1e-12)),
                added=scored.costs.added[place, bits],
            )
            found.append((place, bits, row))
    return found


def _beside(place: Place, now: int) -> list[int]:
    """Return the next lower and the next higher width of a place."""
    middle = place.widths.index(now)
    return [*place.widths[:middle][-1:], *place.widths[middle + 1 :][:1]]


def _worth(row: StepRow) -> float:
    """Return how much noise a step up takes away for each byte.

    Of steps down, less than nothing: how much noise each byte that is won brings in.
    """
    return -row.noise / max(abs(row.added.weight_bytes), 1.0)


def _sensitivity(scored: ScoredRun, rows: Sequence[StepRow]) -> Sensitivity:
    start = scored.start
    return Sensitivity(
        network=start.model.name,
        profile=start.profile.name,
        kinds=_kinds(scored),
        start=Quality.of_run(start),
        costs=scored.costs.costs,
        rows=tuple(rows),
        rank_correlation=_correlation(rows, start.accuracy.logit_sqnr_db.integer_float),
        score_images=scored.scores.images,
    )


def _kinds(scored: ScoredRun) -> tuple[KindRow, ...]:
    found = scored.scores
    rows = [
        KindRow(kind=kind, share=score.noise / found.noise, divergence=score.divergence)
        for kind, score in found.kinds.items()
        if found.noise > 0
    ]
    return tuple(sorted(rows, key=lambda row: -row.share))


def _correlation(rows: Sequence[StepRow], start_db: float | None) -> float | None:
    """Return Spearman's rank correlation of predicted and measured changes of SQNR."""
    pairs = [
        (row.predicted_db, row.measured.sqnr_db - (start_db or 0.0))
        for row in rows
        if row.measured is not None and row.measured.sqnr_db is not None
    ]
    if len(pairs) < LEAST_FOR_CORRELATION:
        return None
    table = pd.DataFrame(pairs, columns=["predicted", "measured"]).rank()
    found = table["predicted"].corr(table["measured"])
    return None if pd.isna(found) else float(found)
