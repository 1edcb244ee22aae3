# SPDX-License-Identifier: Apache-2.0
"""Class names of folders; see :mod:`aocq.data.image_folder` for the ways to write them."""

from __future__ import annotations

import csv
import difflib
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from simulator.errors import InputError

# A network of 1,000 classes is taken for ImageNet's: its folders are never ordered by alphabet.
IMAGENET_CLASSES = 1000
SHOWN = 3


class Way(NamedTuple):
    """A way to read names: what one of them is called, and its number, None of any other."""

    called: tuple[str, str]  # one, several
    number: Callable[[str], int | None]


def class_numbers(
    names: Sequence[str], classes: int, folder: Path, empty: Sequence[str] = ()
) -> dict[str, int]:
    """Map the names of class folders to class numbers.

    Parameters
    ----------
    empty
        names of folders without images, which count as none

    Raises
    ------
    InputError
        If no way fits all names.
    """
    ways = _ways(classes)
    for way in ways:
        numbers = {name: number for name in names if (number := way.number(name)) is not None}
        if len(numbers) == len(names):
            return numbers
    # One that is a number, in range or counted from 1, says that the others should be, too.
    numeric = any(_means_number(name) for name in names)
    if len(names) == classes and classes != IMAGENET_CLASSES and not numeric:
        return {name: number for number, name in enumerate(sorted(names))}
    raise InputError(_no_way(names, classes, folder, empty, ways))


def _means_number(name: str) -> bool:
    """Return whether a name is a whole number, however it is written: ``07``, ``⁴``, ``+4``."""
    return name.strip().lstrip("+-").isdigit()


def is_alphabetical(names: Sequence[str], classes: int) -> bool:
    """Return whether :func:`class_numbers` numbers these names by their order alone."""
    return not any(all(way.number(name) is not None for name in names) for way in _ways(classes))


def _ways(classes: int) -> list[Way]:
    numbers = Way(
        ("a class number", "class numbers"),
        lambda name: int(name) if name.isdecimal() and int(name) < classes else None,
    )
    if classes != IMAGENET_CLASSES:
        return [numbers]
    known = imagenet_class_numbers()
    called = ("a WordNet id or class name", "WordNet ids or class names")
    imagenet = Way(
        (f"{called[0]} of ImageNet", f"{called[1]} of ImageNet"),
        lambda name: known.get(_plain(name)),
    )
    return [imagenet, numbers]


def _no_way(
    names: Sequence[str],
    classes: int,
    folder: Path,
    empty: Sequence[str],
    ways: Sequence[Way],
) -> str:
    """Return what to say of names, of which the fewest that could be at fault are shown."""
    unknown = {way: [name for name in names if way.number(name) is None] for way in ways}
    way = min(ways, key=lambda way: len(unknown[way]))
    strangers = unknown[way]
    if len(strangers) == len(names):
        which = f"their names ({shown(strangers)}) are not {way.called[1]}"
    elif len(strangers) == 1:
        which = f"one of their names ({shown(strangers)}) is not {way.called[0]}"
    else:
        which = f"{len(strangers)} of their names ({shown(strangers)}) are not {way.called[1]}"
    without = f" ({len(empty)} more without images: {shown(empty)})" if empty else ""
    return (
        f"{folder}: {len(names)} class folders{without} for a network of {classes} classes, and "
        f"{which}{_range(strangers, classes)}{_nearest_class(strangers[0], classes)}; rename "
        f"{'it' if len(strangers) == 1 else 'them'}; a network of another class count is quantized "
        "with --num-classes"
    )


def shown(names: Sequence[str]) -> str:
    """Return the first few of ``names``, in words."""
    return ", ".join(names[:SHOWN]) + (" …" if len(names) > SHOWN else "")


def _range(strangers: Sequence[str], classes: int) -> str:
    numbers = classes != IMAGENET_CLASSES and any(name.isdecimal() for name in strangers)
    return f" from 0 to {classes - 1}" if numbers else ""


def _nearest_class(stranger: str, classes: int) -> str:
    if classes != IMAGENET_CLASSES:
        return ""
    near = difflib.get_close_matches(_plain(stranger), imagenet_class_numbers(), n=1)
    return f" (unknown: {stranger}" + (f", did you mean {near[0]}?)" if near else ")")


@cache
def imagenet_class_numbers() -> Mapping[str, int]:
    """Return class numbers of ImageNet-1k by WordNet id and by each of their names.

    Raises
    ------
    ModuleNotFoundError
        If timm, whose files have the names, is not installed.
    """
    numbers: dict[str, int] = {}
    shared: set[str] = set()  # names that mean two classes ("crane") mean none
    for number, (synset, names) in enumerate(_imagenet_synsets()):
        numbers[synset] = number
        for name in names.split(","):
            plain = _plain(name)
            if numbers.get(plain, number) != number:
                shared.add(plain)
            numbers[plain] = number
    return MappingProxyType(
        {name: number for name, number in numbers.items() if name not in shared}
    )


def class_title(number: int, classes: int) -> str:
    """Return what to call a class: its number, and in a network of ImageNet's classes its name."""
    if classes != IMAGENET_CLASSES:
        return str(number)
    return f"{number} {_imagenet_synsets()[number][1].partition(',')[0]}"


@cache
def _imagenet_synsets() -> list[tuple[str, str]]:
    """Return WordNet id and names of every class, in the order of the classes.

    timm's files are read where they lie: to import timm takes seconds. A timm that has them
    elsewhere is asked.
    """
    spec = find_spec("timm")
    for place in (spec.submodule_search_locations if spec else None) or []:
        folder = Path(place) / "data" / "_info"
        try:
            lemmas = (folder / "imagenet_synset_to_lemma.txt").read_text(encoding="utf-8")
            synsets = (folder / "imagenet_synsets.txt").read_text(encoding="utf-8").splitlines()
            names = dict(csv.reader(lemmas.splitlines(), delimiter="\t"))
            return [(synset, names[synset]) for synset in synsets]
        except (KeyError, OSError, ValueError):
            pass
    return _synsets_by_timm()


def _synsets_by_timm() -> list[tuple[str, str]]:
    from aocq.zoo.torchvision_compat import declare_missing_operators

    declare_missing_operators()  # must come before timm, whose import may fail without it
    from timm.data import ImageNetInfo

    info = ImageNetInfo()
    return [(synset, info.label_name_to_description(synset)) for synset in info.label_names()]


def _plain(name: str) -> str:
    return name.strip().lower().replace("_", " ").replace("-", " ")
