# SPDX-License-Identifier: Apache-2.0
"""Pictures of images with boxes: drawn from a run's record alone."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import built_run
import pytest
from parsed_page import ParsedPage
from pydantic import ValidationError

from aocq.records.run import RunResult
from aocq.records.shown_images import ShownBox, ShownImage, ShownImages
from reports.box_labels import ASCENT, DESCENT, numbered, placed
from reports.boxes import PANEL, figure_of, in_words
from reports.class_colors import of_names
from reports.page import html
from reports.palette import SERIES
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
    return ElementTree.fromstring(figure_of(image, "picture-1", of_names([image])))


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


def test_boxes_at_one_place_are_all_labelled_and_all_seen() -> None:
    near = [box("nut", 10, 0.9), box("bolt", 10, 0.8), box("wire", 10, 0.7)]
    panel = drawn(shown_image(float_boxes=near)).findall(f"{SVG}g")[0]
    texts = [text.text for text in panel.iter(f"{SVG}text")]
    assert texts == ["Float", "nut 0.90", "bolt 0.80", "(3)"]
    colors = of_names([shown_image(float_boxes=near)])
    found = [rectangles(panel, colors[each.name])[0] for each in near]
    # Each is inside of the one before it by the same on all sides.
    for outer, inner in pairwise(found):
        assert (inner[0] - outer[0], inner[1] - outer[1]) == (5, 5)
        assert (outer[2] - inner[2], outer[3] - inner[3]) == (10, 10)


def test_boxes_apart_are_drawn_where_they_are() -> None:
    apart = [box("nut", 2, 0.9), box("bolt", 3, 0.8)]
    panel = drawn(shown_image(float_boxes=apart)).findall(f"{SVG}g")[0]
    colors = of_names([shown_image(float_boxes=apart)])
    scale = PANEL / 32
    for each in apart:
        place = (each.left * scale, each.top * scale, 10 * scale, 10 * scale)
        assert rectangles(panel, colors[each.name]) == [place]


@pytest.mark.parametrize("name", ["7", "nut", "one rather long name", "W" * 200])
def test_no_label_covers_another_or_leaves_the_picture(name: str) -> None:
    """Many boxes at the picture's edges; all have a label or are in the list, in order."""
    found = [
        box(f"{name}{number}", left, 0.9 - number / 100, side=9)
        for number, left in enumerate([0, 0, 1, 23, 24, 24, 12, 13, 30, -4])
    ]
    width, height = PANEL, 160.0
    labels = placed(found, PANEL / 32, width, height)
    assert len(labels) > 3
    for number, label in enumerate(labels):
        assert label.left >= 0
        assert label.left + label.width <= width
        assert ASCENT <= label.down <= height - DESCENT
        assert not any(label.covers(other) for other in labels[:number])


def test_a_label_without_room_is_a_number_of_the_list() -> None:
    found = [box("screwdriver", 10, 0.9 - number / 100, side=6) for number in range(9)]
    texts = [label.text for label in placed(found, PANEL / 32, PANEL, 160.0)]
    assert texts[0] == "screwdriver 0.90"
    numbers = [text for text in texts if text.startswith("(")]
    assert numbers
    listed = numbered(found)
    for text in numbers:
        assert f"{text} screwdriver {0.91 - int(text.strip('()')) / 100:.2f}" in listed


def test_a_long_name_is_shortened_in_the_picture_alone() -> None:
    image = shown_image(float_boxes=[box("adjustable spanner", 4, 0.7)])
    tree = drawn(image)
    assert [text.text for text in tree.findall(f"{SVG}g")[0].iter(f"{SVG}text")][1] == (
        "adjustable s… 0.70"
    )
    assert "adjustable spanner 0.70" in tree.attrib["aria-label"]
    assert numbered(image.float_boxes) == "(1) adjustable spanner 0.70"


def test_a_class_has_one_color_in_all_pictures_of_a_page(run) -> None:
    first = shown_image(float_boxes=[box("bolt", 1, 0.5)], integer_boxes=[], true_boxes=[])
    second = shown_image(
        float_boxes=[box("nut", 1, 0.5), box("bolt", 20, 0.4)], integer_boxes=[], true_boxes=[]
    )
    colors = of_names([first, second])
    assert colors["bolt"] != colors["nut"]
    page = html(with_pictures(run[0], first, second), run[1])
    assert page.count(f'stroke="{colors["bolt"]}"') == 2
    assert page.count(f'stroke="{colors["nut"]}"') == 1


def test_numbers_as_names_have_the_same_color_on_all_pages() -> None:
    one = shown_image(float_boxes=[box("7", 1, 0.5), box("3", 1, 0.5)])
    other = shown_image(float_boxes=[box(name, 1, 0.5) for name in ("1", "0", "7")])
    assert of_names([one])["7"] == of_names([other])["7"] == SERIES[7][0]
    every = [shown_image(float_boxes=[box(str(n), 1, 0.5) for n in range(30)], true_boxes=[])]
    assert {*of_names(every).values()} == {color for color, _ in SERIES}


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
