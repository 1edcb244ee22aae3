# SPDX-License-Identifier: Apache-2.0
"""Images of a run that its report shows, with what was found in them: kept in its record."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from aocq.records.fields import Count, Name, Record

Share = Annotated[float, Field(ge=0, le=1)]
Pixels = Annotated[int, Field(ge=1, le=65_535)]
Place = Annotated[float, Field(ge=-1e9, le=1e9)]
# Of 16 MiB at most: a page holds all of them.
Base64 = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9+/]+={0,2}$", max_length=1 << 24)]


class ShownBox(Record):
    """A box in pixels of the image as the network sees it.

    name : of its class
    score : None of true boxes
    """

    name: Name
    left: Place
    top: Place
    right: Place
    bottom: Place
    score: Share | None = None


class ShownImage(Record):
    """An image as the network sees it, and the boxes in it.

    name : of its file, within the folder of images
    differs : whether it was chosen because float and integer networks differ in it; else it is one
        of those spread evenly over all images
    media_type, content : the picture as a file, in base64
    true_boxes, float_boxes, integer_boxes : those of the annotations, and what the networks found,
        best first
    """

    name: Name
    differs: bool
    width: Pixels
    height: Pixels
    media_type: Literal["image/png", "image/jpeg"]
    content: Base64
    true_boxes: list[ShownBox]
    float_boxes: list[ShownBox]
    integer_boxes: list[ShownBox]


class ShownImages(Record):
    """Images with boxes.

    least_score : that a box must have to be among those found
    among : of how many images they were chosen
    """

    least_score: Share
    among: Count
    images: list[ShownImage]
