# SPDX-License-Identifier: Apache-2.0
"""Which images of a detector's run its report shows, and the boxes in them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from aocq.data.coco import CocoFolder
from aocq.records.shown_images import ShownBox
from aocq.tasks.boxes import Detections, overlaps
from aocq.tasks.chosen import spread_and_different
from aocq.tasks.task import ChosenImage, Size


def chosen_images(
    real: Mapping[int, Detections],
    integer: Mapping[int, Detections],
    folder: CocoFolder,
    size: Size,
) -> list[ChosenImage]:
    """Return images spread evenly over all, then those in which the networks differ most.

    Parameters
    ----------
    real, integer
        what the float and the integer network show, by image id, in the order of the images
    folder
        true boxes and names of classes
    size
        height and width in pixels of what the network sees
    """
    spread, most = spread_and_different(
        {label: difference(found, integer[label]) for label, found in real.items()}
    )
    names = [_printable(found.name, found.id) for found in folder.categories]
    return [
        ChosenImage(
            label=label,
            differs=label in most,
            boxes={
                "true": true_boxes(folder, names, label, size),
                "float": found_boxes(real[label], names),
                "integer": found_boxes(integer[label], names),
            },
        )
        for label in (*spread, *most)
    ]


def difference(first: Detections, second: Detections) -> float:
    """Return how much of the boxes of either the other lacks, summed; 0 of equal boxes.

    A box that overlaps the best one of its class in the other by x (intersection over union) lacks
    1 - x.
    """
    if not len(first.scores) or not len(second.scores):
        return float(len(first.scores) + len(second.scores))
    found = overlaps(first.boxes, second.boxes)
    found[first.classes[:, None] != second.classes[None, :]] = 0.0
    return float((1 - found.max(axis=1)).sum() + (1 - found.max(axis=0)).sum())


def true_boxes(folder: CocoFolder, names: Sequence[str], label: int, size: Size) -> list[ShownBox]:
    """Return the annotated boxes of an image in pixels of what the network sees."""
    image = next(found for found in folder.truth.images if found.id == label)
    across, down = size[1] / image.width, size[0] / image.height
    numbers = {found.id: number for number, found in enumerate(folder.categories)}
    return [
        ShownBox(
            name=names[numbers[box.category_id]],
            left=box.bbox[0] * across,
            top=box.bbox[1] * down,
            right=(box.bbox[0] + box.bbox[2]) * across,
            bottom=(box.bbox[1] + box.bbox[3]) * down,
        )
        for box in folder.truth.annotations
        if box.image_id == label
    ]


def found_boxes(found: Detections, names: Sequence[str]) -> list[ShownBox]:
    """Return detections as boxes with the names of their classes, which are by number."""
    return [
        ShownBox(name=names[number], left=left, top=top, right=right, bottom=bottom, score=score)
        for (left, top, right, bottom), score, number in zip(
            np.round(found.boxes, 3).tolist(),
            np.round(found.scores, 6).tolist(),
            found.classes.tolist(),
            strict=True,
        )
    ]


def _printable(name: str, number: int) -> str:
    """Return a category's name as a record can hold it: without control characters, not empty."""
    return re.sub(r"[\x00-\x1f\x7f]", "?", name)[:1000] or f"class {number}"
