# SPDX-License-Identifier: Apache-2.0
"""Classes of patches on images: drawn from a run's record alone."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import built_run
import pytest
from parsed_page import ParsedPage
from pydantic import ValidationError

from aocq.records.run import RunResult
from aocq.records.shown_images import ShownImage, ShownImages
from reports.boxes import PANEL
from reports.class_colors import of_numbers
from reports.class_maps import class_colors, differing, figure_of, in_words
from reports.page import html

SVG = "{http://www.w3.org/2000/svg}"
TRUE = [[7, 7, 7, 7], [7, 2, 7, 7]]
FLOAT = [[7, 7, 7, 7], [7, 2, 2, 7]]
INTEGER = [[7, 7, 7, 3], [7, 2, 7, 7]]


def shown_image(**changes: Any) -> ShownImage:
    """An image of 32 x 16 pixels with four patches by two."""
    fields = {
        **{key: [] for key in ("true_boxes", "float_boxes", "integer_boxes")},
        **{"true_classes": TRUE, "float_classes": FLOAT, "integer_classes": INTEGER},
    }
    return ShownImage(**built_run.shown_image(**(fields | changes)))


COLORS = of_numbers([shown_image()])


def panels() -> list[ElementTree.Element]:
    return ElementTree.fromstring(figure_of(shown_image(), "picture-1", COLORS)).findall(f"{SVG}g")


def places(panel: ElementTree.Element, key: str, value: str) -> list[tuple[float, ...]]:
    return [
        tuple(float(found.attrib[name]) for name in ("x", "y", "width", "height"))
        for found in panel.iter(f"{SVG}rect")
        if found.attrib.get(key) == value
    ]


def test_the_commonest_class_is_clear_and_the_others_have_colors() -> None:
    colors = class_colors(shown_image(), COLORS)
    assert [*colors] == [2, 3, 7]
    assert colors[7] is None
    assert None not in (colors[2], colors[3])
    assert colors[2] != colors[3]


def test_patches_without_a_class_are_left_clear() -> None:
    image = shown_image(true_classes=[[7, 7, None, 7], [None, 2, 7, 7]])
    assert [*class_colors(image, COLORS)] == [2, 3, 7]
    true = ElementTree.fromstring(figure_of(image, "picture-1", COLORS)).findall(f"{SVG}g")[0]
    assert [each.attrib["fill"] for each in true.iter(f"{SVG}rect")] == [COLORS[2]]
    assert "true: class 2 1 patch, class 7 5 patches, ignored 2 patches" in in_words(image)
    with pytest.raises(ValidationError):
        shown_image(float_classes=[[7, 7, None, 7], [None, 2, 7, 7]])


def test_each_panel_has_the_image_and_its_patches() -> None:
    colors, side = class_colors(shown_image(), COLORS), PANEL / 4
    found = [places(panel, "fill", str(colors[2])) for panel in panels()]
    assert found == [
        [(side, side, side, side)],
        [(side, side, side, side), (2 * side, side, side, side)],
        [(side, side, side, side)],
    ]
    assert [places(panel, "fill", str(colors[3])) for panel in panels()] == [
        [],
        [],
        [(3 * side, 0, side, side)],
    ]
    titles = [panel.find(f"{SVG}text") for panel in panels()]
    assert [title is not None and title.text for title in titles] == ["True", "Float", "Integer"]


def test_patches_are_framed_where_the_networks_differ() -> None:
    side = PANEL / 4
    frames = [(3 * side, 0, side, side), (2 * side, side, side, side)]
    assert [places(panel, "stroke", "#fff") for panel in panels()] == [[], frames, frames]
    assert differing(shown_image()) == [(0, 3), (1, 2)]


def test_it_is_told_in_words() -> None:
    assert in_words(shown_image()) == (
        "0007.png, 32 x 16 pixels. true: class 2 1 patch, class 7 7 patches. float: class 2 2 "
        "patches, class 7 6 patches. integer: class 2 1 patch, class 3 1 patch, class 7 6 patches."
        " float and integer differ in 2 patches."
    )


def test_a_page_shows_them_from_the_record(run) -> None:
    shown = ShownImages(among=400, images=[shown_image()])
    result = RunResult.model_validate_json(run[0].model_copy(update={"shown": shown}).to_json())
    page = html(result, run[1])
    assert page.count('class="boxes wide"') == 1
    text = " ".join(ParsedPage(page).text.split())
    assert "the true one, that of most of its pixels" in text
    assert "7 (clear)" in text
    assert "Float and integer differ in 2 patches." in text


@pytest.mark.parametrize(
    "changes",
    [{"true_classes": []}, {"float_classes": TRUE[:1]}, {"true_classes": [[7], [7, 7]]}],
    ids=str,
)
def test_maps_of_different_patches_are_no_record(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="different patches"):
        shown_image(**changes)


def test_a_class_has_one_color_in_all_images_of_a_page() -> None:
    other = shown_image(
        true_classes=[[0, 0, 0, 3]] * 2,
        float_classes=[[0, 0, 0, 3]] * 2,
        integer_classes=[[0, 0, 0, 3]] * 2,
    )
    colors = of_numbers([shown_image(), other])
    assert [*colors] == [0, 2, 3, 7]
    assert class_colors(shown_image(), colors)[3] == class_colors(other, colors)[3] == colors[3]
    assert class_colors(shown_image(), colors) == class_colors(shown_image(), COLORS)
