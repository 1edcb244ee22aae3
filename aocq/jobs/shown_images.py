# SPDX-License-Identifier: Apache-2.0
"""Pictures of the images that a report shows: the pixels that the network sees."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from PIL import Image

from aocq.data.image_folder import LabelledImage
from aocq.data.pixels import read_pixels
from aocq.records.shown_images import ShownImage, ShownImages
from aocq.tasks.task import Chosen

LARGEST_PNG = 16_384  # bytes; a picture that takes more is kept as JPEG
JPEG_QUALITY = 90

MediaType = Literal["image/png", "image/jpeg"]


def shown_images(
    chosen: Chosen | None,
    images: Sequence[LabelledImage],
    preprocessing: Mapping[str, Any],
    among: int,
) -> ShownImages | None:
    """Return chosen images with their pictures; None where the task shows none.

    Parameters
    ----------
    images
        of the folder, with the labels that ``chosen`` names
    preprocessing
        of the network, complete
    among
        number of images that were judged

    Raises
    ------
    BadImageError
        If a file was damaged since it was judged.
    """
    if chosen is None:
        return None
    path_of = {image.label: image.path for image in images}
    shown = []
    for each in chosen.images:
        path = path_of[each.label]
        picture = seen(read_pixels(path, preprocessing), preprocessing)
        media_type, content = encoded(picture)
        shown.append(
            ShownImage(
                name=readable_name(path.name),
                differs=each.differs,
                width=picture.width,
                height=picture.height,
                media_type=media_type,
                content=base64.b64encode(content).decode("ascii"),
                **{f"{name}_boxes": list(found) for name, found in each.boxes.items()},
                **{
                    f"{name}_classes": list(map(list, found))
                    for name, found in each.classes.items()
                },
            )
        )
    return ShownImages(least_score=chosen.least_score, among=among, images=shown)


def seen(pixels: Any, preprocessing: Mapping[str, Any]) -> Image.Image:
    """Return preprocessed pixels, float32 [channels, height, width], as an image of 8 bits."""
    mean, std = (np.array(preprocessing[key]).reshape(-1, 1, 1) for key in ("mean", "std"))
    levels = np.clip(np.rint((pixels * std + mean) * 255), 0, 255).astype(np.uint8)
    planes = levels.transpose(1, 2, 0)
    return Image.fromarray(planes[:, :, 0] if planes.shape[2] == 1 else planes)


def encoded(picture: Image.Image) -> tuple[MediaType, bytes]:
    """Return a picture as a file: PNG, or JPEG where that would take many bytes."""
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    if buffer.tell() <= LARGEST_PNG:
        return "image/png", buffer.getvalue()
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=JPEG_QUALITY)
    return "image/jpeg", buffer.getvalue()


def readable_name(name: str) -> str:
    """Return a file's name as a record can hold it."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(letter if letter.isprintable() else "?" for letter in text)
