# SPDX-License-Identifier: Apache-2.0
"""Segmentation: folders of images and masks, classes of patches, mIoU against plain Python."""

from __future__ import annotations

import zlib
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from aocq.data import masks as mask_files
from aocq.data.masks import IGNORED, NO_CLASS, classes_of_patches, read_mask
from aocq.tasks import segmentation
from aocq.tasks.task import Dataset, images_of, task_of
from simulator.cost.host_work import HostWork
from simulator.errors import InputError

SIDE, CLASSES = 4, 3
SIZE = (32, 32)
WHOLE = {"input_size": (3, 224, 224), "crop_pct": 1.0, "crop_mode": "squash"}


def written(folder: Path, masks: list[NDArray[np.uint8]]) -> Path:
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for number, mask in enumerate(masks):
        Image.new("RGB", mask.shape[::-1]).save(folder / "images" / f"{number}.jpg")
        Image.fromarray(mask).save(folder / "masks" / f"{number}.png")
    return folder


@pytest.fixture
def masks() -> list[NDArray[np.uint8]]:
    """Of different sizes, none of them a multiple of the patches, with ignored pixels."""
    chance = np.random.default_rng(1)
    shapes = [(13, 9), (30, 41), (5, 3), (8, 8)]
    kinds = np.array([*range(CLASSES), 255], np.uint8)
    return [kinds[chance.integers(0, 4, shape)] for shape in shapes]


@pytest.fixture
def folder(masks: list[NDArray[np.uint8]], tmp_path: Path) -> Path:
    return written(tmp_path / "data", masks)


def read(folder: Path, classes: int = CLASSES) -> Dataset:
    return task_of("segmentation").read(folder, classes, lambda text: None)


def plain_scores(
    patches: list[list[list[int]]], masks: list[list[list[int]]]
) -> dict[str, Fraction]:
    """Return both scores, pixel by pixel in whole numbers."""
    shared, either = [0] * CLASSES, [0] * CLASSES
    right = total = 0
    for grid, mask in zip(patches, masks, strict=True):
        height, width = len(mask), len(mask[0])
        for row in range(height):
            for column in range(width):
                true = mask[row][column]
                if true == 255:
                    continue
                got = grid[row * len(grid) // height][column * len(grid[0]) // width]
                total += 1
                right += got == true
                for number in range(CLASSES):
                    shared[number] += got == true == number
                    either[number] += number in (got, true)
    parts = [Fraction(s, e) for s, e in zip(shared, either, strict=True) if e]
    return {
        "miou": 100 * sum(parts, Fraction(0)) / len(parts),
        "pixel_accuracy": Fraction(100 * right, total),
    }


def outputs_of(patches: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return what a network with a class token yields whose patches have these classes."""
    values = np.eye(CLASSES)[patches].reshape(len(patches), -1, CLASSES)
    return np.concatenate([np.full((len(patches), 1, CLASSES), 7.0), values], axis=1)


def judged(engines: dict[str, NDArray[np.float64]], dataset: Dataset) -> Any:
    labels = np.arange(len(engines["float"]))
    return segmentation.TASK.judge(engines, labels, dataset, SIZE)


def test_scores_are_those_of_plain_python(folder: Path, masks: list[NDArray[np.uint8]]) -> None:
    dataset, chance = read(folder), np.random.default_rng(2)
    for _ in range(5):
        patches = {
            engine: chance.integers(0, CLASSES, (len(masks), SIDE, SIDE))
            for engine in ("float", "simulated", "integer")
        }
        found = judged({e: outputs_of(p) for e, p in patches.items()}, dataset)
        for engine, each in patches.items():
            wanted = plain_scores(each.tolist(), [mask.tolist() for mask in masks])
            assert found.scores[engine].keys() == wanted.keys()
            for key, value in wanted.items():
                assert found.scores[engine][key] == pytest.approx(float(value), rel=1e-12)
        same = sum(
            a == b for a, b in zip(patches["integer"].flat, patches["float"].flat, strict=True)
        )
        assert found.agreement.integer_float == 100 * same / patches["float"].size


def test_the_right_classes_have_an_miou_of_100(tmp_path: Path) -> None:
    patches = np.random.default_rng(3).integers(0, CLASSES, (2, SIDE, SIDE))
    masks = [np.kron(each, np.ones((3, 2), int)).astype(np.uint8) for each in patches]
    outputs = outputs_of(patches)
    dataset = read(written(tmp_path / "data", masks))
    found = judged(dict.fromkeys(("float", "simulated", "integer"), outputs), dataset)
    assert found.scores["float"] == {"miou": 100.0, "pixel_accuracy": 100.0}
    assert found.agreement.integer_float == 100
    assert (found.sqnr.integer_float, found.paired) == (None, None)
    assert [image.label for image in found.chosen.images] == [0, 1]
    for image, wanted in zip(found.chosen.images, patches.tolist(), strict=True):
        assert image.classes == {"true": wanted, "float": wanted, "integer": wanted}
        assert not image.differs


def test_of_equal_values_the_lowest_class_counts_and_class_tokens_do_not(folder: Path) -> None:
    dataset = read(folder)
    tied = np.zeros((4, 1 + SIDE * SIDE, CLASSES))
    first = outputs_of(np.zeros((4, SIDE, SIDE), np.int64))
    found = judged({"float": first, "simulated": first, "integer": tied}, dataset)
    assert found.scores["integer"] == found.scores["float"]


def test_classes_that_no_pixel_has_or_got_do_not_count() -> None:
    table = np.zeros((4, 4), np.int64)
    table[0, 0], table[0, 1] = 6, 2
    assert segmentation.scores(table) == {
        "miou": 100 * (6 / 8 + 0) / 2,
        "pixel_accuracy": 75.0,
    }
    nothing = np.zeros((4, 4), np.int64)
    assert segmentation.scores(nothing) == {"miou": 0.0, "pixel_accuracy": 0.0}


def test_images_are_shown_in_which_most_patches_differ(tmp_path: Path) -> None:
    count, height = 14, 8
    masks = [np.full((height, height), number % CLASSES, np.uint8) for number in range(count)]
    dataset = read(written(tmp_path / "data", masks))
    real = np.zeros((count, SIDE, SIDE), np.int64)
    integer = real.copy()
    for label, differing in {1: 2, 2: 5, 8: 1, 11: 9, 13: 3}.items():
        integer[label].flat[:differing] = 1
    # Files are in the order of their names: 0, 1, 10, 11, 12, 13, 2, ...; some were not evaluated.
    labels = np.array([0, 1, 2, 4, 5, 7, 8, 9, 10, 11, 12, 13])
    engines = {"float": real[labels], "simulated": real[labels], "integer": integer[labels]}
    chosen = segmentation.TASK.judge(
        {engine: outputs_of(found) for engine, found in engines.items()}, labels, dataset, SIZE
    ).chosen
    assert [image.label for image in chosen.images] == [0, 4, 8, 11, 2, 13, 1]
    assert [image.differs for image in chosen.images] == [False] * 4 + [True] * 3
    for image in chosen.images:
        number = int(dataset.truth.paths[image.label].stem)
        assert image.classes["true"] == [[number % CLASSES] * SIDE] * SIDE
        assert image.classes["integer"] == integer[image.label].tolist()


def test_a_patch_has_the_class_of_most_pixels_that_count(masks: list[NDArray[np.uint8]]) -> None:
    for mask in masks:
        found = classes_of_patches(mask, SIDE, CLASSES)
        height, width = mask.shape
        for row in range(SIDE):
            for column in range(SIDE):
                pixels = [
                    int(mask[y, x])
                    for y in range(height)
                    for x in range(width)
                    if y * SIDE // height == row and x * SIDE // width == column
                ]
                wanted = min(range(CLASSES), key=lambda n: (-pixels.count(n), n))
                ignored = all(pixel == IGNORED for pixel in pixels)
                assert found[row, column] == (NO_CLASS if ignored else wanted)


def test_patches_whose_pixels_are_all_ignored_are_shown_without_a_class(tmp_path: Path) -> None:
    mask = np.full((8, 8), IGNORED, np.uint8)
    mask[:3, :] = 2  # the second row of patches has one row of pixels that count
    outputs = outputs_of(np.zeros((1, SIDE, SIDE), np.int64))
    dataset = read(written(tmp_path / "data", [mask]))
    found = judged(dict.fromkeys(("float", "simulated", "integer"), outputs), dataset)
    [image] = found.chosen.images
    assert image.classes["true"] == [[2] * SIDE] * 2 + [[None] * SIDE] * 2


def test_each_mask_is_decoded_once_for_all_networks(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[Path] = []

    def counting(path: Path) -> NDArray[np.uint8]:
        decoded.append(path)
        return read_mask(path)

    dataset, chance = read(folder), np.random.default_rng(4)
    monkeypatch.setattr(segmentation, "read_mask", counting)
    tables = segmentation.confusions(
        {engine: chance.integers(0, CLASSES, (4, SIDE, SIDE)) for engine in ("float", "integer")},
        dataset.truth.paths,
        CLASSES,
    )
    assert decoded == [*dataset.truth.paths]
    assert tables["float"].sum() == tables["integer"].sum() > 0


def test_a_folder_that_is_listed_again_is_not_decoded_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[str] = []

    def counting(path: Path) -> NDArray[np.uint8]:
        decoded.append(path.name)
        return read_mask(path)

    monkeypatch.setattr(mask_files, "read_mask", counting)
    first = read(folder)
    assert read(folder).digest == first.digest
    assert decoded == ["0.png", "1.png", "2.png", "3.png"]
    Image.new("L", (9, 9)).save(folder / "masks" / "2.png")
    assert read(folder).digest != first.digest
    assert decoded[4:] == ["2.png"]


def test_one_network_is_judged_as_three_are(folder: Path) -> None:
    dataset, chance, labels = read(folder), np.random.default_rng(5), np.arange(4)
    one, other = (outputs_of(chance.integers(0, CLASSES, (4, SIDE, SIDE))) for _ in range(2))
    found = judged({"float": one, "simulated": one, "integer": other}, dataset)
    assert segmentation.TASK.judge_one(other, labels, dataset, SIZE) == found.scores["integer"]
    alike = segmentation.TASK.agreement(one, other, SIZE)
    assert 0 < alike < 100
    assert alike == found.agreement.integer_float


# --- folders --------------------------------------------------------------------------------------


def test_images_are_those_with_masks_in_order(folder: Path) -> None:
    found = read(folder)
    assert [image.path.name for image in found.images] == ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]
    assert [image.label for image in found.images] == [0, 1, 2, 3]
    assert found.classes == CLASSES
    assert read(folder).digest == found.digest
    mask = np.asarray(Image.open(folder / "masks" / "3.png")).copy()
    mask[0, 0] = (mask[0, 0] + 1) % CLASSES
    Image.fromarray(mask).save(folder / "masks" / "3.png")
    assert read(folder).digest != found.digest


def test_a_palette_changes_nothing(folder: Path, masks: list[NDArray[np.uint8]]) -> None:
    before = read(folder).digest
    colored = Image.fromarray(masks[0], "P")
    colored.putpalette([*range(255, -1, -1)] * 3)
    colored.save(folder / "masks" / "0.png")
    with Image.open(folder / "masks" / "0.png") as image:
        assert image.mode == "P"
    assert read(folder).digest == before


def _of_mode(mode: str) -> Any:
    return lambda folder: Image.new(mode, (8, 8)).save(folder / "masks" / "3.png")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda folder: (folder / "masks" / "1.png").unlink(), r"masks/1\.png.*cannot be read"),
        (lambda folder: (folder / "masks" / "1.png").write_bytes(b"x"), "no whole PNG"),
        (
            lambda folder: (folder / "masks" / "1.png").write_bytes(
                (folder / "masks" / "1.png").read_bytes()[:90]
            ),
            "no whole PNG",
        ),
        (lambda folder: (folder / "masks").rename(folder / "labels"), "has no folder masks"),
        (lambda folder: (folder / "images").rename(folder / "x"), "has no folder images"),
        (lambda folder: [p.unlink() for p in (folder / "images").iterdir()], "has no images"),
        (_of_mode("RGB"), "pixels of mode RGB"),
        (_of_mode("LA"), "pixels of mode LA"),
        (_of_mode("I;16"), r"8 bits a pixel \(this one has 16\)"),
        (_of_mode("1"), r"8 bits a pixel \(this one has 1\)"),
    ],
)
def test_folders_that_cannot_be_read_are_refused(change: Any, said: str, folder: Path) -> None:
    change(folder)
    with pytest.raises(InputError, match=said):
        read(folder)


def png(gray: bool, bits: int, rows: list[bytes], width: int) -> bytes:
    """Return a PNG of packed rows, as gray or with a palette of gray."""

    def chunk(name: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(name + content).to_bytes(4, "big")
        return len(content).to_bytes(4, "big") + name + content + checksum

    shape = width.to_bytes(4, "big") + len(rows).to_bytes(4, "big")
    header = shape + bytes([bits, 0 if gray else 3, 0, 0, 0])
    palette = b"" if gray else chunk(b"PLTE", bytes(range(9, 12)) * 2**bits)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    ends = (chunk(b"IDAT", pixels), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + palette + b"".join(ends)


@pytest.mark.parametrize(
    ("gray", "bits"), [(True, 2), (True, 4), (True, 8), *((False, bits) for bits in (1, 2, 4, 8))]
)
def test_masks_of_fewer_bits_have_the_numbers_that_are_in_them(
    gray: bool, bits: int, tmp_path: Path
) -> None:
    numbers = np.random.default_rng(bits).integers(0, 2**bits, (5, 16))
    numbers[0, 0] = 2**bits - 1
    spread = (numbers[:, :, None] >> np.arange(bits)[::-1]) & 1
    packed = [row.tobytes() for row in np.packbits(spread.reshape(5, -1), axis=1)]
    path = tmp_path / "mask.png"
    path.write_bytes(png(gray, bits, packed, 16))
    found = read_mask(path)
    assert found.dtype == np.uint8
    assert found.tolist() == numbers.tolist()


@pytest.mark.parametrize("bits", [1, 16])
def test_masks_in_gray_of_one_bit_or_sixteen_are_refused(bits: int, tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    path.write_bytes(png(True, bits, [bytes(2 * bits)] * 3, 16))
    with pytest.raises(InputError, match=rf"mask\.png.*8 bits a pixel \(this one has {bits}\)"):
        read_mask(path)


def test_images_without_a_labelled_pixel_are_no_evidence(
    masks: list[NDArray[np.uint8]], tmp_path: Path
) -> None:
    folder = written(tmp_path / "data", [np.full((8, 8), IGNORED, np.uint8), *masks])
    dataset, check = read(folder), segmentation.TASK.check_images
    check(dataset, dataset.images)
    check(dataset, dataset.images[1:2])
    with pytest.raises(InputError, match=r"data/masks: no mask of the 1 images.*--limit.*--data"):
        check(dataset, dataset.images[:1])


def test_images_to_calibrate_with_need_no_masks(folder: Path) -> None:
    wanted = read(folder).images
    for mask in (folder / "masks").iterdir():
        mask.unlink()
    (folder / "masks").rmdir()
    assert images_of(segmentation.TASK, folder, CLASSES, lambda text: None) == wanted
    with pytest.raises(InputError, match="has no folder masks"):
        read(folder)


def test_a_class_that_the_network_does_not_have_is_told(folder: Path) -> None:
    with pytest.raises(InputError, match=r"pixels of class 2, but the network yields 2 values"):
        read(folder, 2)


# --- networks -------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(197, 21), (196, 21), (14, 14, 21)])
def test_dense_heads_are_taken(shape: tuple[int, ...]) -> None:
    segmentation.TASK.check("net", shape, WHOLE)


@pytest.mark.parametrize("shape", [(1000,), (150, 21), (196, 1)])
def test_other_outputs_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="segmentation wants"):
        segmentation.TASK.check("net", shape, WHOLE)


def test_more_classes_than_masks_can_number_are_refused() -> None:
    segmentation.TASK.check("net", (196, 255), WHOLE)
    with pytest.raises(InputError, match="255 says that a pixel is ignored"):
        segmentation.TASK.check("net", (196, 256), WHOLE)


def test_a_crop_is_refused() -> None:
    with pytest.raises(InputError, match="masks are in coordinates of the whole image"):
        segmentation.TASK.check("net", (196, 21), {**WHOLE, "crop_pct": 0.9})


def test_the_host_compares_the_classes_of_every_patch() -> None:
    work = (HostWork(name="choose classes", operations=16 * 2, functions=16 * 3),)
    assert task_of("segmentation").host_work((17, 3)) == work
    assert task_of("segmentation").host_work((4, 4, 3)) == work
    with pytest.raises(InputError, match="segmentation wants one for each class"):
        task_of("segmentation").host_work((3,))
