# SPDX-License-Identifier: Apache-2.0
"""A color for each class, the same in all pictures of a page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TypeVar
from zlib import crc32

from aocq.records.shown_images import ShownImage
from reports.palette import SERIES

Class = TypeVar("Class", int, str)
LONGEST_NUMBER = 9  # digits of a name that is read as a class's number


def of_names(images: Iterable[ShownImage]) -> dict[str, str]:
    """Return a color for each name of the classes that boxes on images have."""
    names = {
        box.name
        for image in images
        for box in (*image.true_boxes, *image.float_boxes, *image.integer_boxes)
    }
    return _colors({name: _number(name) for name in names})


def of_numbers(images: Iterable[ShownImage]) -> dict[int, str]:
    """Return a color for each number of the classes that patches of images have."""
    numbers = {
        number
        for image in images
        for found in (image.true_classes, image.float_classes, image.integer_classes)
        for row in found
        for number in row
        if number is not None
    }
    return _colors({number: number for number in numbers})


def _number(name: str) -> int:
    """Return where a name's color is looked for first, which no other name changes."""
    if name.isascii() and name.isdigit() and len(name) <= LONGEST_NUMBER:
        return int(name)
    return crc32(name.encode("utf-8", "surrogatepass"))


def _colors(wanted: Mapping[Class, int]) -> dict[Class, str]:
    """Return a color for each class: that of its number, or the next one that fewer have."""
    used: Counter[int] = Counter()
    colors = {}
    for each in sorted(wanted, key=lambda one: (wanted[one], one)):
        places = [(wanted[each] + step) % len(SERIES) for step in range(len(SERIES))]
        place = min(places, key=lambda one: used[one])
        used[place] += 1
        colors[each] = SERIES[place][0]
    return colors
