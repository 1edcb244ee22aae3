# SPDX-License-Identifier: Apache-2.0
"""What a network makes of single images, a bit for each: two runs on the same images are pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, StringConstraints

from aocq.records.fields import MOST, Record

Bitmap = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{2})*$")]
Outcomes = NDArray[np.bool_]


class ImageOutcomes(Record):
    """Outcomes of the integer network, image by image, in the order of evaluation.

    Each is a text of hexadecimal digits: bytes of eight images, the first in the highest bit; the
    last byte is filled up with zeros.

    images : how many
    right : whether it predicts the true class
    alike : whether it predicts the class that the float network does
    """

    images: Annotated[int, Field(ge=1, le=MOST)]
    right: Bitmap
    alike: Bitmap


def image_outcomes(
    right: Sequence[bool] | Outcomes, alike: Sequence[bool] | Outcomes
) -> ImageOutcomes:
    """Return the record of outcomes; both are of the same images, in order."""
    return ImageOutcomes(images=len(right), right=_written(right), alike=_written(alike))


def outcomes_of(bitmap: str, images: int) -> Outcomes:
    """Return the outcomes that a bitmap holds.

    Raises
    ------
    ValueError
        If it is not of so many images.
    """
    packed = np.frombuffer(bytes.fromhex(bitmap), np.uint8)
    bits = np.unpackbits(packed)
    if len(packed) != -(-images // 8) or bits[images:].any():
        raise ValueError(f"a bitmap of {len(packed)} bytes is not of {images} images")
    found: Outcomes = bits[:images].astype(np.bool_)
    return found


def _written(outcomes: Sequence[bool] | Outcomes) -> str:
    return np.packbits(np.asarray(outcomes, np.bool_)).tobytes().hex()
