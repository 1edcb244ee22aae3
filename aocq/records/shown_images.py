# SPDX-License-Identifier: Apache-2.0
"""Images of a run that its report shows, with boxes or classes of patches: kept in its record."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from aocq.records.fields import Count, Name, Record

# The class of each patch, row by row; true is none of a patch whose pixels are all ignored.
ClassMap = Annotated[list[list[Count]], Field(max_length=1024)]
TrueClassMap = Annotated[list[list[Count | None]], Field(max_length=1024)]
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
    """An image as the network sees it, and what is in it by each network.

    name : of its file, within the folder of images
    differs : whether it was chosen because float and integer networks differ in it; else it is one
        of those spread evenly over all images
    media_type, content : the picture as a file, in base64
    true_boxes, float_boxes, integer_boxes : those of the annotations, and what the networks found,
        best first; empty of other tasks
    true_classes, float_classes, integer_classes : of patches; empty of other tasks
    """

    name: Name
    differs: bool
    width: Pixels
    height: Pixels
    media_type: Literal["image/png", "image/jpeg"]
    content: Base64
    true_boxes: list[ShownBox] = Field(default_factory=list)
    float_boxes: list[ShownBox] = Field(default_factory=list)
    integer_boxes: list[ShownBox] = Field(default_factory=list)
    true_classes: TrueClassMap = Field(default_factory=list)
    float_classes: ClassMap = Field(default_factory=list)
    integer_classes: ClassMap = Field(default_factory=list)

    @model_validator(mode="after")
    def _maps_are_of_the_same_patches(self) -> Self:
        maps = (self.true_classes, self.float_classes, self.integer_classes)
        if len({tuple(map(len, each)) for each in maps}) != 1 or len(set(map(len, maps[0]))) > 1:
            raise ValueError("classes are of different patches")
        return self


class ShownImages(Record):
    """Images with boxes, or with classes of patches.

    least_score : that a box must have to be among those found; None where there are no boxes
    among : of how many images they were chosen
    """

    least_score: Share | None = None
    among: Count
    images: list[ShownImage]
