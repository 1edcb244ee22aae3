# SPDX-License-Identifier: Apache-2.0
"""Semantic segmentation by a dense head: a class for every patch, judged by mIoU over pixels."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from aocq.data.entries import entries
from aocq.data.image_folder import SUFFIXES, LabelledImage
from aocq.records.accuracy import Agreement, Score
from aocq.tasks.chosen import spread_and_different
from aocq.tasks.metrics import sqnr_of_pairs
from aocq.tasks.patch_grid import (
    WHOLE_IMAGE,
    check_whole_image,
    grid_of,
    is_dense,
    patch_values,
)
from aocq.tasks.task import Chosen, ChosenImage, Dataset, Judgement, Note, Outputs, Size, Task
from simulator.cost.host_work import HostWork
from simulator.errors import InputError

IMAGES, MASKS = "images", "masks"  # folders; a mask has its image's name, as PNG
IGNORED = 255  # pixels of this class count for nothing
INDEX_MODES = ("L", "P")  # of PNG files whose pixels are numbers of 8 bits: gray, palette

Classes = NDArray[np.int64]


def _read(folder: Path, outputs: int, note: Note) -> Dataset:
    """List the images that have a mask; the label of each is its place in the list."""
    del note
    for name in (IMAGES, MASKS):
        if not (folder / name).is_dir():
            raise InputError(
                f"{folder}: has no folder {name}; --task segmentation wants images in {IMAGES} "
                f"and, for each, a PNG of the same name in {MASKS} with a class number per pixel"
            )
    found = sorted(Path(entry.path) for entry in entries(folder / IMAGES, folder))
    paths = [path for path in found if path.suffix.lower() in SUFFIXES]
    if not paths:
        raise InputError(f"{folder / IMAGES}: has no images")
    masks = [folder / MASKS / f"{path.stem}.png" for path in paths]
    digest = hashlib.sha256()
    for mask in masks:
        digest.update(hashlib.sha256(_checked(mask, outputs)).digest())
    return Dataset(
        images=[LabelledImage(path=path, label=place) for place, path in enumerate(paths)],
        classes=outputs,
        truth=masks,
        digest=digest.hexdigest(),
    )


def _checked(path: Path, classes: int) -> bytes:
    """Return a mask's bytes as classes of pixels; InputError where a class is none of these."""
    pixels = read_mask(path)
    strange = sorted({*np.unique(pixels).tolist()} - {*range(classes), IGNORED})
    if strange:
        raise InputError(
            f"{path}: has pixels of class {strange[0]}, but the network yields {classes} values, "
            f"classes 0 to {classes - 1} ({IGNORED}: ignored); pass --num-classes, or number the "
            "classes from 0"
        )
    return b"%d %d " % pixels.shape + pixels.tobytes()


def read_mask(path: Path) -> NDArray[np.uint8]:
    """Return the class of each pixel, [height, width].

    Raises
    ------
    InputError
        If the file is missing, no PNG, or has pixels that are no numbers of 8 bits.
    """
    try:
        with Image.open(path, formats=["PNG"]) as image:
            if image.mode not in INDEX_MODES:
                raise InputError(
                    f"{path}: has pixels of mode {image.mode}; a mask has one number of 8 bits for "
                    "each: a PNG in gray or with a palette"
                )
            return np.asarray(image)
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        reason = getattr(error, "strerror", None) or "it is no whole PNG"
        raise InputError(f"{path}: the mask cannot be read: {reason}") from error


def _check(name: str, shape: tuple[int, ...], preprocessing: Mapping[str, Any]) -> None:
    if not is_dense(shape, preprocessing) or shape[-1] < 2:
        raise InputError(f"{name}: {_no_classes(shape)}")
    check_whole_image(name, preprocessing, "masks")


def _no_classes(shape: tuple[int, ...]) -> str:
    return (
        f"yields {' x '.join(map(str, shape))} values for an image, but segmentation wants one for "
        "each class of every patch of a square: --model-kwargs global_pool= with --num-classes "
        "CLASSES"
    )


def _judge(
    outputs: Mapping[str, Outputs], labels: NDArray[np.int64], dataset: Dataset, size: Size
) -> Judgement:
    del size  # a mask may have any
    values = {engine: patch_values(found) for engine, found in outputs.items()}
    # Of equal values the lowest class counts, as a chip's arg-max has it.
    classes = {engine: found.argmax(axis=-1) for engine, found in values.items()}
    masks: Sequence[Path] = [dataset.truth[label] for label in labels.tolist()]
    tables = {engine: confusion(found, masks, dataset.classes) for engine, found in classes.items()}
    return Judgement(
        scores={engine: scores(table) for engine, table in tables.items()},
        agreement=Agreement(
            integer_float=share_alike(classes["integer"], classes["float"]),
            integer_simulated=share_alike(classes["integer"], classes["simulated"]),
        ),
        sqnr=sqnr_of_pairs(values),
        chosen=_chosen(labels.tolist(), classes["float"], classes["integer"], dataset),
    )


def _chosen(labels: Sequence[int], real: Classes, integer: Classes, dataset: Dataset) -> Chosen:
    """Return the images to show; how much two networks differ is counted in patches."""
    place_of = {label: place for place, label in enumerate(labels)}
    apart = (real != integer).sum(axis=(1, 2)).tolist()
    spread, most = spread_and_different(dict(zip(labels, apart, strict=True)))
    return Chosen(
        images=[
            ChosenImage(
                label=label,
                differs=label in most,
                classes={
                    "true": commonest(
                        read_mask(dataset.truth[label]), real.shape[1], dataset.classes
                    ).tolist(),
                    "float": real[place_of[label]].tolist(),
                    "integer": integer[place_of[label]].tolist(),
                },
            )
            for label in (*spread, *most)
        ]
    )


def commonest(mask: NDArray[np.uint8], side: int, classes: int) -> Classes:
    """Return the class of most pixels of each patch, [side, side]: the lowest of several.

    Ignored pixels count nowhere; a patch without others has class 0.
    """
    rows, columns = (np.arange(extent) * side // extent for extent in mask.shape)
    patch = rows[:, None] * side + columns[None, :]
    kept = mask != IGNORED
    pairs = patch[kept] * classes + mask[kept]
    counts = np.bincount(pairs, minlength=side * side * classes).reshape(side, side, classes)
    found: Classes = counts.argmax(axis=-1)
    return found


def confusion(found: Classes, masks: Sequence[Path], classes: int) -> Classes:
    """Return how many pixels of a true class (row) got which class (column), [classes, classes].

    Parameters
    ----------
    found
        class of each patch, [images, side, side]; every pixel of a mask has that of its patch
    masks
        of the images, in order
    """
    counts = np.zeros(classes * classes, np.int64)
    for patches, path in zip(found, masks, strict=True):
        truth = read_mask(path).astype(np.int64)
        pairs = truth * classes + upsampled(patches, truth.shape)
        counts += np.bincount(pairs[truth != IGNORED], minlength=classes * classes)
    return counts.reshape(classes, classes)


def upsampled(patches: Classes, shape: tuple[int, ...]) -> Classes:
    """Return for each pixel of a mask the class of the patch that it is in."""
    rows, columns = (
        np.arange(extent) * side // extent
        for extent, side in zip(shape, patches.shape, strict=True)
    )
    found: Classes = patches[rows[:, None], columns[None, :]]
    return found


def scores(table: Classes) -> dict[str, float]:
    """Return mIoU and pixel accuracy, in percent, of a table of pixels.

    mIoU is the mean of intersection over union of the classes that some pixel has or got (Pascal
    VOC, Everingham et al., IJCV 2010); 0 without any pixel.
    """
    right = np.diagonal(table)
    union = table.sum(axis=0) + table.sum(axis=1) - right
    there = union > 0
    if not there.any():
        return {"miou": 0.0, "pixel_accuracy": 0.0}
    return {
        "miou": 100 * float((right[there] / union[there]).mean()),
        "pixel_accuracy": 100 * int(right.sum()) / int(table.sum()),
    }


def share_alike(first: Classes, second: Classes) -> float:
    """Return the share of patches, in percent, that have the same class in both."""
    return 100 * int((first == second).sum()) / first.size


def _host_work(shape: tuple[int, ...]) -> tuple[HostWork, ...]:
    """Return the arg-max of every patch's classes."""
    grid = grid_of(shape)
    if grid is None:
        raise InputError(f"the network {_no_classes(shape)}")
    comparisons = grid.side * grid.side * (shape[-1] - 1)
    return (HostWork(name="choose classes", operations=comparisons),)


TASK = Task(
    name="segmentation",
    scores=(
        Score(key="miou", title="mIoU"),
        Score(key="pixel_accuracy", title="pixel accuracy"),
    ),
    alike="same class",
    shares_of="patches",
    read=_read,
    check=_check,
    judge=_judge,
    preprocessing=WHOLE_IMAGE,
    host_work=_host_work,
)
