# SPDX-License-Identifier: Apache-2.0
"""Segmentation: folders of images and masks, classes of patches, mIoU against plain Python."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from aocq.tasks import segmentation
from aocq.tasks.task import Dataset, task_of
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
        number = int(dataset.truth[image.label].stem)
        assert image.classes["true"] == [[number % CLASSES] * SIDE] * SIDE
        assert image.classes["integer"] == integer[image.label].tolist()


def test_a_patch_has_the_class_of_most_pixels_that_count(masks: list[NDArray[np.uint8]]) -> None:
    for mask in masks:
        found = segmentation.commonest(mask, SIDE, CLASSES)
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
                assert found[row, column] == wanted


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
        (_of_mode("I;16"), "pixels of mode I;16"),
        (_of_mode("1"), "pixels of mode 1"),
    ],
)
def test_folders_that_cannot_be_read_are_refused(change: Any, said: str, folder: Path) -> None:
    change(folder)
    with pytest.raises(InputError, match=said):
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


def test_a_crop_is_refused() -> None:
    with pytest.raises(InputError, match="masks are in coordinates of the whole image"):
        segmentation.TASK.check("net", (196, 21), {**WHOLE, "crop_pct": 0.9})


def test_the_host_compares_the_classes_of_every_patch() -> None:
    work = (HostWork(name="choose classes", operations=16 * 2),)
    assert task_of("segmentation").host_work((17, 3)) == work
    assert task_of("segmentation").host_work((4, 4, 3)) == work
    with pytest.raises(InputError, match="segmentation wants one for each class"):
        task_of("segmentation").host_work((3,))
