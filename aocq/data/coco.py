# SPDX-License-Identifier: Apache-2.0
"""A folder of images with boxes in COCO's form: ``annotations.json`` and the images it names."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePath
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from aocq.data.image_folder import LabelledImage
from simulator.errors import InputError
from simulator.strict_json import loads

ANNOTATIONS = "annotations.json"
IMAGES = "images"  # a folder of them beside it; without, the images stand beside it themselves


class _Part(BaseModel):
    """What COCO's files have more of is left alone."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


Id = Annotated[int, Field(ge=0, le=2**53)]
Length = Annotated[float, Field(ge=0, le=1e9)]
Place = Annotated[float, Field(ge=-1e9, le=1e9)]


class CocoImage(_Part):
    """An image; sizes in pixels."""

    id: Id
    file_name: str = Field(min_length=1)
    width: int = Field(ge=1, le=10**6)
    height: int = Field(ge=1, le=10**6)


class CocoBox(_Part):
    """A box in an image: left, top, width and height in pixels."""

    id: Id
    image_id: Id
    category_id: Id
    bbox: tuple[Place, Place, Length, Length]
    area: Length
    iscrowd: int = 0


class CocoCategory(_Part):
    """A class."""

    id: Id
    name: str


class CocoFile(_Part):
    """The annotations of a folder."""

    images: list[CocoImage]
    annotations: list[CocoBox]
    categories: list[CocoCategory] = Field(min_length=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class CocoFolder:
    """Images and boxes; class numbers are places in ``categories``, in order of their ids.

    ``path`` is the file of the annotations, ``digest`` its sha256.
    """

    path: Path
    images: list[LabelledImage]
    truth: CocoFile
    digest: str

    @property
    def categories(self) -> list[CocoCategory]:
        """The classes in the order of their numbers."""
        return sorted(self.truth.categories, key=lambda found: found.id)


def read_coco_folder(folder: Path) -> CocoFolder:
    """Read the annotations of a folder; the label of an image is its id.

    Raises
    ------
    InputError
        If there are none, they are not COCO's, or they name an image that is elsewhere.
    """
    path = folder / ANNOTATIONS
    if not path.is_file():
        raise InputError(
            f"{folder}: has no {ANNOTATIONS}; --task detection wants COCO annotations there, and "
            f"the images in a folder {IMAGES} or beside them"
        )
    try:
        about = path.stat()
        truth, digest = _read(path, (about.st_ino, about.st_size, about.st_mtime_ns))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    place = folder / IMAGES if (folder / IMAGES).is_dir() else folder
    images = [
        LabelledImage(path=place / image.file_name, label=image.id)
        for image in sorted(truth.images, key=lambda found: found.id)
    ]
    return CocoFolder(path=path, images=images, truth=truth, digest=digest)


@lru_cache(maxsize=2)  # a command looks at its folders before torch is imported, and then again
def _read(path: Path, state: tuple[int, ...]) -> tuple[CocoFile, str]:
    """Return checked annotations and their digest; ``state`` tells a file that was changed."""
    del state
    content = path.read_bytes()
    try:
        truth = CocoFile.model_validate(loads(content))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise InputError(f"{path}: {where}: {first['msg']}") from error
    except ValueError as error:
        raise InputError(f"{path}: is no JSON: {error}") from error
    _check(path, truth)
    _check_names(path, truth)
    return truth, hashlib.sha256(content).hexdigest()


def _check(path: Path, truth: CocoFile) -> None:
    if not truth.images:
        raise InputError(f"{path}: names no images")
    for kind, found in (("image", truth.images), ("category", truth.categories)):
        _check_unique(path, kind, [each.id for each in found])
    known, classes = ({each.id for each in found} for found in (truth.images, truth.categories))
    for box in truth.annotations:
        if box.image_id not in known:
            raise InputError(f"{path}: annotation {box.id}: no image has the id {box.image_id}")
        if box.category_id not in classes:
            raise InputError(f"{path}: annotation {box.id}: no category has id {box.category_id}")


def _check_unique(path: Path, kind: str, ids: list[int]) -> None:
    for found, times in Counter(ids).items():
        if times > 1:
            raise InputError(f"{path}: {kind} id {found} is there {times} times")


def _check_names(path: Path, truth: CocoFile) -> None:
    for image in truth.images:
        name = PurePath(image.file_name)
        if name.is_absolute() or ".." in name.parts:
            raise InputError(f"{path}: {image.file_name}: is an image outside of its folder")
