# SPDX-License-Identifier: Apache-2.0
"""Views of calibration images: which they are, and that a calibration sees them all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from aocq.data import fitting
from aocq.data.image_folder import LabelledImage
from aocq.data.loader import load_calibration_images
from aocq.data.views import view_of
from aocq.methods.aocq.reconstruction import split

SIZE = (40, 30)
PREPROCESSING = {
    "input_size": (3, 16, 16),
    "interpolation": "bicubic",
    "crop_pct": 1.0,
    "crop_mode": "center",
    "mean": (0.5, 0.5, 0.5),
    "std": (0.5, 0.5, 0.5),
}


def numbered() -> Image.Image:
    """Return an image of which every pixel is different."""
    places = np.arange(SIZE[0] * SIZE[1]).reshape(SIZE[1], SIZE[0])
    return Image.fromarray(np.stack([places % 256, places // 256, places * 0], -1).astype(np.uint8))


def test_the_first_view_is_the_image_and_the_second_its_mirror_image() -> None:
    image = numbered()
    assert view_of(image, 0, "a.png") == image
    assert view_of(image, 1, "a.png") == ImageOps.mirror(image)


@pytest.mark.parametrize("number", [2, 3, 4, 5])
def test_other_views_are_parts_of_the_image_or_of_its_mirror_image(number: int) -> None:
    image = numbered()
    found = view_of(image, number, "a.png")
    assert found == view_of(image, number, "a.png")
    assert found != view_of(image, number, "b.png")
    assert found != view_of(image, number + 2, "a.png")
    whole = np.asarray(ImageOps.mirror(image) if number % 2 else image)
    part = np.asarray(found)
    assert 0.75 * SIZE[0] - 1 < found.width < SIZE[0]
    assert 0.75 * SIZE[1] - 1 < found.height < SIZE[1]
    top, left = np.argwhere((whole == part[0, 0]).all(-1))[0]
    assert (whole[top : top + found.height, left : left + found.width] == part).all()


def test_an_image_of_one_pixel_has_views() -> None:
    dot = Image.new("RGB", (1, 1), (1, 2, 3))
    assert all(view_of(dot, number, "dot") == dot for number in range(6))


def test_a_calibration_has_the_first_view_of_all_images_then_the_next(tmp_path: Path) -> None:
    files = []
    for name in ("a.png", "b.png"):
        path = tmp_path / name
        view_of(numbered(), 2, name).save(path)
        files.append(LabelledImage(path=path, label=0))
    once, _ = load_calibration_images(files, PREPROCESSING)
    found, skipped = load_calibration_images(files, PREPROCESSING, views=3)
    assert skipped == []
    assert found.shape == (6, 3, 16, 16)
    assert torch.equal(found[:2], once)
    # The mirror image of a square of an odd number of pixels more or less is that of the pixels.
    assert not torch.equal(found[2:4], once)
    assert float((found[2:4] - once.flip(-1)).abs().mean()) < 0.2
    assert not torch.equal(found[4:], once)


@pytest.mark.parametrize(("images", "views"), [(250, 4), (128, 4), (32, 4), (64, 2), (7, 1)])
def test_an_image_that_is_held_out_is_held_out_in_all_views(images: int, views: int) -> None:
    training, judging = split(images * views, 0.2, views)
    assert sorted([*training.tolist(), *judging.tolist()]) == list(range(images * views))
    assert len(judging) == int(0.2 * images) * views
    assert not {*(training % images).tolist()} & {*(judging % images).tolist()}


def test_of_too_few_images_none_is_held_out() -> None:
    training, judging = split(4, 0.2, 2)
    assert training.tolist() == judging.tolist() == [0, 1, 2, 3]


def test_all_views_have_the_same_images_even_where_a_part_does_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "LARGEST_FITTED", 2**15)
    narrow = Image.new("RGB", (3, 23))
    path = tmp_path / "narrow.png"
    narrow.save(path)
    preprocessing = {**PREPROCESSING, "input_size": (3, 64, 64)}
    fitting.check_fitting(narrow.size, preprocessing)
    parts = [view_of(narrow, number, path.name) for number in range(2, 9)]
    sizes = [fitting.fitted_size(part.size, preprocessing) for part in parts]
    assert any(width * height > 2**15 for width, height in sizes)
    files = [LabelledImage(path=path, label=0)]
    found, _ = load_calibration_images(files, preprocessing, skip_bad=True, views=9)
    assert len(found) == 9
