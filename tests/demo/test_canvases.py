# SPDX-License-Identifier: Apache-2.0
"""Canvases of digits: the same from a seed everywhere, with exact boxes; the folder of them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aocq.data.coco import read_coco_folder
from aocq.demo import canvases as module
from aocq.demo.canvas_folder import COUNTS, canvases_of, write_canvas_folder
from aocq.demo.canvases import (
    BACKGROUND,
    DIGIT_PIXELS,
    MOST_DIGITS,
    NOISE_LEVELS,
    SIDE,
    VISIBLE_INK,
    Canvas,
    canvases,
    label_map,
)
from aocq.demo.dense_targets import DIGITS, PATCH, PATCHES, REACH, dense_targets
from aocq.demo.digits import DigitSplit, load_split


@pytest.fixture(scope="module")
def drawn() -> list[Canvas]:
    return canvases(load_split("val"), 40, seed=7)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("canvases") / "data"
    write_canvas_folder(found)
    return found


def digest(found: list[Canvas]) -> str:
    content = hashlib.sha256()
    for each in found:
        for part in each:
            content.update(part.tobytes())
    return content.hexdigest()


def test_a_seed_gives_the_same_bytes_everywhere(drawn: list[Canvas]) -> None:
    # Another one belongs to other canvases: the bundled weights were trained on these.
    assert digest(drawn) == "8f08ec24d838f4a686d2d263d9c50015be4bc3c5d74622949ab45f1b705e6a94"
    assert digest(canvases(load_split("val"), 40, seed=8)) != digest(drawn)


def test_a_canvas_is_that_of_its_number_however_many_are_made(drawn: list[Canvas]) -> None:
    assert digest(canvases(load_split("val"), 3, seed=7)) == digest(drawn[:3])


def test_canvases_have_one_to_four_digits_of_the_stated_sizes(drawn: list[Canvas]) -> None:
    assert {len(each.labels) for each in drawn} == {*range(1, MOST_DIGITS + 1)}
    for each in drawn:
        extents = each.boxes[:, 2:] - each.boxes[:, :2]
        assert (extents > 0).all()
        assert (extents <= DIGIT_PIXELS[1]).all()
        assert (each.boxes >= 0).all()
        assert (each.boxes <= SIDE).all()
        for first, box in enumerate(each.boxes):
            for other in each.boxes[first + 1 :]:
                low, high = np.maximum(box[:2], other[:2]), np.minimum(box[2:], other[2:])
                assert (high - low).min() <= 0, "they do not overlap"


def test_a_box_ends_where_the_ink_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without clutter and noise, from the pixels of the canvas alone."""
    for name, value in {
        **{"PAPER_LEVELS": (0, 0), "STROKES": (0, 0), "NOISE_LEVELS": 0, "MOST_DIGITS": 1},
        "INK_PERCENT": (100, 100),
    }.items():
        monkeypatch.setattr(module, name, value)
    for each in canvases(load_split("val"), 30, seed=1):
        rows, columns = np.nonzero(each.pixels >= VISIBLE_INK)
        ends = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert [ends] == [tuple(box) for box in each.boxes]


def test_digits_are_brighter_than_what_is_around_them(drawn: list[Canvas]) -> None:
    for each in drawn:
        for left, top, right, bottom in each.boxes:
            assert each.pixels[top:bottom, left:right].max() > 130 + NOISE_LEVELS


def test_every_pixel_of_a_box_has_its_digit(drawn: list[Canvas]) -> None:
    each = next(each for each in drawn if len(each.labels) == 3)
    wanted = np.full((SIDE, SIDE), BACKGROUND)
    for row in range(SIDE):
        for column in range(SIDE):
            for (left, top, right, bottom), label in zip(each.boxes, each.labels, strict=True):
                if left <= column < right and top <= row < bottom:
                    wanted[row, column] = label
    assert np.array_equal(label_map(each), wanted)


# --- what a head should yield ---------------------------------------------------------------------


def test_targets_lead_back_to_the_boxes(drawn: list[Canvas]) -> None:
    targets = dense_targets(drawn)
    for each, classes, distances in zip(drawn, targets.classes, targets.distances, strict=True):
        found = set()
        for token in np.flatnonzero(classes < DIGITS):
            middle = np.array([token % PATCHES + 0.5, token // PATCHES + 0.5])
            low, high = (
                (middle - distances[token, :2]) * PATCH,
                (middle + distances[token, 2:]) * PATCH,
            )
            apart = np.abs(each.boxes - np.concatenate([low, high])).max(axis=1)
            nearest = int(apart.argmin())
            # A box without a patch's centre in it is widened to the nearest one.
            assert apart[nearest] < PATCH / 2 + 0.5
            assert classes[token] == each.labels[nearest]
            box = each.boxes[nearest] / PATCH
            away = np.abs(middle - (box[:2] + box[2:]) / 2).max()
            inside = (box[:2] < middle).all() and (middle < box[2:]).all()
            assert (inside and away <= REACH) or away <= 0.5
            found.add(nearest)
        assert found == {*range(len(each.labels))}, "some patch answers for each box"


def test_a_patch_has_the_class_of_most_of_its_pixels(drawn: list[Canvas]) -> None:
    found = dense_targets(drawn[:5]).patch_classes
    for each, classes in zip(drawn, found, strict=False):
        pixels = label_map(each)
        for token, number in enumerate(classes):
            row, column = token // PATCHES * PATCH, token % PATCHES * PATCH
            tile = pixels[row : row + PATCH, column : column + PATCH].ravel().tolist()
            assert number == min(range(BACKGROUND + 1), key=lambda n: (-tile.count(n), n))


# --- folder ---------------------------------------------------------------------------------------


def test_the_folder_has_images_boxes_and_masks(folder: Path) -> None:
    for name, count in COUNTS.items():
        found = read_coco_folder(folder / name)
        assert len(found.images) == count
        assert [category.name for category in found.categories] == [*"0123456789"]
        drawn = canvases_of(name)
        for number in (0, count - 1):
            each = drawn[number]
            file = f"{number:04d}.png"
            assert np.array_equal(
                np.asarray(Image.open(folder / name / "images" / file)), each.pixels
            )
            mask = np.asarray(Image.open(folder / name / "masks" / file))
            assert np.array_equal(mask, label_map(each))
            boxes = [box for box in found.truth.annotations if box.image_id == number]
            assert [box.category_id for box in boxes] == each.labels.tolist()
            corners = [
                (left, top, left + w, top + h) for left, top, w, h in (b.bbox for b in boxes)
            ]
            assert corners == [tuple(box) for box in each.boxes]


def test_handwriting_of_the_test_canvases_is_not_that_of_the_others() -> None:
    def bitmaps(split: DigitSplit) -> set[bytes]:
        return {image.tobytes() for image in split.images}

    assert not bitmaps(load_split("val")) & bitmaps(load_split("calib"))


def test_a_complete_folder_is_left_as_it_is_and_another_one_is_refused(folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    write_canvas_folder(folder)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    missing = folder / "val" / "masks" / "0003.png"
    content = missing.read_bytes()
    missing.unlink()
    try:
        with pytest.raises(FileExistsError, match="not the complete set of canvases"):
            write_canvas_folder(folder)
    finally:
        missing.write_bytes(content)
    assert json.loads((folder / "val" / "annotations.json").read_text("utf-8"))["images"]
