# SPDX-License-Identifier: Apache-2.0
"""Tables and figures of sensitivities and searches, of figures that are known."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import pytest

from aocq.records.design_costs import DesignCosts
from aocq.records.search import (
    CandidateRow,
    KindRow,
    Quality,
    SearchResult,
    Sensitivity,
    StepRow,
)
from reports import search_table, sensitivity_table
from reports.flat_csv import flat_csv
from reports.recipe_heading import candidate_heading, proposed_heading
from reports.search_figures import search_figure, sensitivity_figure

COSTS = DesignCosts(
    weight_bytes=3_000_000, cycles=5_000_000, latency_ms=10.0, peak_sram_bytes=500_000
)
START = Quality(images=64, sqnr_db=10.0, agreement=95.0, drop=1.5)
BETTER = Quality(images=64, sqnr_db=11.5, agreement=97.0, drop=0.5)
UP = StepRow(
    op="head",
    kind="weights",
    bits=4,
    other=8,
    noise=-0.02,
    divergence=-0.001,
    predicted_db=0.97,
    added=DesignCosts(
        weight_bytes=96_000, cycles=10, latency_ms=0.01, peak_sram_bytes=0, energy_mj=0.002
    ),
    measured=BETTER,
    run="runs/search-1",
)
DOWN = replace(UP, op="blocks.0.mlp.fc1", other=3, noise=0.01, measured=None, run="")
SENSITIVITY = Sensitivity(
    network="deit",
    profile="chip",
    kinds=(KindRow(kind="weights", share=0.75, divergence=0.01),),
    start=START,
    costs=COSTS,
    rows=(UP, DOWN),
    rank_correlation=None,
    score_images=64,
)
FIRST = CandidateRow(
    number=0,
    reason="the run's own recipe",
    layers="4",
    predicted_db=None,
    found=START,
    costs=COSTS,
    run="",
    within_budget=True,
    on_front=True,
    confirmed=replace(START, images=500),
    confirmed_costs=COSTS,
    confirmed_run="runs/confirm-0",
)
SECOND = replace(
    FIRST, number=1, layers="4; head 8", predicted_db=11.2, found=BETTER, confirmed=None
)
ABOVE = replace(SECOND, number=2, within_budget=False, on_front=False)
SEARCH = SearchResult(
    network="deit",
    profile="chip",
    engine="greedy",
    budget={"weight_bytes": 3.3e6},
    rows=(FIRST, SECOND, ABOVE),
)


def test_a_step_says_score_cost_and_measurement() -> None:
    (up, down) = sensitivity_table.cells(SENSITIVITY)
    assert up == [
        *("head", "weights", "4 → 8", "-20.00 %", "-0.00100", "+0.97 dB"),
        *("+96,000", "+0.0100", "+0.0020", "0", "+1.50 dB", "97.00 %"),
    ]
    assert down[:4] == ["blocks.0.mlp.fc1", "weights", "4 → 3", "+10.00 %"]
    assert down[-2:] == ["—", "—"]
    assert sensitivity_table.cells(SENSITIVITY, 1) == [up]


def test_a_sensitivity_says_where_the_noise_comes_from_and_how_scores_did() -> None:
    text = sensitivity_table.markdown(SENSITIVITY)
    assert "weights 75.0 %; of higher order, or of the chip's approximations: 25.0 %" in text
    assert "1 of 2 steps were emulated: too few for a correlation." in text
    known = replace(SENSITIVITY, rank_correlation=0.625)
    assert "expected and measured change of SQNR: +0.62." in sensitivity_table.markdown(known)


@pytest.mark.parametrize(("steps", "little"), [(3, True), (9, True), (10, False)])
def test_a_correlation_of_few_steps_is_said_to_mean_little(steps: int, *, little: bool) -> None:
    found = replace(SENSITIVITY, rows=(UP,) * steps, rank_correlation=0.5)
    words = sensitivity_table.correlation_in_words(found)
    assert words.startswith(f"{steps} of {steps} steps were emulated; rank correlation")
    assert words.endswith("Of fewer than 10 steps it means little.") == little


def test_a_run_without_noise_has_no_shares() -> None:
    exact = replace(SENSITIVITY, start=replace(START, sqnr_db=None), kinds=())
    assert "The run's logits have no noise." in sensitivity_table.markdown(exact)
    assert sensitivity_table.cells(exact)[0][3] == "—"


def test_candidates_say_what_was_expected_and_found() -> None:
    first, second, above = search_table.candidate_cells(SEARCH)
    assert first[:4] == ["0", "4", "—", "10.00 dB"]
    assert second[:6] == ["1", "4; head 8", "11.20 dB", "11.50 dB", "97.00 %", "+0.50"]
    assert second[-2:] == ["yes", "front"]
    assert above[-2:] == ["no", ""]


def test_confirmed_candidates_have_a_table_of_their_own() -> None:
    text = search_table.markdown(SEARCH)
    assert "# Recipes of deit on chip within weight_bytes ≤ 3,300,000" in text
    assert "On 500 images that the search did not use" in text
    assert [line[0] for line in search_table.confirmed_cells(SEARCH)] == ["0"]
    bare = replace(SEARCH, rows=(SECOND, ABOVE))
    assert "Confirmed" not in search_table.markdown(bare)


def own_and(sqnr_db: float | None, *, within: bool = True) -> SearchResult:
    """A search that confirmed the run's own recipe, of 10 dB, and a candidate."""
    own = replace(FIRST, within_budget=within, on_front=within)
    other = replace(SECOND, confirmed=replace(BETTER, images=500, sqnr_db=sqnr_db))
    return replace(SEARCH, rows=(own, other, ABOVE))


@pytest.mark.parametrize("sqnr_db", [9.5, 10.0])
def test_a_recipe_that_is_no_better_on_other_images_is_no_gain(sqnr_db: float) -> None:
    told = (
        "no gain was confirmed: on the 500 images that the search did not use, candidate 1 has an "
        f"SQNR of {sqnr_db:.2f} dB, no more than the 10.00 dB of the run's own recipe."
    )
    assert search_table.no_gain_in_words(own_and(sqnr_db)) == told
    assert f"\n\nN{told[1:]}\n\n" in search_table.markdown(own_and(sqnr_db))
    above = search_table.no_gain_in_words(own_and(sqnr_db, within=False))
    assert above == f"{told[:-1]}, which is above the budget."


@pytest.mark.parametrize("sqnr_db", [10.01, None])
def test_a_recipe_that_is_better_on_other_images_is_a_gain(sqnr_db: float | None) -> None:
    """None: no noise at all."""
    assert search_table.no_gain_in_words(own_and(sqnr_db)) is None
    assert "No gain" not in search_table.markdown(own_and(sqnr_db))


def test_where_nothing_else_is_on_the_front_nothing_is_gained() -> None:
    alone = replace(SEARCH, rows=(FIRST, ABOVE))
    assert search_table.no_gain_in_words(alone) == (
        "no gain was confirmed: no candidate is on the front."
    )
    assert search_table.no_gain_in_words(SEARCH) is None  # not confirmed yet
    bare = replace(alone, rows=(replace(FIRST, confirmed=None), ABOVE))
    assert search_table.no_gain_in_words(bare) is None  # --confirm 0


def test_files_hold_every_figure() -> None:
    rows = list(csv.DictReader(io.StringIO(search_table.csv_text(SEARCH))))
    assert rows[1]["found_sqnr_db"] == "11.5"
    assert rows[0]["confirmed_images"] == "500"
    assert rows[1]["confirmed_images"] == ""
    assert json.loads(search_table.json_text(SEARCH))["rows"][2]["within_budget"] is False
    steps = list(csv.DictReader(io.StringIO(sensitivity_table.csv_text(SENSITIVITY))))
    assert steps[0]["added_weight_bytes"] == "96000"
    assert steps[0]["measured_agreement"] == "97.0"
    assert json.loads(sensitivity_table.json_text(SENSITIVITY))["rows"][1]["measured"] is None


def test_records_become_columns_by_their_keys() -> None:
    assert flat_csv([{"a": {"b": 1, "c": None}}, {"a": None, "d": "x,y"}]) == (
        'a_b,a_c,d\n1,,\n,,"x,y"\n'
    )


@pytest.mark.parametrize("found", [SENSITIVITY, replace(SENSITIVITY, rows=(DOWN,))])
def test_a_sensitivity_is_drawn(found: Sensitivity) -> None:
    drawn = sensitivity_figure(found)
    assert f"{len(found.rows)} steps" in drawn.svg
    assert drawn.png.startswith(b"\x89PNG")
    assert sensitivity_figure(found).svg == drawn.svg


@pytest.mark.parametrize("rows", [(FIRST,), (FIRST, SECOND, ABOVE)])
def test_a_search_is_drawn(rows: tuple[CandidateRow, ...]) -> None:
    drawn = search_figure(replace(SEARCH, rows=rows))
    assert f"{len(rows)} candidates" in drawn.svg
    assert drawn.png.startswith(b"\x89PNG")


def test_a_search_without_any_noise_is_drawn_too() -> None:
    found = replace(FIRST, found=replace(START, sqnr_db=None), on_front=True)
    assert "0 candidates" in search_figure(replace(SEARCH, rows=(found,))).svg


def test_the_recipe_of_a_candidate_says_what_it_is_for() -> None:
    row = replace(FIRST, number=7, recipe="recipe-7.toml", confirmed=BETTER)
    assert candidate_heading(SEARCH, row, "w4a8") == [
        "Candidate 7 of aocq search, from the run in folder w4a8.",
        "Network: deit",
        "Profile: chip",
        "Budget: weight_bytes ≤ 3,300,000",
        "In the search: SQNR 10.00 dB on 64 images, 3,000,000 weight bytes.",
        "On images that the search did not use: SQNR 11.50 dB on 64 images, "
        "3,000,000 weight bytes.",
        "Used by: aocq verify deit … --recipe recipe-7.toml --profile chip",
    ]
    assert len(candidate_heading(SEARCH, replace(row, confirmed=None), "w4a8")) == 6


def test_a_proposed_recipe_says_that_it_is_not_measured() -> None:
    lines = proposed_heading(SENSITIVITY, {"latency_ms": 9.5}, 10.75, COSTS, "w4a8", "recipe.toml")
    assert lines == [
        "Proposed by the scores of aocq sensitivity, from the run in folder w4a8.",
        "Network: deit",
        "Profile: chip",
        "Budget: latency_ms ≤ 9.5",
        "Not measured; expected SQNR 10.75 dB, about 3,000,000 weight bytes.",
        "The run's own recipe, measured: SQNR 10.00 dB on 64 images, 3,000,000 weight bytes.",
        "Used by: aocq verify deit … --recipe recipe.toml --profile chip",
    ]
