# SPDX-License-Identifier: Apache-2.0
"""Tables and figures name the score that a task is judged by: top-1 is that of classification."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aocq.records.accuracy_gates import agreement_result, drop_result
from aocq.records.layers import LayerRow
from aocq.records.run import RunResult
from reports.chip_figures import chips
from reports.comparison import Compared
from reports.comparison import html as compared
from reports.element_table import ElementRow, text_cells
from reports.element_table import csv_text as elements_csv
from reports.element_table import markdown as elements
from reports.pareto import pareto
from reports.rows import TableRow, run_row
from reports.sweep_table import csv_text, markdown, write_table
from reports.tables import reason

Run = tuple[RunResult, list[LayerRow]]
KEYS = ("ap", "ap50")
DETECTION: dict[str, Any] = {
    "task": "detection",
    "scores": [{"key": "ap", "title": "AP"}, {"key": "ap50", "title": "AP50"}],
    "alike": "same detections",
    "shares_of": "detections",
    "float": dict(zip(KEYS, (23.0, 60.0), strict=True)),
    "simulated": dict(zip(KEYS, (22.5, 59.0), strict=True)),
    "integer": dict(zip(KEYS, (22.0, 58.0), strict=True)),
    "agreement": {"integer_float": 80.0, "integer_simulated": 97.0},
}


def detecting(result: RunResult) -> RunResult:
    plain = result.model_dump()
    plain["accuracy"] |= DETECTION
    plain["verdict"] |= {"feasible": True, "failed": [], "results": []}
    return RunResult.model_validate(plain)


@pytest.fixture
def rows(run: Run) -> list[TableRow]:
    """Runs of a detector on two chips."""
    found = run_row(detecting(run[0]), {"profile": "one"}, "one")
    return [found, replace(found, variant={"profile": "other"}, run="other", latency_ms=2.5)]


def head(text: str) -> list[str]:
    return next(csv.reader(io.StringIO(text)))


def test_columns_of_files_bear_the_scores_key(rows: list[TableRow], tmp_path: Path) -> None:
    lines = [*csv.DictReader(io.StringIO(csv_text(rows)))]
    names = [name for name in lines[0] if name.endswith(("_ap", "_top1", "score"))]
    assert names == ["float_ap", "simulated_ap", "integer_ap", "paper_top1", "paper_float_top1"]
    assert [lines[0][f"{engine}_ap"] for engine in ("float", "simulated", "integer")] == [
        *("23.0", "22.5", "22.0")
    ]
    write_table("table", "Title", rows, tmp_path)
    plain = json.loads((tmp_path / "table.json").read_text("utf-8"))["rows"]
    assert [row["integer_ap"] for row in plain] == [22.0, 22.0]


def test_classification_has_the_columns_that_it_had(run: Run) -> None:
    names = head(csv_text([run_row(run[0], {}, "run")]))
    assert names.index("simulated_top1") == names.index("float_top1") + 1
    assert not {"score", "judged_by", "float_score"} & {*names}


def test_rows_of_two_tasks_say_which_score_each_has(run: Run, rows: list[TableRow]) -> None:
    mixed = [rows[0], run_row(run[0], {"profile": "two"}, "two")]
    lines = [*csv.DictReader(io.StringIO(csv_text(mixed)))]
    assert [(line["score"], line["integer_score"]) for line in lines] == [
        ("AP", "22.0"),
        ("top-1", "0.25"),
    ]
    text = markdown("Title", mixed)
    assert "judged by different scores: AP; top-1." in text
    assert "AP or top-1 in percent" in text


def test_no_text_of_a_detectors_table_speaks_of_top_1(run: Run, rows: list[TableRow]) -> None:
    for table in (markdown("Title", rows), markdown("Title", [replace(rows[0], variant={})])):
        assert "AP in percent, Δ" in table
        assert "top-1" not in table.lower()
    page = compared([Compared(result=detecting(run[0]), name=name) for name in ("a", "b")])
    for text in ("integer: AP in percent", ">Same detections</button>", "integer AP (%)"):
        assert text in page
    assert "top-1" not in page.lower()
    assert "Same class" not in page


def test_figures_are_of_the_score(rows: list[TableRow], tmp_path: Path) -> None:
    drawn = chips(rows, {"max_drop": 2.0})
    assert drawn is not None
    drawn.write(tmp_path, "chips")
    svg = (tmp_path / "chips.svg").read_text("utf-8")
    for text in (
        ">integer AP<",
        ">float AP<",
        ">least AP<",
        ">percent<",
        "Highest integer AP: one",
    ):
        assert text in svg
    assert "top-1" not in svg
    plot = pareto(rows, "p", [1, 2])
    assert plot is not None
    assert "Integer AP against costs" in plot
    assert ">integer AP (%)<" in plot


def test_elements_of_a_detectors_recipe_change_its_score(rows: list[TableRow]) -> None:
    score = rows[0].judged_by.score
    table = [
        ElementRow(
            role=role, element="", title="", against=None, figures={"score": value}, score=score
        )
        for role, value in (("full", 22.0), ("bare", 20.0))
    ]
    assert text_cells(table)[0] == ["row", "element", "AP", "dB/%"]
    assert {"ap", "ap_difference"} <= {*head(elements_csv(table))}
    text = elements("Title", table)
    assert "less without it. AP and agreement" in text
    assert "top-1" not in text.lower()


def test_energies_of_two_processes_are_told_apart(rows: list[TableRow]) -> None:
    small = replace(rows[0], energy_mj=0.7, energy_nm=7.0)
    large = replace(rows[1], energy_mj=3.5, energy_nm=45.0)
    text = markdown("Title", [small, large])
    assert "These energies are of different processes: 7 nm; 45 nm." in text
    assert "| 0.7 at 7 nm |" in text
    assert "| 3.5 at 45 nm |" in text
    text = markdown("Title", [small, replace(large, energy_nm=7.0)])
    assert "different processes" not in text
    assert "energy at 7 nm are ESTIMATED" in text
    assert "| 0.7 |" in text


@pytest.mark.parametrize("by", ["interval", "point"])
def test_a_score_without_an_interval_is_told_where_one_was_asked_for(run: Run, by: Any) -> None:
    accuracy = detecting(run[0]).accuracy
    drop, agreed = drop_result(5.0, accuracy, by), agreement_result(50.0, accuracy, by)
    assert (drop.by, drop.outcome, agreed.by, agreed.outcome) == ("point", "pass") * 2
    asked = by == "interval"
    said = "by the point estimate: AP has no exact interval"
    assert (said in drop.reason) == asked
    assert ("shares of detections have no exact interval" in agreed.reason) == asked
    assert "interval" not in drop_result(5.0, run[0].accuracy, "interval").reason


def test_only_a_share_of_images_says_how_much_one_image_is(run: Run) -> None:
    few = run[0].model_dump()
    few["accuracy"]["images"] = 20
    few["verdict"] |= {"feasible": True, "failed": [], "results": []}
    classifying = RunResult.model_validate(few)
    said = "on 20 images: one is 5.00 points"
    assert said in reason(classifying)
    assert said not in reason(detecting(classifying))
