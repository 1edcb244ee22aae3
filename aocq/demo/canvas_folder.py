# SPDX-License-Identifier: Apache-2.0
"""The demo's canvases as folders of images, with boxes in COCO's form and a class per pixel."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from aocq.demo.canvases import SIDE, Canvas, canvases, label_map
from aocq.demo.digits import SPLIT_NAMES, SplitName, load_split
from aocq.demo.whole_folder import write_whole_folder

# How many canvases of each selection's digits, and from which seed: not those of training.
COUNTS: Mapping[SplitName, int] = MappingProxyType({"calib": 128, "val": 240})
SEEDS: Mapping[SplitName, int] = MappingProxyType({"calib": 1, "val": 2})
DIGITS = 10


def canvases_of(name: SplitName) -> list[Canvas]:
    """Return the canvases of a selection; the digits of ``val`` were never trained on."""
    return canvases(load_split(name), COUNTS[name], SEEDS[name])


def write_canvas_folder(folder: Path) -> None:
    """Write ``folder/{calib,val}`` with ``annotations.json``, ``images`` and ``masks``.

    Images and masks are 8-bit grayscale PNGs, numbered from 0; a mask has the class of each pixel:
    of a digit's box its digit, of all else 10. Boxes are annotated as COCO does.

    Parameters
    ----------
    folder : Path
        The folder to make, with its parents. It may exist if it is empty or complete.

    Raises
    ------
    FileExistsError
        If ``folder`` is a file, or holds something else than all of the images.
    """

    def write(written: Path) -> None:
        for name in SPLIT_NAMES:
            _write_split(written / name, canvases_of(name))

    files = [Path(name) / relative for name in SPLIT_NAMES for relative in _files(COUNTS[name])]
    write_whole_folder(folder, files, write, "canvases of digits")


def coco_annotations(found: Sequence[Canvas]) -> dict[str, Any]:
    """Return the boxes of canvases in COCO's form; the id of an image is its number."""
    boxes = [
        (number, label, [left, top, right - left, bottom - top])
        for number, each in enumerate(found)
        for (left, top, right, bottom), label in zip(
            each.boxes.tolist(), each.labels.tolist(), strict=True
        )
    ]
    return {
        "images": [
            {"id": number, "file_name": _name(number), "width": SIDE, "height": SIDE}
            for number in range(len(found))
        ],
        "annotations": [
            {
                **{"id": place, "image_id": number, "category_id": label, "bbox": box},
                **{"area": box[2] * box[3], "iscrowd": 0},
            }
            for place, (number, label, box) in enumerate(boxes, start=1)
        ],
        "categories": [{"id": digit, "name": str(digit)} for digit in range(DIGITS)],
    }


def _name(number: int) -> str:
    return f"{number:04d}.png"


def _files(count: int) -> list[Path]:
    """Return where the files of a selection go, relative to its folder."""
    numbered = [Path(kind) / _name(n) for kind in ("images", "masks") for n in range(count)]
    return [Path("annotations.json"), *numbered]


def _write_split(folder: Path, found: Sequence[Canvas]) -> None:
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for number, each in enumerate(found):
        _write(each.pixels, folder / "images" / _name(number))
        _write(label_map(each), folder / "masks" / _name(number))
    text = json.dumps(coco_annotations(found), indent=1)
    (folder / "annotations.json").write_text(text + "\n", encoding="utf-8", newline="\n")


def _write(pixels: NDArray[np.uint8], path: Path) -> None:
    Image.fromarray(pixels).save(path, format="PNG")
