# SPDX-License-Identifier: Apache-2.0
"""A first look at a folder of images, without torch: that it is one, and its files are whole.

A damaged image among the evaluated ones would otherwise come to light after the quantization.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from types import MappingProxyType

from aocq.data.image_folder import SUFFIXES
from simulator.errors import InputError

LISTED = 100_000  # files; of a larger folder that is all that is seen
LOOKED_AT = 2_000  # files, which take a quarter of a second
# The last bytes of whole files, by Pillow's names of formats.
ENDS: Mapping[str, bytes] = MappingProxyType(
    {"GIF": b";", "JPEG": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82"}
)


def check_image_folder(folder: Path, option: str) -> None:
    """Check that a folder has subfolders, one per class, and an image in them.

    Names of classes are not judged: how many there are takes the network to know.

    Parameters
    ----------
    option
        the one that named the folder

    Raises
    ------
    InputError
        If it has not.
    """
    if not folder.is_dir():
        what = "is no folder" if folder.exists() else "no such folder"
        raise InputError(f"{folder}: {what}; {option} wants a folder with one subfolder per class")
    if not (subfolders := class_folders(folder)):
        raise InputError(
            f"{folder}: has no subfolders; wanted one per class, e.g. {folder}/n01440764/"
        )
    listed = list(islice(_names(subfolders), LISTED))
    if len(listed) < LISTED and not any(map(_is_named_as_image, listed)):
        raise InputError(
            f"{folder}: {len(subfolders)} class folders but no image in them "
            f"({', '.join(sorted(SUFFIXES))})"
        )


def check_whole(folder: Path, count: int | None) -> None:
    """Check that images can be decoded, as far as the two ends of their files tell.

    Of more than :data:`LOOKED_AT` images so many are looked at, spread over all; in a folder of
    :data:`LISTED` files none.

    Parameters
    ----------
    count
        how many images of the folder will be taken, spread over all; None: all

    Raises
    ------
    InputError
        If one of them cannot be decoded. A file is decoded before it is refused.
    """
    subfolders = class_folders(folder)
    if len(list(islice(_names(subfolders), LISTED))) == LISTED:
        return
    images = [
        path
        for subfolder in subfolders
        for path in sorted(subfolder.rglob("*"))
        if _is_named_as_image(path.name)
    ]
    for path in _spread(_spread(images, count), LOOKED_AT):
        if path.is_file():
            _check_file(path)


def class_folders(folder: Path) -> list[Path]:
    """Return the subfolders that are classes, by name."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")


def _names(subfolders: Sequence[Path]) -> Iterator[str]:
    """Yield the names of folders and files, as the file system lists them."""
    for subfolder in subfolders:
        for _, folders, files in os.walk(subfolder):
            yield from folders
            yield from files


def _is_named_as_image(name: str) -> bool:
    return Path(name).suffix.lower() in SUFFIXES


def _spread(images: Sequence[Path], count: int | None) -> Sequence[Path]:
    """Return ``count`` images, the ones that :func:`aocq.data.loader.evenly` takes."""
    if count is None or count >= len(images):
        return images
    return [images[index * len(images) // count] for index in range(count)]


def _check_file(path: Path) -> None:
    """Decode a file whose ends are not those of a whole one; InputError if that fails."""
    from PIL import Image

    try:
        with Image.open(path) as image, path.open("rb") as file:
            end = ENDS.get(image.format or "", b"")
            file.seek(-len(end), os.SEEK_END)
            if file.read() != end:
                image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(
            f"{path}: cannot be decoded ({error}); replace it, or pass --skip-bad-images to leave "
            "such files out and count them"
        ) from error
