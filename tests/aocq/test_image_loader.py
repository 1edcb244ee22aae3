# SPDX-License-Identifier: Apache-2.0
"""Images decode to three channels of eight bits, or are named and, where asked for, left out."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from aocq.data import loader
from aocq.data.fitting import LARGEST_FITTED, check_fitting, fitted_size
from aocq.data.image_folder import LabelledImage
from aocq.data.loader import (
    BadImageError,
    ImageBatches,
    evenly,
    load_calibration_images,
    open_image,
    preprocessing_transform,
)
from simulator.errors import InputError

PREPROCESSING = {
    "input_size": (3, 16, 16),
    "interpolation": "bicubic",
    "mean": (0.5, 0.5, 0.5),
    "std": (0.25, 0.25, 0.25),
    "crop_pct": 1.0,
    "crop_mode": "center",
}
RAMP = np.linspace(0, 255, 256).astype(np.uint8).reshape(16, 16)


def truncated_jpeg(path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path, format="JPEG")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


BROKEN: dict[str, Callable[[Path], object]] = {
    "truncated.jpg": truncated_jpeg,
    "text.jpg": lambda path: path.write_text("these are words", encoding="utf-8"),
    "empty.png": lambda path: path.touch(),
    "folder.png": lambda path: path.mkdir(),
    "dangling.png": lambda path: path.symlink_to(path.with_name("nowhere.png")),
}


@pytest.fixture
def mixed(tmp_path: Path) -> list[LabelledImage]:
    """Seven images, three of them broken, one of those the first."""
    listed = []
    for index, name in enumerate(
        ["text.jpg", "0.png", "1.png", "truncated.jpg", "2.png", "empty.png", "3.png"]
    ):
        path = tmp_path / "class" / name
        path.parent.mkdir(exist_ok=True)
        if name in BROKEN:
            BROKEN[name](path)
        else:
            Image.fromarray(RAMP).save(path)
        listed.append(LabelledImage(path=path, label=index))
    return listed


@pytest.mark.parametrize("name", BROKEN)
def test_a_file_that_is_no_image_is_named(name: str, tmp_path: Path) -> None:
    BROKEN[name](tmp_path / name)
    with pytest.raises(BadImageError) as caught:
        open_image(tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path / name}: cannot be decoded (")
    assert "--skip-bad-images" in str(caught.value)
    assert caught.value.exit_code == 3


def test_a_damaged_image_ends_the_reading_with_its_name(mixed: list[LabelledImage]) -> None:
    batches = ImageBatches(mixed[1:], PREPROCESSING, batch=2)
    with pytest.raises(BadImageError, match=r"truncated\.jpg"):
        list(batches)
    assert batches.skipped == []


@pytest.mark.parametrize("batch", [1, 2, 3, 32])
def test_damaged_images_are_left_out_and_listed(mixed: list[LabelledImage], batch: int) -> None:
    batches = ImageBatches(mixed, PREPROCESSING, batch=batch, skip_bad=True)
    read = list(batches)
    assert torch.cat([labels for _, labels in read]).tolist() == [1, 2, 4, 6]
    assert all(1 <= len(pixels) <= batch for pixels, _ in read)
    assert torch.cat([pixels for pixels, _ in read]).shape == (4, 3, 16, 16)
    assert [path.name for path in batches.skipped] == ["text.jpg", "truncated.jpg", "empty.png"]


def test_calibration_leaves_damaged_images_out(mixed: list[LabelledImage]) -> None:
    pixels, skipped = load_calibration_images(mixed, PREPROCESSING, skip_bad=True)
    assert len(pixels) == 4
    assert len(skipped) == 3
    with pytest.raises(BadImageError, match=r"text\.jpg"):
        load_calibration_images(mixed, PREPROCESSING)


def test_calibration_on_nothing_but_damaged_images_is_refused(mixed: list[LabelledImage]) -> None:
    broken = [item for item in mixed if item.path.name in BROKEN]
    with pytest.raises(InputError, match="none of the images can be decoded"):
        load_calibration_images(broken, PREPROCESSING, skip_bad=True)


def save_as(mode: str) -> Image.Image:
    if mode == "P":
        palette = Image.fromarray(RAMP).convert("P")
        assert palette.mode == "P"
        return palette
    if mode == "I;16":
        return Image.fromarray(RAMP.astype(np.uint16) * 257)
    return Image.fromarray(RAMP).convert(mode)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P", "I;16"])
def test_every_kind_of_png_decodes_to_the_same_gray(mode: str, tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    save_as(mode).save(path)
    with Image.open(path) as stored:
        assert stored.mode == mode
    image = open_image(path)
    assert image.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(image), np.stack([RAMP] * 3, axis=-1))


def test_sixteen_bits_per_pixel_keep_their_upper_eight(tmp_path: Path) -> None:
    deep = np.array([[0, 255, 256, 511], [1000, 32768, 65280, 65535]], np.uint16)
    for name in ("deep.png", "deep.tif"):
        Image.fromarray(deep).save(tmp_path / name)
        gray = np.asarray(open_image(tmp_path / name))[..., 0]
        np.testing.assert_array_equal(gray, deep >> 8)


def test_one_bit_and_cmyk_images_decode_too(tmp_path: Path) -> None:
    Image.fromarray(RAMP).convert("1").save(tmp_path / "bits.png")
    assert set(np.unique(np.asarray(open_image(tmp_path / "bits.png")))) <= {0, 255}
    Image.fromarray(RAMP).convert("CMYK").save(tmp_path / "print.jpg")
    decoded = np.asarray(open_image(tmp_path / "print.jpg")).astype(int)
    assert decoded.shape == (16, 16, 3)
    assert abs(decoded[..., 0] - RAMP).max() < 16


def test_preprocessing_is_resize_crop_and_normalization(tmp_path: Path) -> None:
    gray = np.full((40, 20), 255, np.uint8)
    gray[10:30] = 0  # what the centre crop of the resized 32 x 16 pixels keeps
    Image.fromarray(gray).save(tmp_path / "tall.png")
    pixels = preprocessing_transform(PREPROCESSING)(open_image(tmp_path / "tall.png"))
    assert pixels.shape == (3, 16, 16)
    assert pixels.dtype == torch.float32
    torch.testing.assert_close(pixels[:, 4:12], torch.full((3, 8, 16), -2.0))


GRAY = {**PREPROCESSING, "input_size": (1, 16, 16), "mean": (0.5,), "std": (0.25,)}


def test_networks_of_one_channel_get_gray_images(tmp_path: Path) -> None:
    """Of colors, ITU-R 601's luma, as Pillow and timm convert them."""
    colors = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(colors).save(tmp_path / "color.png")
    Image.fromarray(RAMP).save(tmp_path / "gray.png")
    files = [LabelledImage(path=tmp_path / name, label=0) for name in ("color.png", "gray.png")]
    ((pixels, _),) = ImageBatches(files, GRAY)
    assert pixels.shape == (2, 1, 16, 16)
    luma = (colors @ np.array([299, 587, 114])) / 1000
    assert np.abs((pixels[0, 0].numpy() * 0.25 + 0.5) * 255 - luma).max() < 1
    torch.testing.assert_close((pixels[1, 0] * 0.25 + 0.5) * 255, torch.tensor(RAMP).float())


def test_other_numbers_of_channels_are_refused() -> None:
    with pytest.raises(InputError, match=r"images have 4 channels; files are read as 1 .* or 3"):
        next(ImageBatches([], {**PREPROCESSING, "input_size": (4, 16, 16)}).groups())


SIZES = [(1, 1), (1, 7), (16, 16), (30, 20), (20, 33), (100, 1), (1, 5000), (4999, 3), (301, 300)]


@pytest.mark.parametrize("mode", ["center", "squash", "border"])
@pytest.mark.parametrize("sides", [(16, 16), (16, 24), (31, 17)])
@pytest.mark.parametrize("kept", [1.0, 0.9, 0.5])
def test_fitted_sizes_are_those_of_timm(mode: str, sides: tuple[int, int], kept: float) -> None:
    settings = {**PREPROCESSING, "crop_mode": mode, "crop_pct": kept, "input_size": (3, *sides)}
    resize = preprocessing_transform(settings).transforms[0]  # type: ignore[attr-defined]
    for size in SIZES:
        found = fitted_size(size, settings)
        if min(found) == 0:
            with pytest.raises(ValueError, match="> 0"):
                resize(Image.new("RGB", size))
        else:
            assert resize(Image.new("RGB", size)).size == found


def test_images_of_any_shape_are_read_or_named(tmp_path: Path) -> None:
    """A line of 60,000 pixels would be 3.6 billion pixels where its width is fitted to 224."""
    files = []
    for index, size in enumerate([(1, 1), (1, 60000), (1, 500), (60000, 1), (9, 3000)]):
        files.append(LabelledImage(path=tmp_path / f"{index}.png", label=index))
        Image.new("L", size).save(files[-1].path)
    large = {**PREPROCESSING, "input_size": (3, 224, 224)}
    with pytest.raises(BadImageError, match=rf"1\.png: .*1 x 60000 pixels would be.*{2**25:,}"):
        list(ImageBatches(files, large))
    batches = ImageBatches(files, large, skip_bad=True)
    assert [labels.tolist() for _, labels in batches] == [[0, 2, 4]]
    assert [path.name for path in batches.skipped] == ["1.png", "3.png"]
    border = ImageBatches(files, {**large, "crop_mode": "border"}, skip_bad=True)
    assert [labels.tolist() for _, labels in border] == [[0, 4]]


def test_the_limit_of_fitted_images_is_the_one_stated() -> None:
    settings = {**PREPROCESSING, "input_size": (3, 1024, 1024)}
    check_fitting((1, LARGEST_FITTED // 1024**2), settings)
    with pytest.raises(ValueError, match="1 x 33 pixels would be resized to 1024 x 33792"):
        check_fitting((1, LARGEST_FITTED // 1024**2 + 1), settings)


def test_batches_keep_the_order_and_their_size(mixed: list[LabelledImage]) -> None:
    good = [item for item in mixed if item.path.name not in BROKEN]
    batches = ImageBatches(good, PREPROCESSING, batch=3)
    assert [labels.tolist() for _, labels in batches] == [[1, 2, 4], [6]]
    assert [labels.tolist() for _, labels in batches] == [[1, 2, 4], [6]], "and again"
    assert list(ImageBatches([], PREPROCESSING)) == []


@pytest.mark.parametrize("batch", [1, 2, 3, 32])
def test_groups_tell_what_was_left_out_of_each(mixed: list[LabelledImage], batch: int) -> None:
    found = list(ImageBatches(mixed, PREPROCESSING, batch=batch, skip_bad=True).groups())
    starts = range(0, len(mixed), batch)
    for start, group in zip(starts, found, strict=True):
        files = mixed[start : start + batch]
        good = [item.label for item in files if item.path.name not in BROKEN]
        assert group.labels.tolist() == good
        assert list(group.skipped) == [item.path for item in files if item.path.name in BROKEN]
        assert (0 if group.images is None else len(group.images)) == len(good)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of files, as they are opened."""
    names: list[str] = []

    def noted(path: Path, channels: int) -> Image.Image:
        names.append(path.name)
        return open_image(path, channels)

    monkeypatch.setattr(loader, "open_image", noted)
    return names


def long_enough(condition: Callable[[], bool]) -> bool:
    """Wait until ``condition`` holds; False where it does not within ten seconds."""
    end = time.monotonic() + 10
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


def test_the_next_batch_is_decoded_meanwhile_and_no_other(
    mixed: list[LabelledImage], decoded: list[str]
) -> None:
    """However long a batch is computed: memory does not grow with the number of images."""
    good = [item for item in mixed if item.path.name not in BROKEN] * 3
    held = iter(ImageBatches(good, PREPROCESSING, batch=2))
    for taken in range(1, 6):
        next(held)
        assert long_enough(lambda taken=taken: len(decoded) == 2 * taken + 2)
        time.sleep(0.05)
        assert len(decoded) == 2 * taken + 2
    next(held)
    assert len(decoded) == len(good)
    assert list(held) == []


def test_whoever_stops_early_leaves_no_thread(mixed: list[LabelledImage]) -> None:
    good = [item for item in mixed if item.path.name not in BROKEN]
    before = threading.active_count()
    held = iter(ImageBatches(good, PREPROCESSING, batch=1).groups())
    next(held)
    held.close()
    assert threading.active_count() == before


@pytest.mark.parametrize(
    ("total", "count", "expected"),
    [
        (10, 5, [0, 2, 4, 6, 8]),
        (10, 3, [0, 3, 6]),
        (10, 1, [0]),
        (3, 3, [0, 1, 2]),
        (3, 7, [0, 1, 2]),
        (3, None, [0, 1, 2]),
    ],
)
def test_images_are_chosen_evenly(total: int, count: int | None, expected: list[int]) -> None:
    listed = [LabelledImage(path=Path(str(i)), label=i) for i in range(total)]
    assert [item.label for item in evenly(listed, count)] == expected


def test_an_even_choice_takes_from_every_class() -> None:
    listed = [LabelledImage(path=Path(str(i)), label=i // 50) for i in range(500)]
    assert [item.label for item in evenly(listed, 10)] == list(range(10))
