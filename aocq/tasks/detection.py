# SPDX-License-Identifier: Apache-2.0
"""Detection by a dense head: classes, centerness and a box of every patch token, judged by AP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aocq.data.coco import CocoFolder, read_coco_folder
from aocq.data.decoding import size_of
from aocq.data.image_folder import LabelledImage
from aocq.records.accuracy import Agreement, Score
from aocq.records.shown_images import ShownBox
from aocq.tasks.box_work import box_work
from aocq.tasks.boxes import BOX_VALUES, Detections, detections, matched
from aocq.tasks.coco_scores import average_precision, check_installed
from aocq.tasks.metrics import sqnr_of_pairs
from aocq.tasks.patch_grid import (
    WHOLE_IMAGE,
    check_whole_image,
    grid_of,
    is_dense,
    patch_values,
)
from aocq.tasks.shown_boxes import chosen_images, found_boxes
from aocq.tasks.task import Chosen, Dataset, Judgement, Note, Outputs, Size, Task
from simulator.cost.host_work import HostWork
from simulator.errors import InputError

# Detections that count where two networks are compared: what a picture would show.
SHOWN_SCORE = 0.3
SAME_BOX = 0.9  # intersection over union, at least, of what counts as the same box
# What a detection of one network is looked for among in the other: it may be a little less sure.
NEARLY_SHOWN_SCORE = SHOWN_SCORE / 2


def _read(folder: Path, outputs: int, note: Note) -> Dataset:
    """List the images of COCO's annotations; the label of each is its id."""
    del note
    check_installed()
    found = read_coco_folder(folder)
    classes = len(found.truth.categories)
    if outputs != classes + BOX_VALUES:
        raise InputError(
            f"{folder}: has {classes} categories, for which a dense head yields "
            f"{classes + BOX_VALUES} values a token (classes, centerness, four distances), but the "
            f"network yields {outputs}; pass --num-classes {classes + BOX_VALUES}"
        )
    return Dataset(images=found.images, classes=classes, truth=found, digest=found.digest)


def _check(name: str, shape: tuple[int, ...], preprocessing: Mapping[str, Any]) -> None:
    if not is_dense(shape, preprocessing) or shape[-1] <= BOX_VALUES:
        raise InputError(f"{name}: {_no_dense_head(shape)}")
    check_whole_image(name, preprocessing, "boxes")


def _no_dense_head(shape: tuple[int, ...]) -> str:
    return (
        f"yields {' x '.join(map(str, shape))} values for an image, but detection wants classes, "
        "centerness and four distances of every patch of a square: --model-kwargs global_pool= "
        "with --num-classes CLASSES+5"
    )


def _judge(
    outputs: Mapping[str, Outputs], labels: NDArray[np.int64], dataset: Dataset, size: Size
) -> Judgement:
    folder: CocoFolder = dataset.truth
    _check_boxes(folder, labels.tolist())
    values = {engine: patch_values(each) for engine, each in outputs.items()}
    found = {engine: _found(each, labels, size) for engine, each in outputs.items()}
    return Judgement(
        scores={engine: average_precision(each, size, folder) for engine, each in found.items()},
        agreement=Agreement(
            integer_float=share_matched(found["float"], found["integer"]),
            integer_simulated=share_matched(found["simulated"], found["integer"]),
        ),
        sqnr=sqnr_of_pairs(values),
        chosen=_chosen(found, folder, size),
    )


def _scores(
    outputs: Outputs, labels: NDArray[np.int64], dataset: Dataset, size: Size
) -> dict[str, float]:
    _check_boxes(dataset.truth, labels.tolist())
    return average_precision(_found(outputs, labels, size), size, dataset.truth)


def _agreement(first: Outputs, second: Outputs, size: Size) -> float:
    labels = np.arange(len(first))
    return share_matched(*(_found(each, labels, size) for each in (first, second)))


def _found(outputs: Outputs, labels: NDArray[np.int64], size: Size) -> dict[int, Detections]:
    values = patch_values(outputs)
    return found_in(values, labels, patch_of(values, size))


def _check_images(dataset: Dataset, chosen: Sequence[LabelledImage]) -> None:
    """Check that there is a box to judge by, and that boxes are in pixels of the files."""
    _check_boxes(dataset.truth, [image.label for image in chosen])
    said = {image.id: (image.width, image.height) for image in dataset.truth.truth.images}
    for image in chosen:
        size = size_of(image.path)
        if size is not None and size != said.get(image.label, size):
            (width, height), (own_width, own_height) = said[image.label], size
            raise InputError(
                f"{dataset.truth.path}: {image.path.name} is said to have {width} x {height} "
                f"pixels, but the file has {own_width} x {own_height}; boxes are in pixels of the "
                "file: correct width and height, and the boxes with them"
            )


def _check_boxes(folder: CocoFolder, labels: Sequence[int]) -> None:
    if {box.image_id for box in folder.truth.annotations}.isdisjoint(labels):
        raise InputError(
            f"{folder.path}: none of the {len(labels)} images to evaluate has a box, so that there "
            "is nothing to find; raise --limit, or name another folder with --data"
        )


def _chosen(
    found: Mapping[str, Mapping[int, Detections]], folder: CocoFolder, size: Size
) -> Chosen:
    """Return the images to show, with the boxes that count where networks are compared."""
    real, integer = (
        {label: above(each, SHOWN_SCORE) for label, each in found[engine].items()}
        for engine in ("float", "integer")
    )
    images = chosen_images(real, integer, folder, size)
    return Chosen(images=images, least_score=SHOWN_SCORE)


def _boxes(output: Outputs, size: Size) -> list[ShownBox]:
    """Return the boxes of one image that count where networks are compared."""
    values = patch_values(output[None])
    (found,) = found_in(values, np.zeros(1, np.int64), patch_of(values, size)).values()
    names = [f"class {number}" for number in range(output.shape[-1] - BOX_VALUES)]
    return found_boxes(above(found, SHOWN_SCORE), names)


def patch_of(values: Outputs, size: Size) -> int:
    """Return pixels along a side of a patch: of an image's size, by the number of patches."""
    side: int = values.shape[1]
    return size[0] // side


def _host_work(shape: tuple[int, ...]) -> tuple[HostWork, ...]:
    grid = grid_of(shape)
    if grid is None or shape[-1] <= BOX_VALUES:
        raise InputError(f"the network {_no_dense_head(shape)}")
    return box_work(grid.side * grid.side, shape[-1] - BOX_VALUES)


def found_in(values: Outputs, labels: NDArray[np.int64], patch: int) -> dict[int, Detections]:
    """Return the detections of each image, by its id; see :func:`aocq.tasks.boxes.detections`."""
    return {
        int(label): detections(image, patch) for label, image in zip(labels, values, strict=True)
    }


def share_matched(reference: Mapping[int, Detections], other: Mapping[int, Detections]) -> float:
    """Return how much of the shown reference detections the other network has, in percent.

    If none is shown, it has all of them where it shows none either.
    """
    total = same = others = 0
    for label, found in reference.items():
        shown, nearly = above(found, SHOWN_SCORE), above(other[label], NEARLY_SHOWN_SCORE)
        total += len(shown.scores)
        same += matched(shown, nearly, SAME_BOX)
        others += len(above(other[label], SHOWN_SCORE).scores)
    return 100 * same / total if total else 100.0 * (not others)


def above(found: Detections, score: float) -> Detections:
    """Return the detections with at least a score."""
    kept = found.scores >= score
    return Detections(
        *(getattr(found, name)[kept] for name in ("boxes", "scores", "classes", "tokens"))
    )


TASK = Task(
    name="detection",
    scores=(
        Score(key="ap", title="AP"),
        Score(key="ap50", title="AP50"),
        Score(key="ap75", title="AP75"),
    ),
    alike="same detections",
    shares_of="detections",
    read=_read,
    check_images=_check_images,
    check=_check,
    judge=_judge,
    judge_one=_scores,
    agreement=_agreement,
    preprocessing=WHOLE_IMAGE,
    host_work=_host_work,
    values_behind_classes=BOX_VALUES,
    boxes=_boxes,
)
