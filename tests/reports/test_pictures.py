# SPDX-License-Identifier: Apache-2.0
"""Pictures of images with boxes: drawn from a run's record alone."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

import built_run
import pytest
from parsed_page import ParsedPage
from pydantic import ValidationError

from aocq.records.run import RunResult
from aocq.records.shown_images import ShownBox, ShownImage, ShownImages
from reports.boxes import PANEL, figure_of, in_words
from reports.page import html
from reports.pictures import chosen_sentence

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "\"><script>alert('1')</script>&"


def box(name: str, left: float, score: float | None = None, side: float = 10) -> ShownBox:
    return ShownBox(name=name, left=left, top=4, right=left + side, bottom=4 + side, score=score)


def shown_image(**changes: Any) -> ShownImage:
    return ShownImage(**built_run.shown_image(**changes))


def with_pictures(result: RunResult, *images: ShownImage) -> RunResult:
    shown = ShownImages(least_score=0.3, among=400, images=list(images))
    return result.model_copy(update={"shown": shown})


def drawn(image: ShownImage) -> ElementTree.Element:
    return ElementTree.fromstring(figure_of(image, "picture-1"))


def rectangles(panel: ElementTree.Element, color: str) -> list[tuple[float, ...]]:
    return [
        tuple(float(found.attrib[key]) for key in ("x", "y", "width", "height"))
        for found in panel.iter(f"{SVG}rect")
        if found.attrib["stroke"] == color
    ]


def test_each_panel_has_the_image_its_boxes_and_the_true_ones() -> None:
    tree = drawn(shown_image())
    (picture,) = tree.iter(f"{SVG}image")
    assert picture.attrib["href"].startswith("data:image/png;base64,")
    panels = tree.findall(f"{SVG}g")
    assert [use.attrib["href"] for panel in panels for use in panel.iter(f"{SVG}use")] == [
        "#picture-1-image"
    ] * 2
    scale = PANEL / 32
    for panel in panels:
        assert rectangles(panel, "#fff") == [(2 * scale, 4 * scale, 10 * scale, 10 * scale)]
    texts = [[text.text for text in panel.iter(f"{SVG}text")] for panel in panels]
    assert texts == [["Float", "bolt 0.93", "wire 0.40"], ["Integer", "bolt 0.91"]]


def test_a_class_has_the_same_color_in_both_panels() -> None:
    left, right = drawn(shown_image()).findall(f"{SVG}g")
    colors = [
        [found.attrib["stroke"] for found in panel.iter(f"{SVG}rect")][-1]
        for panel in (left, right)
    ]
    assert colors[0] == colors[1]
    assert len({found.attrib["stroke"] for found in left.iter(f"{SVG}rect")}) == 4


def test_labels_stay_within_the_image() -> None:
    wide = shown_image(float_boxes=[box("screwdriver", 24, 0.5, 8), box("nut", 0, 0.4)])
    panel = drawn(wide).findall(f"{SVG}g")[0]
    first, second = list(panel.iter(f"{SVG}text"))[1:]
    assert (first.text, first.attrib["text-anchor"]) == ("screwdriver 0.50", "end")
    assert (second.text, second.attrib["text-anchor"]) == ("nut 0.40", "start")
    assert float(first.attrib["x"]) <= PANEL
    assert float(second.attrib["y"]) > 0


def test_a_label_that_would_cover_a_better_one_is_left_to_the_list() -> None:
    near = [box("nut", 2, 0.9), box("nut", 3, 0.8), box("nut", 20, 0.7)]
    panel = drawn(shown_image(float_boxes=near)).findall(f"{SVG}g")[0]
    assert [text.text for text in panel.iter(f"{SVG}text")] == ["Float", "nut 0.90", "nut 0.70"]
    assert len(rectangles(panel, "#000")) == 1 + len(near)


def test_the_picture_is_told_in_words() -> None:
    image = shown_image(integer_boxes=[])
    words = drawn(image).attrib["aria-label"]
    assert words == (
        "0007.png, 32 x 16 pixels. true: bolt at 2, 4 to 12, 14. float: bolt 0.93 at 2, 4 to 12, "
        "14; wire 0.40 at 20, 4 to 30, 14. integer: none."
    )
    assert in_words(image, ()) == "0007.png, 32 x 16 pixels. true: bolt at 2, 4 to 12, 14."


def test_a_page_shows_pictures_where_the_record_has_them(run) -> None:
    result, rows = run
    page = html(with_pictures(result, shown_image()), rows)
    assert page.count('<svg class="boxes"') == 1
    assert '<a href="#pictures">Pictures</a>' in page
    assert "img-src data:" in page
    assert "0007.png" in ParsedPage(page).text
    plain = html(result, rows)
    assert "pictures" not in re.sub(r"<style>.*?</style>", "", plain, flags=re.DOTALL)
    assert "img-src" not in plain


def test_a_record_keeps_its_pictures(run) -> None:
    result = with_pictures(run[0], shown_image())
    again = RunResult.model_validate_json(result.to_json())
    assert again == result
    assert html(again, run[1]) == html(result, run[1])


def test_markup_in_names_is_text(run) -> None:
    image = shown_image(name=HOSTILE, float_boxes=[box(HOSTILE, 1, 0.5)])
    assert drawn(image).attrib["aria-label"].startswith(HOSTILE)
    page = html(with_pictures(run[0], image), run[1])
    assert "<script>alert" not in page


@pytest.mark.parametrize(
    "changes",
    [
        {"content": 'AAAA" onload="x'},
        {"media_type": "image/svg+xml"},
        {"width": 0},
        {"true_boxes": [{"name": "a", "left": float("inf"), "top": 0, "right": 1, "bottom": 1}]},
    ],
    ids=str,
)
def test_a_record_with_other_contents_is_none(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        shown_image(**changes)


def test_it_is_said_how_images_were_chosen() -> None:
    spread, other = shown_image(differs=False), shown_image()
    both = ShownImages(least_score=0.3, among=400, images=[spread, spread, other])
    assert chosen_sentence(both) == (
        "2 images spread evenly over all 400, then 1 of the others, in which the two networks "
        "differ most."
    )
    one = ShownImages(least_score=0.3, among=1, images=[spread])
    assert chosen_sentence(one) == "1 image spread evenly over all 1."
