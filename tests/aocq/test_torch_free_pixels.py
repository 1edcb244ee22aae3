# SPDX-License-Identifier: Apache-2.0
"""Preprocessing without torch is timm's, in every bit."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from PIL import Image

from aocq.data.decoding import BadImageError
from aocq.data.loader import preprocessing_transform
from aocq.data.pixels import preprocessed, read_pixels
from simulator.preprocessing import WORDS

SIZES = ((8, 8), (31, 57), (64, 20), (225, 224), (40, 41))
GRAY = {"mean": (0.1307,), "std": (0.3081,)}
COLOR = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def image(width, height, channels):
    rng = np.random.default_rng(width * height)
    shape = (height, width, 3) if channels == 3 else (height, width)
    return Image.fromarray(rng.integers(0, 256, shape, np.uint8))


def settings(channels, sides, interpolation, mode, crop_pct):
    return {
        "input_size": (channels, *sides),
        "interpolation": interpolation,
        "crop_mode": mode,
        "crop_pct": crop_pct,
        **(COLOR if channels == 3 else GRAY),
    }


@pytest.mark.parametrize("mode", WORDS["crop_mode"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_number_is_timms(mode, channels):
    choices = itertools.product(((8, 8), (24, 24), (12, 20)), WORDS["interpolation"], (0.875, 1.0))
    for sides, interpolation, crop_pct in choices:
        preprocessing = settings(channels, sides, interpolation, mode, crop_pct)
        transform = preprocessing_transform(preprocessing)
        for size in SIZES:
            picture = image(*size, channels)
            expected = transform(picture).numpy()
            found = preprocessed(picture, preprocessing)
            assert found.dtype == np.float32
            assert found.tobytes() == expected.tobytes(), (sides, interpolation, crop_pct, size)


def test_files_are_read_as_elsewhere(tmp_path):
    preprocessing = settings(3, (8, 8), "bicubic", "center", 0.9)
    image(20, 30, 3).save(tmp_path / "a.png")
    expected = preprocessing_transform(preprocessing)(image(20, 30, 3)).numpy()
    assert np.array_equal(read_pixels(tmp_path / "a.png", preprocessing), expected)
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:200])
    with pytest.raises(BadImageError, match=r"b\.png: cannot be decoded"):
        read_pixels(tmp_path / "b.png", preprocessing)
    image(20000, 1, 3).save(tmp_path / "c.png")
    with pytest.raises(BadImageError, match=r"c\.png: .* would be resized"):
        read_pixels(tmp_path / "c.png", settings(3, (224, 224), "bicubic", "center", 0.9))
