# SPDX-License-Identifier: Apache-2.0
"""timm's evaluation transform of one image without torch: the same float32 numbers.

For commands that run integers and need images only at their beginning. Held equal to timm's, bit by
bit, by tests.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from aocq.data.decoding import bad_image, open_image
from aocq.data.fitting import check_fitting, fitted_size

_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
    "lanczos": Image.Resampling.LANCZOS,
}


def read_pixels(path: Path, preprocessing: Mapping[str, Any]) -> NDArray[np.float32]:
    """Return a file's preprocessed pixels, float32 [channels, height, width].

    Parameters
    ----------
    preprocessing
        a complete configuration of :mod:`simulator.preprocessing`

    Raises
    ------
    BadImageError
        If the file cannot be decoded, or an image of its size not be fitted.
    """
    image = open_image(path, preprocessing["input_size"][0])
    try:
        check_fitting(image.size, preprocessing)
    except ValueError as error:
        raise bad_image(path, str(error)) from error
    return preprocessed(image, preprocessing)


def preprocessed(image: Image.Image, preprocessing: Mapping[str, Any]) -> NDArray[np.float32]:
    """Return what timm's evaluation transform makes of an image of 8 bits per channel."""
    channels, height, width = preprocessing["input_size"]
    fitted = image.resize(
        fitted_size(image.size, preprocessing), _FILTERS[preprocessing["interpolation"]]
    )
    pixels = np.asarray(_cropped(fitted, width, height, preprocessing["mean"]))
    planes = pixels.reshape(height, width, channels).transpose(2, 0, 1).astype(np.float32)
    mean, std = (
        np.array(preprocessing[key], np.float32).reshape(-1, 1, 1) for key in ("mean", "std")
    )
    return (planes / np.float32(255) - mean) / std


def _cropped(image: Image.Image, width: int, height: int, mean: Any) -> Image.Image:
    """Return the middle of an image; where it is smaller, on a ground of the mean color."""
    padded = max(image.width, width), max(image.height, height)
    if padded != image.size:
        color = tuple(round(255 * value) for value in mean)
        ground = Image.new(image.mode, padded, color if len(color) > 1 else color[0])
        ground.paste(image, ((padded[0] - image.width) // 2, (padded[1] - image.height) // 2))
        image = ground
    left = round((image.width - width) / 2.0)
    top = round((image.height - height) / 2.0)
    return image.crop((left, top, left + width, top + height))
