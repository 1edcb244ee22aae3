# SPDX-License-Identifier: Apache-2.0
"""Scores and costs of steps as a file, so that a search that goes on does not find them again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from aocq.records.design_costs import DesignCosts
from aocq.records.kept import keep, kept
from aocq.search.layer_scores import LayerScores
from aocq.search.places import Place, Widths
from aocq.search.plan import StepCosts
from aocq.search.rounding_scores import Score
from simulator import strict_json


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoresAndCosts:
    """What every step of a run does and costs."""

    scores: LayerScores
    costs: StepCosts


def kept_or_made(path: Path, start: Widths, make: Callable[[], ScoresAndCosts]) -> ScoresAndCosts:
    """Return what an earlier command kept in a file, or make it and keep it.

    Parameters
    ----------
    path
        its name is a digest of all that scores and costs depend on
    start
        the run's own widths
    """
    content = kept(path)
    if content is None:
        content = strict_json.dumps(_plain(make())).encode()
        keep(path, content)
    # Read back, so that an interrupted and an uninterrupted search go on with the same figures.
    return _read(strict_json.loads(content), start)


def _plain(found: ScoresAndCosts) -> dict[str, Any]:
    scores, costs = found.scores, found.costs
    return {
        "scores": [
            [place.name, bits, asdict(score)] for (place, bits), score in scores.scores.items()
        ],
        "kinds": {kind: asdict(score) for kind, score in scores.kinds.items()},
        "noise": scores.noise,
        "power": scores.power,
        "images": scores.images,
        "costs": costs.costs.plain(),
        "added": [[place.name, bits, cost.plain()] for (place, bits), cost in costs.added.items()],
    }


def _read(plain: dict[str, Any], start: Widths) -> ScoresAndCosts:
    places = {place.name: place for place in start}
    return ScoresAndCosts(
        scores=LayerScores(
            scores={key: Score(**own) for key, own in _by_step(plain["scores"], places)},
            kinds={kind: Score(**own) for kind, own in plain["kinds"].items()},
            noise=plain["noise"],
            power=plain["power"],
            images=plain["images"],
        ),
        costs=StepCosts(
            start=dict(start),
            costs=DesignCosts(**plain["costs"]),
            added={key: DesignCosts(**own) for key, own in _by_step(plain["added"], places)},
        ),
    )


def _by_step(
    rows: Sequence[tuple[str, int, dict[str, Any]]], places: dict[str, Place]
) -> list[tuple[tuple[Place, int], dict[str, Any]]]:
    return [((places[name], bits), own) for name, bits, own in rows]
