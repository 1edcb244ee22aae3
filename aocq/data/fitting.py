# SPDX-License-Identifier: Apache-2.0
"""The size that timm's evaluation transform gives an image before it is cropped."""

from __future__ import annotations

from collections.abc import Mapping
from math import floor
from typing import Any

# Very long images become much larger when their shorter side is fitted: 32 million pixels, 128 MB.
LARGEST_FITTED = 2**25


def fitted_size(size: tuple[int, int], preprocessing: Mapping[str, Any]) -> tuple[int, int]:
    """Return width and height of an image of ``size`` after timm's resizing."""
    width, height = size
    _, *sides = preprocessing["input_size"]
    down, across = (floor(side / preprocessing["crop_pct"]) for side in sides)
    mode = preprocessing["crop_mode"]
    if mode == "squash":
        return across, down
    if mode == "center" and down == across:  # torchvision's: the longer side is rounded down
        shorter = min(size)
        return int(down * width / shorter), int(down * height / shorter)
    ratios = height / down, width / across
    ratio = max(ratios) if mode == "border" else min(ratios)
    return round(width / ratio), round(height / ratio)


def check_fitting(size: tuple[int, int], preprocessing: Mapping[str, Any]) -> None:
    """Check that an image can be brought to a network's size.

    Raises
    ------
    ValueError
        If nothing would be left of its shorter side, or its longer side takes too much memory.
    """
    width, height = fitted_size(size, preprocessing)
    if not 0 < width * height <= LARGEST_FITTED:
        raise ValueError(
            f"{size[0]} x {size[1]} pixels would be resized to {width} x {height} for the "
            f"network; wanted 1 to {LARGEST_FITTED:,} of them: crop it"
        )
