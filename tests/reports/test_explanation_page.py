# SPDX-License-Identifier: Apache-2.0
"""The page of one image: its answers, its maps, and nothing beside itself."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from built_explanation import GRID, build_explanation, build_explanation_of_boxes, picture
from parsed_page import ParsedPage

from aocq.records.explanation import Events, Explanation
from reports.explanation import events_in_words, facts, html, plain
from reports.token_maps import OPAQUE, token_map

HOSTILE = "\"><script>alert('1')</script>&"
SVG = "{http://www.w3.org/2000/svg}"


def test_the_page_has_both_networks_answers() -> None:
    page = ParsedPage(html(build_explanation()))
    head, first, second = page.tables["classes"]
    assert (
        head
        == ["Float", "Probability", "Logit", "Fake-quantized", *head[1:3], "Integer"] + head[1:3]
    )
    assert [first[0], first[6]] == ["7", "2"]
    assert [second[0], second[6]] == ["2", "7"]
    assert len(page.tables["ops"]) == len(build_explanation().ops) + 1
    assert {"found", "parted", "errors", "events", "all-ops", "made"} <= {*page.ids}


def test_facts_say_what_is_first_asked() -> None:
    told = dict(facts(build_explanation()))
    assert (
        told["The integer network finds"] == "class 2, 50.00 %; the float network class 7, 50.00 %"
    )
    assert told["SQNR of the output"] == "17.50 dB"
    first = next(text for question, text in told.items() if question.startswith("First op"))
    assert first.endswith(": 3 codes of 15,129,600")
    worst = "blocks.1.add2, row 2, column 2: 0.400 of a token's norm; all patches 0.200 on average"
    assert told["Token furthest from float"] == worst
    assert told["Saturated results"].startswith("12 in 2 ops, most in blocks.0.add2 (7); 5 not on")
    assert told["Sums that did not fit their register"] == "none"


def test_equal_answers_are_told_as_such() -> None:
    found = build_explanation()
    same = [
        found.answers[0],
        found.answers[1],
        found.answers[0].model_copy(update={"engine": "integer"}),
    ]
    told = dict(facts(found.model_copy(update={"answers": same, "first_difference": None})))
    finds = "class 7, 50.00 %, as the float network does (50.00 %)"
    assert told["The integer network finds"] == finds
    assert "none: all codes are the same" in told.values()


def test_classes_of_patches_are_told_as_such() -> None:
    found = build_explanation()
    answers = [
        each.model_copy(
            update={"classes": [c.model_copy(update={"logit": None}) for c in each.classes]}
        )
        for each in found.answers
    ]
    dense = found.model_copy(update={"answers": answers})
    assert dict(facts(dense))["The integer network finds"].startswith(
        "class 2, 50.00 % of the patches; the float"
    )
    head, first, _ = ParsedPage(html(dense)).tables["classes"]
    assert head[1] == "Patches"
    assert first[2] == "—"


def test_boxes_are_drawn_where_the_task_has_them() -> None:
    found = build_explanation_of_boxes()
    page = ParsedPage(html(found))
    assert "classes" not in page.tables
    finds = dict(facts(found))["The integer network finds"]
    assert finds == "class 3 0.40; the float network class 3 0.80"


def test_the_record_survives_json_and_names_the_steepest_fall() -> None:
    found = build_explanation()
    told = plain(found)
    steepest = told.pop("steepest_fall")
    assert steepest["op"] in {row.op for row in found.ops}
    assert steepest["change_db"] < 0
    assert Explanation.model_validate(told) == found


def test_a_map_has_a_cell_for_every_patch_that_is_off() -> None:
    errors = [9.0, 0.1, 0.2, 0.1, 0.0, 0.4, 0.3]
    drawn = token_map(picture(), GRID, errors, "#123456", "errors")
    root = ElementTree.fromstring(drawn)
    cells = root.findall(f".//{SVG}rect")
    assert len(cells) == 5  # neither the class token nor a patch without error
    opacities = [float(cell.get("fill-opacity", "")) for cell in cells]
    assert max(opacities) == OPAQUE
    assert opacities[0] == pytest.approx(OPAQUE * 0.25, abs=0.01)
    places = [(cell.get("x"), cell.get("y")) for cell in cells]
    assert places[-1] == ("213.3", "106.7")  # of 320 x 213.33
    assert cells[3].findtext(f"{SVG}title") == "row 2, column 2: 0.400"


def test_a_page_needs_nothing_beside_itself_and_runs_nothing_of_its_record() -> None:
    page = ParsedPage(html(build_explanation(HOSTILE)))
    outside = [each for each in page.references if not re.match(r"#|data:image/", each)]
    assert outside == []
    assert not any("alert" in script for script in page.scripts)
    assert HOSTILE in page.text


def test_ids_are_unique() -> None:
    ids = ParsedPage(html(build_explanation())).ids
    assert len(ids) == len(set(ids))


def test_events_without_a_place_are_counted_too() -> None:
    events = Events(tokens=[], placed={}, elsewhere={"head": 2})
    assert events_in_words(events) == "2 in 1 op, most in head (2); 2 not on a token"
