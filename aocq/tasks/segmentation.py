# SPDX-License-Identifier: Apache-2.0
"""Semantic segmentation by a dense head: a class for every patch, judged by mIoU over pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aocq.data.entries import entries
from aocq.data.image_folder import SUFFIXES, LabelledImage
from aocq.data.masks import (
    IGNORED,
    IMAGES,
    MASKS,
    NO_CLASS,
    Masks,
    classes_of_patches,
    read_mask,
    read_masks,
)
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

Classes = NDArray[np.int64]


def _read(folder: Path, outputs: int, note: Note) -> Dataset:
    """List the images that have a mask; the label of each is its place in the list."""
    images = _images(folder, outputs, note)
    masks = read_masks(folder, [image.path for image in images], outputs)
    return Dataset(images=images, classes=outputs, truth=masks, digest=masks.digest)


def _images(folder: Path, outputs: int, note: Note) -> list[LabelledImage]:
    """List images, with or without masks."""
    del outputs, note
    if not (folder / IMAGES).is_dir():
        raise InputError(
            f"{folder}: has no folder {IMAGES}; --task segmentation wants images in {IMAGES} "
            f"and, to judge a network by, for each a PNG of the same name in {MASKS}"
        )
    found = sorted(Path(entry.path) for entry in entries(folder / IMAGES, folder))
    paths = [path for path in found if path.suffix.lower() in SUFFIXES]
    if not paths:
        raise InputError(f"{folder / IMAGES}: has no images")
    return [LabelledImage(path=path, label=place) for place, path in enumerate(paths)]


def _check_images(dataset: Dataset, chosen: Sequence[LabelledImage]) -> None:
    """Check that there is a pixel to judge a network by."""
    masks: Masks = dataset.truth
    if masks.labelled.isdisjoint(image.label for image in chosen):
        raise InputError(
            f"{masks.folder / MASKS}: no mask of the {len(chosen)} images to evaluate has a pixel "
            f"of a class: all are {IGNORED}, ignored; raise --limit, or name another folder with "
            "--data"
        )


def _check(name: str, shape: tuple[int, ...], preprocessing: Mapping[str, Any]) -> None:
    if not is_dense(shape, preprocessing) or shape[-1] < 2:
        raise InputError(f"{name}: {_no_classes(shape)}")
    if shape[-1] > IGNORED:
        raise InputError(
            f"{name}: yields values of {shape[-1]} classes, but pixels of masks are numbers of 8 "
            f"bits, and {IGNORED} says that a pixel is ignored: choose a network of {IGNORED} "
            "classes or fewer"
        )
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
    classes = {engine: classes_of_values(found) for engine, found in values.items()}
    masks = _masks_of(labels, dataset)
    tables = confusions(classes, masks, dataset.classes)
    return Judgement(
        scores={engine: scores(table) for engine, table in tables.items()},
        agreement=Agreement(
            integer_float=share_alike(classes["integer"], classes["float"]),
            integer_simulated=share_alike(classes["integer"], classes["simulated"]),
        ),
        sqnr=sqnr_of_pairs(values),
        chosen=_chosen(labels.tolist(), classes["float"], classes["integer"], dataset),
    )


def _scores(
    outputs: Outputs, labels: NDArray[np.int64], dataset: Dataset, size: Size
) -> dict[str, float]:
    del size
    classes = {"": classes_of_values(patch_values(outputs))}
    return scores(confusions(classes, _masks_of(labels, dataset), dataset.classes)[""])


def _agreement(first: Outputs, second: Outputs, size: Size) -> float:
    del size
    one, other = (classes_of_values(patch_values(each)) for each in (first, second))
    return share_alike(one, other)


def classes_of_values(values: Outputs) -> Classes:
    """Return the class of each patch: of equal values the lowest, as a chip's arg-max has it."""
    found: Classes = values.argmax(axis=-1)
    return found


def _masks_of(labels: NDArray[np.int64], dataset: Dataset) -> list[Path]:
    masks: Masks = dataset.truth
    return [masks.paths[label] for label in labels.tolist()]


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
                    "true": _true_classes(label, real.shape[1], dataset),
                    "float": real[place_of[label]].tolist(),
                    "integer": integer[place_of[label]].tolist(),
                },
            )
            for label in (*spread, *most)
        ]
    )


def _true_classes(label: int, side: int, dataset: Dataset) -> list[list[int | None]]:
    """Return the true class of each patch of an image; None where all its pixels are ignored."""
    found = classes_of_patches(read_mask(dataset.truth.paths[label]), side, dataset.classes)
    return [[None if each == NO_CLASS else each for each in row] for row in found.tolist()]


def confusions(
    found: Mapping[str, Classes], masks: Sequence[Path], classes: int
) -> dict[str, Classes]:
    """Return by engine how many pixels of a true class (row) got which class (column).

    Parameters
    ----------
    found
        class of each patch, [images, side, side]; every pixel of a mask has that of its patch
    masks
        of the images, in order; each is decoded once for all engines

    Returns
    -------
    dict
        tables [classes, classes]
    """
    counts = {engine: np.zeros(classes * classes, np.int64) for engine in found}
    for place, path in enumerate(masks):
        truth = read_mask(path).astype(np.int64)
        kept = truth != IGNORED
        for engine, patches in found.items():
            pairs = truth * classes + upsampled(patches[place], truth.shape)
            counts[engine] += np.bincount(pairs[kept], minlength=classes * classes)
    return {engine: table.reshape(classes, classes) for engine, table in counts.items()}


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
    """Return the arg-max of every patch's classes, of real values: each class has its own scale.

    The counts are those of :mod:`aocq.tasks.segmentation_reference`.
    """
    grid = grid_of(shape)
    if grid is None:
        raise InputError(f"the network {_no_classes(shape)}")
    tokens, classes = grid.side * grid.side, shape[-1]
    work = HostWork(
        name="choose classes", operations=tokens * (classes - 1), functions=tokens * classes
    )
    return (work,)


TASK = Task(
    name="segmentation",
    scores=(
        Score(key="miou", title="mIoU"),
        Score(key="pixel_accuracy", title="pixel accuracy"),
    ),
    alike="same class",
    shares_of="patches",
    read=_read,
    images=_images,
    check_images=_check_images,
    check=_check,
    judge=_judge,
    judge_one=_scores,
    agreement=_agreement,
    preprocessing=WHOLE_IMAGE,
    host_work=_host_work,
)
