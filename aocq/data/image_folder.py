# SPDX-License-Identifier: Apache-2.0
"""A folder of images, one subfolder per class, and what number each class has.

Subfolders are never numbered by position, because a folder that lacks some classes would then get
wrong numbers. They are mapped by what their names say: WordNet ids (``n01440764``), ImageNet class
names (``tench``), class numbers (``0`` … ``9``), or, where there are exactly as many subfolders as
the network has classes, their alphabetical order.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from simulator.errors import InputError

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
# A network of 1,000 classes is taken for ImageNet's: its folders are never ordered by alphabet.
IMAGENET_CLASSES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledImage:
    """A file and the number of its class."""

    path: Path
    label: int


def read_image_folder(folder: Path, classes: int) -> list[LabelledImage]:
    """List the images of ``folder``, sorted by class folder and name.

    Parameters
    ----------
    classes
        how many classes the network tells apart

    Raises
    ------
    InputError
        If the folder does not exist, holds no images, or its subfolders map to no classes.
    """
    if not folder.is_dir():
        raise InputError(
            f"{folder}: no such folder; --data wants a folder with one subfolder per class"
        )
    subfolders = sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")
    if not subfolders:
        raise InputError(
            f"{folder}: has no subfolders; wanted one per class, e.g. {folder}/n01440764/"
        )
    labels = class_numbers([path.name for path in subfolders], classes, folder)
    images = [
        LabelledImage(path=path, label=labels[subfolder.name])
        for subfolder in subfolders
        for path in sorted(subfolder.rglob("*"))
        if path.suffix.lower() in SUFFIXES
    ]
    if not images:
        raise InputError(
            f"{folder}: {len(subfolders)} class folders but no image in them "
            f"({', '.join(sorted(SUFFIXES))})"
        )
    return images


def class_numbers(names: Sequence[str], classes: int, folder: Path) -> dict[str, int]:
    """Map the names of class folders to class numbers; see the module's text for the ways.

    Raises
    ------
    InputError
        If no way fits all names.
    """
    for numbers in (_by_number(names, classes), _by_imagenet(names, classes)):
        if numbers is not None:
            return numbers
    numeric = all(name.isdecimal() for name in names)  # but out of range: counted from 1?
    if len(names) == classes and classes != IMAGENET_CLASSES and not numeric:
        return {name: number for number, name in enumerate(sorted(names))}
    hint = (
        "WordNet ids or class names of ImageNet" if classes == IMAGENET_CLASSES else "class numbers"
    )
    raise InputError(
        f"{folder}: {len(names)} class folders for a network of {classes} classes, and their names "
        f"({', '.join(list(names)[:3])}{' …' if len(names) > 3 else ''}) are not {hint}"
        + _nearest_class(names, classes)
        + "; rename them, or pass --num-classes if the network has another class count"
    )


def _by_number(names: Sequence[str], classes: int) -> dict[str, int] | None:
    if not all(name.isdecimal() and int(name) < classes for name in names):
        return None
    return {name: int(name) for name in names}


def _by_imagenet(names: Sequence[str], classes: int) -> dict[str, int] | None:
    if classes != IMAGENET_CLASSES:
        return None
    numbers = imagenet_class_numbers()
    known = {name: numbers.get(_plain(name)) for name in names}
    if any(number is None for number in known.values()):
        return None
    return {name: number for name, number in known.items() if number is not None}


def imagenet_class_numbers() -> dict[str, int]:
    """Return class numbers of ImageNet-1k by WordNet id and by each of their names."""
    from aocq.torchvision_compat import declare_missing_operators

    declare_missing_operators()  # must come before timm, whose import may fail without it
    from timm.data import ImageNetInfo

    info = ImageNetInfo()
    numbers: dict[str, int] = {}
    shared: set[str] = set()  # names that mean two classes ("crane") mean none
    for number, synset in enumerate(info.label_names()):
        numbers[synset] = number
        for name in info.label_name_to_description(synset, detailed=False).split(","):
            plain = _plain(name)
            if numbers.get(plain, number) != number:
                shared.add(plain)
            numbers[plain] = number
    return {name: number for name, number in numbers.items() if name not in shared}


def _plain(name: str) -> str:
    return name.strip().lower().replace("_", " ").replace("-", " ")


def _nearest_class(names: Sequence[str], classes: int) -> str:
    if classes != IMAGENET_CLASSES:
        return ""
    numbers = imagenet_class_numbers()
    for name in names:
        if _plain(name) not in numbers:
            near = difflib.get_close_matches(_plain(name), numbers, n=1)
            return f" (unknown: {name}" + (f", did you mean {near[0]}?)" if near else ")")
    return ""
