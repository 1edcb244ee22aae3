# SPDX-License-Identifier: Apache-2.0
"""A first look at a folder of images: what it refuses cannot be decoded, what it takes may be."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aocq.data import first_look
from aocq.data.first_look import check_image_folder
from aocq.data.image_folder import LabelledImage, read_image_folder
from aocq.data.loader import evenly
from simulator.errors import InputError

FORMS = {"jpg": "JPEG", "png": "PNG", "gif": "GIF", "bmp": "BMP", "webp": "WEBP", "tif": "TIFF"}
NOISE = np.random.default_rng(1).integers(0, 256, (32, 32, 3), dtype=np.uint8)


def encoded(form: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(NOISE).save(file, form)
    return file.getvalue()


def check_whole(folder: Path, count: int | None) -> None:
    first_look.check_whole(check_image_folder(folder, "--data"), count)


def folder_with(folder: Path, content: bytes, name: str) -> Path:
    (folder / "0").mkdir()
    (folder / "0" / name).write_bytes(content)
    return folder


@pytest.mark.parametrize("suffix", FORMS)
def test_whole_files_are_taken_and_what_follows_their_end_too(tmp_path: Path, suffix: str) -> None:
    whole = encoded(FORMS[suffix])
    check_whole(folder_with(tmp_path, whole, f"a.{suffix}"), None)
    (tmp_path / "0" / f"b.{suffix}").write_bytes(whole + b"\0\n")
    check_whole(tmp_path, None)


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif"])
@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.9])
def test_files_that_were_cut_off_are_named(tmp_path: Path, suffix: str, kept: float) -> None:
    whole = encoded(FORMS[suffix])
    folder_with(tmp_path, whole[: int(kept * len(whole))], f"a.{suffix}")
    with pytest.raises(InputError, match=rf"0/a\.{suffix}: cannot be decoded .*--skip-bad-images"):
        check_whole(tmp_path, None)


@pytest.mark.parametrize("content", [b"", b"<!doctype html>", b"version https://git-lfs"])
def test_what_is_no_image_is_named(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(InputError, match=r"a\.jpg: cannot be decoded"):
        check_whole(folder_with(tmp_path, content, "a.jpg"), None)


def test_only_those_are_looked_at_that_will_be_taken(tmp_path: Path) -> None:
    for number in range(10):
        (tmp_path / str(number)).mkdir()
        for name in "ab":
            (tmp_path / str(number) / f"{name}.png").write_bytes(encoded("PNG"))
    (tmp_path / "3" / "b.png").write_bytes(b"damaged")
    images = read_image_folder(tmp_path, 10)
    for count in range(1, 21):
        taken = LabelledImage(path=tmp_path / "3" / "b.png", label=3) in evenly(images, count)
        if taken:
            with pytest.raises(InputError, match=r"3/b\.png"):
                check_whole(tmp_path, count)
        else:
            check_whole(tmp_path, count)


def test_a_pipe_among_the_images_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(folder_with(tmp_path, encoded("PNG"), "a.png") / "0" / "pipe.png")
    check_whole(tmp_path, None)


def test_large_folders_are_not_walked_to_their_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first_look, "LISTED", 2)
    folder_with(tmp_path, b"damaged", "a.png")
    with pytest.raises(InputError, match=r"a\.png"):
        check_whole(tmp_path, None)
    for name in "bc":
        (tmp_path / "0" / f"{name}.txt").write_bytes(b"")
    check_whole(tmp_path, None)
    (tmp_path / "0" / "a.png").rename(tmp_path / "0" / "a.txt")
    check_image_folder(tmp_path, "--data")  # there may be one further on
    monkeypatch.setattr(first_look, "LISTED", 9)
    with pytest.raises(InputError, match="1 class folders but no image"):
        check_image_folder(tmp_path, "--data")
