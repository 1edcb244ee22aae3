# SPDX-License-Identifier: Apache-2.0
"""Scores and costs that are kept come back as they were, or are made again."""

from __future__ import annotations

from pathlib import Path

from small_plans import PLACES, UNIFORM, scores, step_costs

from aocq.search.kept_scores import ScoresAndCosts, kept_or_made
from aocq.search.layer_scores import LayerScores
from aocq.search.rounding_scores import Score

FOUND = ScoresAndCosts(
    scores=LayerScores(
        scores={
            key: Score(noise=noise, divergence=noise / 3, alone=0.1)
            for key, noise in scores().items()
        },
        kinds={"weights": Score(noise=0.07, divergence=1 / 3, alone=0.1)},
        noise=0.08,
        power=1.0,
        images=5,
    ),
    costs=step_costs(),
)


def never() -> ScoresAndCosts:
    raise AssertionError


def test_what_is_kept_is_what_was_made(tmp_path: Path) -> None:
    path = tmp_path / "kept" / "scores"
    assert kept_or_made(path, UNIFORM, lambda: FOUND) == FOUND
    assert kept_or_made(path, UNIFORM, never) == FOUND
    assert {*FOUND.costs.start} == {*PLACES}


def test_what_is_damaged_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "kept" / "scores"
    kept_or_made(path, UNIFORM, lambda: FOUND)
    path.write_bytes(path.read_bytes().replace(b"0.07", b"0.17"))
    made = []
    kept_or_made(path, UNIFORM, lambda: made.append(1) or FOUND)
    assert made == [1]
