# SPDX-License-Identifier: Apache-2.0
"""Optuna's trials: within the budget, from a seed, and the same where they are interrupted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from small_plans import AT_FOUR, PLACES, REST, UNIFORM, scores, step_costs

from aocq.search import optuna_engine
from aocq.search.greedy_search import Emulated
from aocq.search.noise_model import NoiseModel
from aocq.search.optuna_engine import optuna_proposals
from simulator.errors import InputError

pytest.importorskip("optuna")

BUDGET = {"weight_bytes": 3500.0}
TRUE = NoiseModel(scores=scores(), factors=dict.fromkeys(PLACES, 1.0), rest=REST)
START = Emulated(widths=UNIFORM, noise=sum(AT_FOUR.values()) + REST, costs=step_costs().of(UNIFORM))


def trials(
    folder: Path,
    evaluations: int = 8,
    stop_after: int | None = None,
    seed: int = 1,
    budget: Mapping[str, float] = BUDGET,
) -> list[tuple[int, ...]]:
    """The bits of the designs; with ``stop_after``, the search is left while one is emulated."""
    known, found = [START], []
    for proposal in optuna_proposals(
        scores(),
        step_costs(),
        budget,
        lambda: known,
        evaluations=evaluations,
        along=2,
        journal=folder / "optuna.journal",
        name="study",
        seed=seed,
    ):
        found.append(tuple(proposal.widths.values()))
        if len(found) == stop_after:
            return found
        costs = step_costs().of(proposal.widths)
        noise = TRUE.noise(proposal.widths)
        known.append(Emulated(widths=proposal.widths, noise=noise, costs=costs))
    return found


def test_trials_are_within_the_budget_and_begin_along_the_plan(tmp_path: Path) -> None:
    found = trials(tmp_path)
    assert len(found) == 8
    designs = [dict(zip(PLACES, bits, strict=True)) for bits in found]
    assert all(step_costs().of(widths).weight_bytes <= 3500 for widths in designs)
    assert found[0] == (8, 4, 4)


@pytest.mark.parametrize("stops", [[1], [3], [2, 4, 7]])
def test_an_interrupted_search_ends_as_an_uninterrupted_one(
    tmp_path: Path, stops: list[int]
) -> None:
    whole = trials(tmp_path / "whole")
    for stop in stops:
        assert trials(tmp_path / "parts", stop_after=stop) == whole[:stop]
    assert trials(tmp_path / "parts") == whole


@pytest.mark.parametrize("budget", [{"weight_bytes": 2000.0}, {"energy_mj": 1e9}])
def test_a_budget_below_the_lowest_widths_is_refused(
    tmp_path: Path, budget: dict[str, float]
) -> None:
    with pytest.raises(InputError, match="the lowest widths everywhere have"):
        trials(tmp_path, budget=budget)
    assert not (tmp_path / "optuna.journal").exists()


def test_a_search_that_gave_up_gives_up_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(optuna_engine, "MOST_ABOVE_BUDGET", 12)
    narrow = {"weight_bytes": 2300.0}  # for the lowest widths alone
    found = trials(tmp_path, budget=narrow, evaluations=50)
    assert len(found) < 50
    assert trials(tmp_path, budget=narrow, evaluations=50) == found


def test_another_seed_has_other_trials(tmp_path: Path) -> None:
    assert trials(tmp_path / "a", seed=1) != trials(tmp_path / "b", seed=2)


def test_a_longer_search_goes_on_with_a_shorter_ones_trials(tmp_path: Path) -> None:
    short = trials(tmp_path, evaluations=4)
    assert trials(tmp_path, evaluations=8)[:4] == short
