# SPDX-License-Identifier: Apache-2.0
"""The figure of class activation maps, and the table of how alike they are."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest
from PIL import Image

from aocq.records.class_activation import (
    COLUMNS,
    ImageMaps,
    MapLikeness,
    class_activation_csv,
    class_activation_record,
)
from reports.activation_maps import Row, View, activation_maps


def row(name: str, rollout: bool = True) -> Row:
    random = np.random.default_rng(7)
    maps = random.random((2, 16, 16))
    likeness = MapLikeness(correlation=0.912, overlap=None)
    views = [View(name="Grad-CAM", maps=(maps[0], maps[1]), likeness=likeness)]
    if rollout:
        views.append(View(name="roll-out", maps=(maps[1], maps[0]), likeness=likeness))
    image = random.integers(0, 256, (16, 16, 3)).astype(np.uint8)
    return Row(image=image, name=name, views=tuple(views))


def test_every_map_is_named_with_how_alike_it_is() -> None:
    found = activation_maps([row("class 3"), row("class 4")], "aocq W4A8", "maps of two images")
    assert found.svg.count("correlation 0.91, overlap none") == 4
    assert found.svg.count("Grad-CAM, float") == 2
    assert "maps of two images" in found.svg
    assert found.svg.count("<image") == 2 * 5  # maps are laid over their image
    assert Image.open(io.BytesIO(found.png)).size[0] > 1000


def test_without_a_rollout_there_are_fewer_panels() -> None:
    wide = activation_maps([row("a")], "q", "h")
    narrow = activation_maps([row("a", rollout=False)], "q", "h")
    sizes = [Image.open(io.BytesIO(each.png)).size[0] for each in (wide, narrow)]
    assert sizes[1] < sizes[0]


def images() -> list[ImageMaps]:
    return [
        ImageMaps(
            image=f"{number}.png",
            class_number=number,
            quantized_class=3,
            activation=MapLikeness(correlation=correlation, overlap=0.5),
            rollout=None,
        )
        for number, correlation in enumerate((0.5, None, 1.0, 0.9))
    ]


def test_the_table_has_a_row_for_each_image_and_empty_cells_for_none() -> None:
    record = class_activation_record(
        network="n", quantized="q", layer="norm1", of_class="own", images=images()
    )
    rows = list(csv.reader(io.StringIO(class_activation_csv(record))))
    assert tuple(rows[0]) == COLUMNS
    assert rows[2] == ["1.png", "1", "3", "", "0.5", "", ""]
    assert len(rows) == 5


def test_mean_and_median_are_of_the_images_that_have_a_figure() -> None:
    record = class_activation_record(
        network="n", quantized="q", layer="norm1", of_class="own", images=images()
    )
    assert record.mean["activation_correlation"] == pytest.approx(0.8)
    assert record.median["activation_correlation"] == 0.9
    assert record.mean["rollout_overlap"] is None
