# SPDX-License-Identifier: Apache-2.0
"""Which images of a detector's run are shown, and with which boxes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aocq.data.coco import CocoFolder, read_coco_folder
from aocq.tasks.boxes import Detections
from aocq.tasks.chosen import DIFFERENT, SPREAD
from aocq.tasks.shown_boxes import chosen_images, difference

IMAGES = 20
SIZE = (32, 32)


def found(*boxes: tuple[float, ...], classes: tuple[int, ...] | None = None) -> Detections:
    count = len(boxes)
    return Detections(
        np.array(boxes, float).reshape(count, 4),
        np.linspace(0.9, 0.5, count),
        np.array(classes or (0,) * count, np.int64),
        np.arange(count),
    )


@pytest.fixture
def folder(tmp_path: Path) -> CocoFolder:
    """Images twice as high as the network's, one box in each, of the classes in turn."""
    plain: dict[str, Any] = {
        "images": [
            {"id": n, "file_name": f"{n}.png", "width": 32, "height": 64} for n in range(IMAGES)
        ],
        "annotations": [
            {
                "id": n,
                "image_id": n,
                "category_id": (8, 3)[n % 2],
                "bbox": [4, 8, 10, 20],
                "area": 1,
            }
            for n in range(IMAGES)
        ],
        "categories": [{"id": 8, "name": "bolt"}, {"id": 3, "name": "\n"}],
    }
    (tmp_path / "annotations.json").write_text(json.dumps(plain), encoding="utf-8")
    return read_coco_folder(tmp_path)


def test_equal_boxes_differ_by_nothing_and_others_by_what_does_not_overlap() -> None:
    one, half = found((0, 0, 8, 8)), found((0, 0, 8, 4))
    assert difference(one, one) == 0
    assert difference(one, half) == difference(half, one) == 1.0  # each lacks half
    assert difference(one, found((0, 0, 8, 8), classes=(1,))) == 2
    assert difference(one, found()) == difference(found(), one) == 1
    assert difference(found(), found()) == 0
    assert difference(one, found((0, 0, 8, 8), (20, 20, 30, 30))) == 1


def test_images_are_spread_evenly_and_then_those_that_differ_most(folder: CocoFolder) -> None:
    real = {label: found((0, 0, 8, 8)) for label in range(IMAGES)}
    heights = {3: 7, 6: 2, 11: 5, 13: 4, 17: 1, 10: 1}  # the last is among the spread ones
    integer = {label: found((0, 0, 8, heights.get(label, 8))) for label in range(IMAGES)}
    chosen = chosen_images(real, integer, folder, SIZE)
    assert [image.label for image in chosen] == [0, 5, 10, 15, 17, 6, 13, 11]
    assert [image.differs for image in chosen] == [False] * SPREAD + [True] * DIFFERENT


def test_of_equal_networks_only_spread_images_are_shown(folder: CocoFolder) -> None:
    same = {label: found((0, 0, 8, 8)) for label in range(IMAGES)}
    assert [image.label for image in chosen_images(same, same, folder, SIZE)] == [0, 5, 10, 15]
    few = {label: same[label] for label in (2, 9)}
    assert [image.label for image in chosen_images(few, few, folder, SIZE)] == [2, 9]


def test_boxes_are_in_pixels_of_the_network_with_names_and_scores(folder: CocoFolder) -> None:
    real, integer = found((1, 2, 3, 4), (0, 0, 9, 9), classes=(1, 0)), found((5, 6, 7, 8))
    image, _ = chosen_images({4: real, 5: found()}, {4: integer, 5: found()}, folder, SIZE)
    (true,) = image.boxes["true"]
    assert (true.name, true.left, true.top, true.right, true.bottom) == ("bolt", 4, 4, 14, 14)
    assert true.score is None
    assert [(box.name, box.left, box.score) for box in image.boxes["float"]] == [
        ("bolt", 1, 0.9),
        ("?", 0, 0.5),
    ]
    assert [(box.name, box.bottom) for box in image.boxes["integer"]] == [("?", 8)]
