# SPDX-License-Identifier: Apache-2.0
"""The page of a front: stands alone, says what it is over, leads to reports."""

from __future__ import annotations

import json
import re

import pytest
from built_front import design
from parsed_page import ParsedPage

from reports import front_page
from reports.front import front_of
from reports.front_page import html

HOSTILE = "</script><script>alert(1)</script>\"'&"
AXES = ("drop", "latency_ms")
DESIGNS = [
    design("a", 1.0, 9.0, page="../a/report.html", variant={"profile": "one"}),
    design("b", 2.0, 1.0, variant={"profile": "two"}),
    design("c", 2.5, 9.5, variant={"profile": "two"}, logit_sqnr_db=None),
    design("d", None, 0.5),
]


def test_a_page_stands_alone_and_its_links_lead_somewhere() -> None:
    text = html(front_of(DESIGNS, AXES))
    assert text == html(front_of(DESIGNS, AXES))
    page = ParsedPage(text)
    assert len(page.ids) == len({*page.ids})
    inside = {reference[1:] for reference in page.references if reference.startswith("#")}
    assert inside == {"run-1"}
    assert inside <= {*page.ids}
    assert {r for r in page.references if not r.startswith("#")} == {"../a/report.html"}
    assert not {"link", "img", "iframe"} & {*page.tags}
    assert not re.search(r"url\((?!#)", text)


def test_the_table_is_by_rank_with_exact_figures_and_what_beats_a_design() -> None:
    page = ParsedPage(html(front_of(DESIGNS, AXES)))
    head, *body = page.tables["designs"]
    assert [row[head.index("Rank")] for row in body] == ["1", "1", "2", "—"]
    assert [row[head.index("Design")] for row in body] == ["a", "b", "c", "d"]
    assert [row[head.index("drop, points")] for row in body] == ["1.00", "2.00", "2.50", "—"]
    assert [row[head.index("Beaten by")] for row in body] == ["—", "—", "1", "—"]
    assert [row[head.index("Profile")] for row in body] == ["one", "two", "two", "—"]
    assert [row[head.index("sqnr_db")] for row in body] == ["20.00", "20.00", "no noise", "—"]
    assert "Network" not in head, "the same in all"
    assert "9.5" in page.exact["designs"]


def test_what_scripts_draw_are_the_figures_of_the_table() -> None:
    page = ParsedPage(html(front_of(DESIGNS, AXES)))
    data = json.loads(page.scripts[0])
    assert [axis["name"] for axis in data["axes"][:2]] == [*AXES]
    assert data["chosen"] == 2
    assert [d["name"] for d in data["designs"]] == ["a", "b", "c", "d"]
    assert [d["figures"][:2] for d in data["designs"]] == [
        *([1.0, 9.0], [2.0, 1.0], [2.5, 9.5], [None, 0.5])
    ]
    assert data["designs"][2]["figures"][3] is None, "no noise: an infinite SQNR is not drawn"
    assert not any("Infinity" in script or "NaN" in script for script in page.scripts[:1])


def test_what_must_be_said_is_above_the_plots() -> None:
    other = design("e", 1.0, 1.0, data_digest="ab" * 32)
    page = ParsedPage(html(front_of([*DESIGNS, other], AXES)))
    assert "Designs of 2 sets cannot be compared" in page.text
    assert "1 of 5 designs without a rank: no figure of drop." in page.text
    assert "to the reference: drop 2.50 points, latency_ms 9.5 ms" in page.text
    assert "Comparable set" in page.tables["designs"][0]


def test_a_page_of_many_designs_says_where_the_others_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front_page, "DESIGNS", 3)
    text = html(front_of(DESIGNS, AXES))
    page = ParsedPage(text)
    assert len(page.tables["designs"]) == 4
    assert "The other 1 design are in front.csv" in page.text


def test_hostile_texts_stay_text() -> None:
    found = front_of(
        [
            design(HOSTILE, 1.0, 1.0, variant={"profile": HOSTILE, HOSTILE: HOSTILE}),
            design("b", 2.0, 1.0, variant={"profile": "two"}, data=HOSTILE),
        ],
        AXES,
    )
    page = ParsedPage(html(found))
    assert len(page.scripts) == 2
    assert "alert(1)" not in page.scripts[1]
    assert page.text.count(HOSTILE) >= 3
    assert json.loads(page.scripts[0])["designs"][0]["name"] == HOSTILE


def test_a_front_without_any_design_on_all_axes_is_a_page_too() -> None:
    page = ParsedPage(html(front_of([DESIGNS[3]], AXES)))
    assert "1 of 1 design without a rank" in page.text


def test_what_does_not_fit_its_chip_is_marked_in_table_and_plots() -> None:
    large = design("large", 0.5, 0.5, misfit="needs more")
    page = ParsedPage(html(front_of([*DESIGNS, large], AXES, infeasible=True)))
    head, *body = page.tables["designs"]
    name = "large (does not fit its chip)"
    assert body[0][head.index("Design")] == name
    assert json.loads(page.scripts[0])["designs"][0]["name"] == name
    assert "ranked all the same, marked." in page.text
    left = ParsedPage(html(front_of([*DESIGNS, large], AXES)))
    assert [row[head.index("Rank")] for row in left.tables["designs"][1:]].count("—") == 2
    assert "is marked and has no rank" in left.text
