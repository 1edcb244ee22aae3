# SPDX-License-Identifier: Apache-2.0
"""Average precision of detections by pycocotools, the reference of COCO's metric."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from aocq.data.coco import CocoFolder
from aocq.tasks.boxes import Detections
from simulator.errors import EnvironmentProblem

# By key, COCO's places: AP at IoU 0.50 to 0.95, at 0.5, at 0.75.
SUMMARY = {"ap": 0, "ap50": 1, "ap75": 2}


def average_precision(
    found: Mapping[int, Detections], size: tuple[int, int], folder: CocoFolder
) -> dict[str, float]:
    """Return AP, AP50 and AP75 in percent; 0 where no image has a box.

    Parameters
    ----------
    found
        by image id; the metric is that of these images
    size
        height and width in pixels of what the network saw: the whole image, squeezed

    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    results = coco_results(found, size, folder)
    if not results:
        return dict.fromkeys(SUMMARY, 0.0)
    with contextlib.redirect_stdout(io.StringIO()):  # it prints tables
        truth = COCO()
        truth.dataset = _numbered(folder)
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.params.imgIds = sorted(found)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    # -1 where there is nothing to find.
    return {key: max(100 * float(evaluation.stats[place]), 0.0) for key, place in SUMMARY.items()}


def check_installed() -> None:
    """Check that the metric can be computed.

    Raises
    ------
    EnvironmentProblem
        If pycocotools is not installed.
    """
    if find_spec("pycocotools") is None:
        raise EnvironmentProblem(
            "AP is computed by pycocotools, which is not installed: pip install 'aocq[detection]'"
        )


def _numbered(folder: CocoFolder) -> dict[str, Any]:
    """Return the annotations as pycocotools takes them.

    It takes a match with the annotation of id 0 for none, and those of one id for one.
    """
    plain = folder.truth.model_dump(mode="json")
    for number, box in enumerate(plain["annotations"], start=1):
        box["id"] = number
    return plain


def coco_results(
    found: Mapping[int, Detections], size: tuple[int, int], folder: CocoFolder
) -> list[dict[str, Any]]:
    """Return detections in COCO's form, boxes in pixels of the images themselves."""
    images = {image.id: image for image in folder.truth.images}
    ids = [category.id for category in folder.categories]
    results: list[dict[str, Any]] = []
    for image_id, each in found.items():
        image = images[image_id]
        factors: Sequence[float] = [image.width / size[1], image.height / size[0]] * 2
        corners = (each.boxes * factors).tolist()
        for (left, top, right, bottom), score, number in zip(
            corners, each.scores.tolist(), each.classes.tolist(), strict=True
        ):
            results.append(
                {
                    "image_id": image_id,
                    "category_id": ids[number],
                    "bbox": [left, top, right - left, bottom - top],
                    "score": score,
                }
            )
    return results
