# SPDX-License-Identifier: Apache-2.0
"""Finished runs side by side as one HTML page, with Pareto plots."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from parsed_page import ParsedPage

from aocq.records.layers import LayerRow
from aocq.records.run import RunResult
from reports.alike import DIFFERENT_DATA
from reports.comparison import SIDE_BY_SIDE, Compared, html
from reports.pareto import COSTS, front, pareto, ranges
from reports.rows import TableRow

Run = tuple[RunResult, list[LayerRow]]
CIFAR = {"name": "cifar10", "classes": 10, "images": 400, "digest": "c1fa" * 16}
LATENCY, SRAM, ENERGY = COSTS
HOSTILE = "<script>alert(1)</script>\"'&$x$"


def of(run: Run, name: str, page: str = "", **parts: Any) -> Compared:
    plain = run[0].model_dump() | {"data": CIFAR}
    for part, values in parts.items():
        plain[part] = plain[part] | values if isinstance(values, dict) else values
    return Compared(result=RunResult.model_validate(plain), name=name, page=page)


@pytest.fixture(scope="module")
def runs(run: Run) -> list[Compared]:
    better = {"integer": {"top1": 80.0, "top5": 95.0}}
    return [
        of(run, "a", "../a/report.html"),
        of(run, "b", latency_ms=1.5, accuracy=better),
        of(run, "c", latency_ms=9.5, method={"weight_bits": 4}),
    ]


def row(score: float | None, latency: float | None, **more: Any) -> TableRow:
    cost = {"latency_ms": latency, "integer_score": score, "images": 4}
    return TableRow(model="m", method="aocq", w_bits=8, a_bits=8, **{**cost, **more})


def test_a_front_has_what_no_other_beats_cheapest_first() -> None:
    points = [(70.0, 3.0), (60.0, 1.0), (70.0, 2.0), (55.0, 1.5), (80.0, 9.0), (80.0, 9.5)]
    rows = [row(*point) for point in points]
    assert front(rows, LATENCY) == [1, 2, 4]
    assert front([*rows, row(80.0, 9.0)], LATENCY) == [1, 2, 4, 6], "equal in both: both stay"
    assert front([row(None, 1.0), row(50.0, None), row(50.0, 0.0)], LATENCY) == []


def test_a_plot_has_a_panel_for_every_cost_that_two_runs_have() -> None:
    rows = [row(70.0, 3.0), row(60.0, 1.0, energy_mj=2.0)]
    svg = pareto(rows, "p", [1, 2])
    assert svg is not None
    assert "latency of one image" in svg
    assert "energy" not in svg
    assert "peak SRAM" not in svg
    whole = pareto([row(70.0, 3.0, energy_mj=1.0, peak_sram_bytes=2048), *rows[1:]], "p", [1, 2])
    assert whole is not None
    assert "energy of one image" in whole
    assert pareto(rows[:1], "p", [1]) is None
    assert svg == pareto(rows, "p", [1, 2])


LINE = "no run is better in both"


def test_a_line_is_in_the_legend_where_it_is_drawn(runs: list[Compared]) -> None:
    beaten = pareto([row(70.0, 1.0), row(60.0, 3.0)], "p", [1, 2])
    twice = pareto([row(70.0, 1.0), row(70.0, 1.0)], "p", [1, 2])
    line = pareto([row(70.0, 3.0), row(60.0, 1.0)], "p", [1, 2])
    # Against the second cost alone.
    other = [row(70.0, 1.0, energy_mj=3.0), row(60.0, 3.0, energy_mj=1.0)]
    second = pareto(other, "p", [1, 2])
    assert None not in (beaten, twice, line, second)
    found = [LINE in str(svg) for svg in (beaten, twice, line, second)]
    assert found == [False, False, True, True]
    said = "On the dashed line"
    assert said not in html(runs), "the second run beats the others in both"
    accurate = [runs[0], replace(runs[2], result=runs[1].result)]
    assert said not in html(accurate)


def test_a_score_that_hardly_differs_is_no_cliff() -> None:
    near = pareto([row(67.15, 1.0), row(67.14, 3.0)], "p", [1, 2])
    ticks = [float(tick) for tick in re.findall(r">(6[0-9]\.[0-9]+)</text>", str(near))]
    assert max(ticks) - min(ticks) >= 0.75
    far = pareto([row(67.0, 1.0), row(47.0, 3.0)], "p", [1, 2])
    assert ">50" in str(far)


@pytest.mark.parametrize("latency", [0.0105, 0.103, 0.498, 1.0, 3.3, 104.0])
def test_an_axis_of_a_cost_has_two_ticks_at_least(latency: float) -> None:
    svg = str(pareto([row(70.0, latency), row(60.0, latency)], "p", [1, 2]))
    first, last = svg.index('id="p-matplotlib.axis_1"'), svg.index("latency of one image")
    numbers = re.findall(r">([0-9.,]+)</text>", svg[first:last])
    assert len(numbers) > 1


def test_numbers_of_marks_that_touch_stand_together() -> None:
    assert ranges([7, 1, 5, 6]) == "1, 5-7"
    assert ranges([2, 1]) == "1, 2"
    rows = [row(70.0, 3.0), row(70.0, 3.0), row(20.0, 1.0)]
    svg = pareto(rows, "p", [1, 2, 3])
    assert svg is not None
    assert ">1, 2</text>" in svg


def test_a_page_stands_alone_and_its_links_lead_somewhere(runs: list[Compared]) -> None:
    text = html(runs)
    assert text == html(runs)
    page = ParsedPage(text)
    assert len(page.ids) == len(set(page.ids))
    inside = {reference[1:] for reference in page.references if reference.startswith("#")}
    assert {"run-1", "run-2", "run-3"} <= inside <= set(page.ids)
    assert {r for r in page.references if not r.startswith("#")} == {"../a/report.html"}
    assert not {"link", "img", "iframe"} & set(page.tags)
    assert not re.search(r"url\((?!#)", text)


def test_the_table_has_a_row_for_every_run_with_the_records_figures(runs: list[Compared]) -> None:
    page = ParsedPage(html(runs))
    head, *body = page.tables["runs"]
    assert [cells[head.index("Run")] for cells in body] == ["a", "b", "c"]
    assert [cells[head.index("Method")] for cells in body] == ["minmax W8A8"] * 2 + ["minmax W4A8"]
    assert "Profile" not in head, "the same in all: said above the table"
    assert "profile edge_npu_int8; judged on 400 images of cifar10, 10 classes." in page.text
    integers = [run.result.accuracy.score("integer") for run in runs]
    assert [float(cells[head.index("Integer")]) for cells in body] == integers
    assert str(runs[0].result.latency_ms) in page.exact["runs"]


def test_runs_on_other_images_have_a_plot_of_their_own(run: Run, runs: list[Compared]) -> None:
    other = {**CIFAR, "name": "digits", "digest": "d191" * 16}
    page = html([*runs, of(run, "d", data=other), of(run, "e", latency_ms=1.0, data=other)])
    assert DIFFERENT_DATA in page
    assert page.count("<figure>") == 2
    alone = html([*runs, of(run, "d", data=other)])
    assert alone.count("<figure>") == 1
    assert "run 4 is the only one on these images" in alone
    assert DIFFERENT_DATA not in html(runs)


def test_what_is_alike_is_marked_and_what_differs_is_not(runs: list[Compared]) -> None:
    text = html(runs)
    assert '<tr class="alike"><th scope="row">network</th>' in text
    assert '<tr><th scope="row">latency</th>' in text
    many = html([runs[0]] * (SIDE_BY_SIDE + 1))
    assert "Side by side" not in many


def test_hostile_texts_stay_text(run: Run) -> None:
    model = {"name": HOSTILE, "arguments": {HOSTILE: HOSTILE}}
    data = {**CIFAR, "name": HOSTILE}
    runs = [of(run, HOSTILE, model=model, data=data), of(run, "b", latency_ms=1.0, data=data)]
    page = ParsedPage(html(runs))
    assert len(page.scripts) == 1
    assert "alert" not in page.scripts[0]
    assert page.text.count(HOSTILE) > 3
