# SPDX-License-Identifier: Apache-2.0
"""Masks: PNG files whose pixels are class numbers, one for each image of a folder."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from simulator.errors import InputError

IMAGES, MASKS = "images", "masks"  # folders; a mask has its image's name, as PNG
IGNORED = 255  # pixels of this class count for nothing
NO_CLASS = -1  # of a patch of which all pixels are ignored
PALETTE, GRAY = "P", ("L", "1", "I", "I;16", "I;16B")  # Pillow's modes
HEADER = 26  # bytes of a PNG up to its bit depth and color type
WIDEST = 8  # bits of a class number

Classes = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Masks:
    """The masks of a folder's images, in order.

    Attributes
    ----------
    labelled
        places of those with a pixel that is not ignored
    digest
        of the classes of all pixels
    """

    folder: Path
    paths: Sequence[Path]
    labelled: frozenset[int]
    digest: str


def read_masks(folder: Path, images: Sequence[Path], classes: int) -> Masks:
    """Return the masks of images, each of which was decoded and checked.

    Raises
    ------
    InputError
        If the folder has none, or one is missing, cannot be read or has a class that is none of
        ``classes``, from 0.
    """
    if not (folder / MASKS).is_dir():
        raise InputError(
            f"{folder}: has no folder {MASKS}; --task segmentation wants images in {IMAGES} "
            f"and, for each, a PNG of the same name in {MASKS} with a class number per pixel"
        )
    paths = [folder / MASKS / f"{image.stem}.png" for image in images]
    digest, labelled = hashlib.sha256(), set()
    for place, path in enumerate(paths):
        there, of_mask = _content(path, _state(path))
        _check_classes(path, there, classes)
        digest.update(of_mask)
        if there:
            labelled.add(place)
    return Masks(
        folder=folder, paths=paths, labelled=frozenset(labelled), digest=digest.hexdigest()
    )


def _state(path: Path) -> tuple[int, ...]:
    """Return what tells a file that was changed; nothing of one that reading will tell of."""
    try:
        about = path.stat()
    except OSError:
        return ()
    return about.st_ino, about.st_size, about.st_mtime_ns


@lru_cache(maxsize=1 << 16)  # a command looks at its folders before torch is imported, and again
def _content(path: Path, state: tuple[int, ...]) -> tuple[frozenset[int], bytes]:
    """Return the classes in a mask, and the digest of its pixels."""
    del state
    pixels = read_mask(path)
    there = frozenset(np.unique(pixels).tolist()) - {IGNORED}
    return there, hashlib.sha256(b"%d %d " % pixels.shape + pixels.tobytes()).digest()


def _check_classes(path: Path, there: frozenset[int], classes: int) -> None:
    strange = sorted(there - {*range(classes)})
    if strange:
        raise InputError(
            f"{path}: has pixels of class {strange[0]}, but the network yields {classes} values, "
            f"classes 0 to {classes - 1} ({IGNORED}: ignored); pass --num-classes, or number the "
            "classes from 0"
        )


def read_mask(path: Path) -> NDArray[np.uint8]:
    """Return the class of each pixel, [height, width].

    Raises
    ------
    InputError
        If the file is missing, no PNG, or has pixels that are no numbers of 8 bits or less.
    """
    try:
        with path.open("rb") as file:
            header = file.read(HEADER)
            file.seek(0)
            with Image.open(file, formats=["PNG"]) as image:
                scale = _scale(path, image.mode, header)
                return np.asarray(image) // np.uint8(scale)
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        reason = getattr(error, "strerror", None) or "it is no whole PNG"
        raise InputError(f"{path}: the mask cannot be read: {reason}") from error


def _scale(path: Path, mode: str, header: bytes) -> int:
    """Return what Pillow multiplies the numbers of a mask by: gray of few bits becomes 0..255."""
    if mode == PALETTE:
        return 1
    if mode not in GRAY:
        raise InputError(
            f"{path}: has pixels of mode {mode}; a mask has one number of 8 bits for each: a PNG "
            "in gray or with a palette"
        )
    bits = int(header[24])  # behind the signature, and IHDR's length, name, width and height
    if bits == 1 or bits > WIDEST:
        raise InputError(
            f"{path}: a mask in gray has 8 bits a pixel (this one has {bits}), a number of a class "
            "each; write it with 8, or with a palette"
        )
    return 255 // ((1 << bits) - 1)


def classes_of_patches(mask: NDArray[np.uint8], side: int, classes: int) -> Classes:
    """Return the class of most pixels of each patch, [side, side]: the lowest of several.

    Ignored pixels count nowhere; a patch without others has :data:`NO_CLASS`.
    """
    rows, columns = (np.arange(extent) * side // extent for extent in mask.shape)
    patch = rows[:, None] * side + columns[None, :]
    kept = mask != IGNORED
    pairs = patch[kept] * classes + mask[kept]
    counts = np.bincount(pairs, minlength=side * side * classes).reshape(side, side, classes)
    found: Classes = np.where(counts.any(axis=-1), counts.argmax(axis=-1), NO_CLASS)
    return found
