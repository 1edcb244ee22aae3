# SPDX-License-Identifier: Apache-2.0
"""A folder of images, one subfolder per class, and what number each class has.

Subfolders are never numbered by position, because a folder that lacks some classes would then get
wrong numbers. They are mapped by what their names say: WordNet ids (``n01440764``), ImageNet class
names (``tench``), class numbers (``0`` … ``9``), or, where there are exactly as many subfolders
with images as the network has classes, their alphabetical order.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from aocq import progress
from aocq.data.class_names import class_numbers, imagenet_class_numbers, is_alphabetical, shown
from aocq.data.entries import entries, files_below, is_folder, what_it_is
from simulator.errors import InputError

__all__ = ["SUFFIXES", "LabelledImage", "class_numbers", "imagenet_class_numbers"]

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledImage:
    """A file and the number of its class."""

    path: Path
    label: int


Item = TypeVar("Item")


def evenly(images: Sequence[Item], count: int | None) -> Sequence[Item]:
    """Return ``count`` images (None: all) spread over the list, as neighbours share a class."""
    if count is None or count >= len(images):
        return images
    return [images[index * len(images) // count] for index in range(count)]


def listing_sha256(folder: Path, images: Sequence[LabelledImage], truth: str = "") -> str:
    """Return a digest of images' places in their folder, class numbers and sizes.

    The same images elsewhere have the same one. A file that cannot be looked at counts as empty:
    decoding reports it.

    Parameters
    ----------
    truth
        a digest of what else is true of the images
    """
    digest = hashlib.sha256(truth.encode())
    for image in images:
        place = Path(os.path.relpath(image.path, folder)).as_posix()
        size = image.path.stat().st_size if image.path.exists() else 0
        digest.update(f"{place}\0{image.label}\0{size}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What is in a folder of images: by class folder, beside these, and what is not taken."""

    images: Mapping[str, Sequence[Path]]
    beside: Sequence[str]
    left_out: Sequence[str]


def read_image_folder(
    folder: Path, classes: int, note: Callable[[str], None] = progress.note
) -> list[LabelledImage]:
    """List the images of ``folder``, sorted by class folder and name.

    Images are regular files, links to such, and links that lead nowhere: those are told when they
    are decoded. What is hidden (``.ipynb_checkpoints``, ``._x.png``) is no image and no class.

    Parameters
    ----------
    classes
        how many classes the network tells apart
    note
        called with a sentence where something that looks like images or a class is left out

    Raises
    ------
    InputError
        If the folder does not exist, holds no images, cannot be read, or its subfolders map to no
        classes.
    """
    listing = list_images(folder)
    found = listing.images
    labels = class_labels(folder, found, classes)
    names = [*labels]
    empty = [name for name in found if name not in labels]
    _tell(folder, listing.beside, empty, listing.left_out, note)
    if is_alphabetical(names, classes):
        order = sorted(names)
        note(
            f"{folder}: class folders are numbered by their alphabetical order: 0 is {order[0]}, "
            f"{len(order) - 1} is {order[-1]}; name them by class number where that is wrong"
        )
    return [LabelledImage(path=path, label=labels[name]) for name in names for path in found[name]]


def class_labels(folder: Path, found: Mapping[str, Sequence[Path]], classes: int) -> dict[str, int]:
    """Return the class numbers of those class folders that have images.

    Raises
    ------
    InputError
        If their names map to no classes.
    """
    names = [name for name, images in found.items() if images]
    empty = [name for name, images in found.items() if not images]
    try:
        numbers = class_numbers(names, classes, folder, empty)
    except InputError as error:
        above = [name for name in names if _has_folders_only(folder / name, found[name])]
        hint = f"; {folder / above[0]} has folders, too: is it the one?" if above else ""
        raise InputError(f"{error}{hint}") from error
    return {name: numbers[name] for name in names}


def _has_folders_only(subfolder: Path, images: Sequence[Path]) -> bool:
    """Return whether all images are in further folders: the classes may be one level below."""
    return all(path.parent != subfolder for path in images)


def list_images(folder: Path, option: str = "--data") -> Listing:
    """List the images of ``folder`` by class folder; what numbers these have is another matter.

    Parameters
    ----------
    option
        the one that named the folder

    Raises
    ------
    InputError
        If the folder does not exist, holds no images, or cannot be read.
    """
    subfolders, beside = class_folders(folder, option)
    left_out: list[str] = []
    found = {subfolder.name: _images(subfolder, folder, left_out) for subfolder in subfolders}
    if not any(found.values()):
        raise InputError(
            f"{folder}: {len(subfolders)} class folders but no image in them "
            f"({', '.join(sorted(SUFFIXES))})"
        )
    return Listing(images=found, beside=beside, left_out=left_out)


def class_folders(folder: Path, option: str = "--data") -> tuple[list[Path], list[str]]:
    """Return the class folders, and names of images beside them; see :func:`list_images`."""
    if not _is_there(folder):
        raise InputError(
            f"{folder}: no such folder; {option} wants a folder with one subfolder per class"
        )
    subfolders, beside = _top(folder)
    if not subfolders:
        raise InputError(
            f"{folder}: has no subfolders; wanted one per class, e.g. {folder}/n01440764/"
            + (f"; put its {len(beside)} images into folders of their classes" if beside else "")
        )
    return subfolders, beside


def _is_there(folder: Path) -> bool:
    try:
        return folder.is_dir()
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror or error})") from error


def _top(folder: Path) -> tuple[list[Path], list[str]]:
    """Return the class folders, and names of images beside them."""
    subfolders, beside = [], []
    for entry in entries(folder, folder):
        if is_folder(entry, folder):
            subfolders.append(Path(entry.path))
        elif Path(entry.name).suffix.lower() in SUFFIXES:
            beside.append(entry.name)
    return subfolders, beside


def _images(subfolder: Path, folder: Path, left_out: list[str]) -> list[Path]:
    images = []
    for path in files_below(subfolder, folder, left_out):
        if path.suffix.lower() not in SUFFIXES:
            continue
        special = _special(path)
        if special is None:
            images.append(path)
        else:
            left_out.append(f"{path.relative_to(folder)} ({special})")
    return sorted(images)


def _special(path: Path) -> str | None:
    """Return what a pipe, socket or device is; None of a file, and of a link that leads nowhere."""
    try:
        kind = what_it_is(path)
        return kind if kind and path.exists() else None
    except OSError:
        return None  # decoding will tell


def _tell(
    folder: Path,
    beside: Sequence[str],
    empty: Sequence[str],
    left_out: Sequence[str],
    note: Callable[[str], None],
) -> None:
    parts = [
        f"{len(beside)} beside the class folders ({shown(beside)})" if beside else "",
        f"folders without images ({shown(empty)})" if empty else "",
        shown(left_out),
    ]
    if any(parts):
        note(f"{folder}: left out: {'; '.join(part for part in parts if part)}")
