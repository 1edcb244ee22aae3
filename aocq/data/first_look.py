# SPDX-License-Identifier: Apache-2.0
"""A first look at a folder of images, without torch: that it is one, and its files are whole.

A damaged image among the evaluated ones would otherwise come to light after the quantization.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from types import MappingProxyType

from aocq.data.image_folder import class_folders, class_labels, evenly, list_images

LISTED = 100_000  # files; a larger folder is not walked to its end
LOOKED_AT = 2_000  # files, which take a quarter of a second
# The last bytes of whole files, by Pillow's names of formats.
ENDS: Mapping[str, bytes] = MappingProxyType(
    {"GIF": b";", "JPEG": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82"}
)


def check_image_folder(folder: Path, option: str, classes: int | None = None) -> list[Path]:
    """Check that a folder has subfolders, one per class, and an image in them; return all images.

    Of a folder with more than :data:`LISTED` files only the subfolders are looked for, and nothing
    is returned.

    Parameters
    ----------
    option
        the one that named the folder
    classes
        how many the network tells apart, where that is known: then names of subfolders are judged

    Raises
    ------
    InputError
        See :func:`aocq.data.image_folder.read_image_folder`.
    """
    subfolders, _ = class_folders(folder, option)
    if len(list(islice(_names(subfolders), LISTED))) == LISTED:
        return []
    found = list_images(folder, option).images
    if classes is not None:
        class_labels(folder, found, classes)
    return [path for images in found.values() for path in images]


def check_whole(images: Sequence[Path], count: int | None) -> None:
    """Check that images can be decoded, as far as the two ends of their files tell.

    Of more than :data:`LOOKED_AT` images so many are looked at, spread over all.

    Parameters
    ----------
    count
        how many of the images will be taken, spread over all; None: all

    Raises
    ------
    InputError
        If one of them cannot be decoded. A file is decoded before it is refused.
    """
    from aocq.data.decoding import open_image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of odd EXIF and large images
        for path in evenly(evenly(images, count), LOOKED_AT):
            if not _has_both_ends(path):
                open_image(path)


def _names(subfolders: Sequence[Path]) -> Iterator[str]:
    """Yield the names of folders and files, as the file system lists them."""
    for subfolder in subfolders:
        for _, folders, files in os.walk(subfolder):
            yield from folders
            yield from files


def _has_both_ends(path: Path) -> bool:
    """Return whether a file begins and ends as one that can be decoded."""
    from PIL import Image

    from aocq.data.decoding import FORMATS, REFUSED

    try:
        with Image.open(path, formats=FORMATS) as image, path.open("rb") as file:
            end = ENDS.get(image.format or "", b"")
            file.seek(-len(end), os.SEEK_END)
            return image.mode not in REFUSED and file.read() == end
    except Exception:  # of a damaged file, Pillow's plugins raise whatever comes
        return False
