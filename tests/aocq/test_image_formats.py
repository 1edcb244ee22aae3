# SPDX-License-Identifier: Apache-2.0
"""Damaged image files: each is told to be bad, or is an image that a network can be shown."""

from __future__ import annotations

import io
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mutations import byte_mutants
from PIL import Image

from aocq.data.decoding import FORMATS, MODES, BadImageError, open_image
from aocq.data.fitting import check_fitting
from aocq.data.loader import preprocessing_transform

NOISE = np.random.default_rng(0).integers(0, 256, (12, 10, 3), dtype=np.uint8)
PALETTE = Image.fromarray(NOISE).quantize(16)
DEEP = Image.fromarray(NOISE[..., 0].astype(np.uint16) * 257)


def encoded(image: Image.Image, name: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, name, **options)
    return stream.getvalue()


def seeds() -> dict[str, bytes]:
    """Small files of every format, and of what decoders have code of their own for."""
    color = Image.fromarray(NOISE)
    alpha = color.convert("RGBA")
    frames: dict[str, Any] = {"save_all": True, "append_images": [color.rotate(90)]}
    exif = Image.Exif()
    exif[0x0112] = 6
    return {
        "bmp": encoded(color, "BMP"),
        "bmp palette": encoded(PALETTE, "BMP"),
        "gif": encoded(PALETTE, "GIF", transparency=3),
        "gif frames": encoded(color, "GIF", **frames),
        "jpeg": encoded(color, "JPEG", exif=exif),
        "jpeg progressive": encoded(color, "JPEG", progressive=True),
        "jpeg cmyk": encoded(color.convert("CMYK"), "JPEG"),
        "png": encoded(color, "PNG"),
        "png palette": encoded(PALETTE, "PNG", transparency=bytes(range(16))),
        "png 16 bits": encoded(DEEP, "PNG"),
        "png frames": encoded(color, "PNG", **frames),
        "tiff": encoded(alpha, "TIFF"),
        "tiff lzw": encoded(color, "TIFF", compression="tiff_lzw", exif=exif),
        "tiff 16 bits": encoded(DEEP, "TIFF", compression="tiff_adobe_deflate"),
        "webp": encoded(color, "WEBP"),
        "webp lossless": encoded(alpha, "WEBP", lossless=True, exif=exif),
        "webp frames": encoded(color, "WEBP", **frames),
    }


SEEDS = seeds()
MUTANTS = 100  # of each
PREPROCESSING: dict[str, Any] = {
    "interpolation": "bicubic",
    "mean": (0.5,),
    "std": (0.25,),
    "crop_pct": 0.9,
}


def test_every_format_is_among_the_seeds(tmp_path: Path) -> None:
    found = set()
    for name, content in SEEDS.items():
        with Image.open(io.BytesIO(content)) as image:
            found.add(image.format)
        (tmp_path / "x").write_bytes(content)
        assert open_image(tmp_path / "x").size in {(10, 12), (12, 10)}, name
    assert found == set(FORMATS)


@pytest.mark.parametrize("name", SEEDS)
def test_damaged_files_are_bad_or_images(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is accepted goes through timm's transform. Nothing is printed, but by libtiff itself."""
    path = tmp_path / "damaged"
    accepted = refused = 0
    chance = random.Random(1)
    for what, content in byte_mutants(SEEDS[name], seed=len(name), count=MUTANTS):
        path.write_bytes(content)
        channels = chance.choice((1, 3))
        try:
            image = open_image(path, channels)
        except BadImageError:
            refused += 1
            continue
        accepted += 1
        assert image.mode == MODES[channels], what
        assert min(image.size) > 0, what
        mode = chance.choice(("center", "squash", "border"))
        settings = {**PREPROCESSING, "input_size": (channels, 8, 8), "crop_mode": mode}
        settings |= {key: settings[key] * channels for key in ("mean", "std")}
        try:
            check_fitting(image.size, settings)
        except ValueError:
            continue
        assert preprocessing_transform(settings)(image).shape == (channels, 8, 8), what
    assert accepted > 7
    assert refused > 7
    assert capsys.readouterr() == ("", "")
