# SPDX-License-Identifier: Apache-2.0
"""Views of an image: itself, mirrored, and parts of both, so that few images show more."""

from __future__ import annotations

from random import Random

from PIL import Image, ImageOps

# Sides of a part, as shares of the image's.
SMALLEST, LARGEST = 0.75, 0.95


def view_of(image: Image.Image, number: int, name: str) -> Image.Image:
    """Return a view of an image, the same at every call.

    Parameters
    ----------
    number
        0: the image; 1: mirrored; from 2 on a part of it, mirrored where the number is odd
    name
        of the image's file, by which the part is drawn
    """
    if number > 1:
        random = Random(f"{name} {number}")
        share = random.uniform(SMALLEST, LARGEST)
        width, height = (max(round(side * share), 1) for side in image.size)
        left, top = random.randint(0, image.width - width), random.randint(0, image.height - height)
        image = image.crop((left, top, left + width, top + height))
    return ImageOps.mirror(image) if number % 2 else image
