# SPDX-License-Identifier: Apache-2.0
"""Classes of patches drawn on an image, as SVG that a page takes in: true, float, integer.

A patch has the color of its class; those of the image's commonest class, and those whose pixels are
all ignored, are left clear. Where the integer network has another class than the float one, a patch
is framed in both. What a figure shows is in its label in words, too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from markupsafe import escape

from aocq.records.shown_images import ShownImage
from reports.boxes import GAP, PANEL, picture_definition
from reports.format import count

ClassMap = Sequence[Sequence[int | None]]  # None: no pixel of the patch has a class
TINT = 0.5  # opacity of a class's color
HEAD = 40.0  # above panels, for titles that are read where three panels share a phone's width


def figure_of(image: ShownImage, name: str, colors: Mapping[int, str]) -> str:
    """Return an image's figure: true classes of patches beside those of both networks.

    Parameters
    ----------
    name
        prefix of all ids, so that several figures share a page
    colors
        of all classes by number, of :func:`reports.class_colors.of_numbers`
    """
    height = image.height * PANEL / image.width
    panels = maps_of(image)
    width = len(panels) * (PANEL + GAP) - GAP
    parts = [
        f'<svg class="boxes wide" role="img" aria-label="{escape(in_words(image))}" '
        f'viewBox="0 0 {width:g} {height + HEAD:g}" xmlns="http://www.w3.org/2000/svg">',
        picture_definition(image, f"{name}-image"),
    ]
    for place, (title, found) in enumerate(panels.items()):
        parts += [
            f'<g transform="translate({place * (PANEL + GAP):g} {HEAD:g})">',
            f'<text class="panel" x="0" y="-10">{escape(title.capitalize())}</text>',
            f'<use href="#{name}-image"/>',
            *_tints(found, class_colors(image, colors), height),
            *(_frames(image, height) if title != "true" else ()),
            "</g>",
        ]
    return "\n".join([*parts, "</svg>"])


def maps_of(image: ShownImage) -> dict[str, ClassMap]:
    """Return the maps of an image by the words of their panels."""
    return {
        "true": image.true_classes,
        "float": image.float_classes,
        "integer": image.integer_classes,
    }


def class_colors(image: ShownImage, colors: Mapping[int, str]) -> dict[int, str | None]:
    """Return a color for each class of an image in order; None of the commonest, left clear."""
    counts = sum(map(_counted, maps_of(image).values()), Counter[int]())
    clear = min(counts, key=lambda number: (-counts[number], number))
    return {number: None if number == clear else colors[number] for number in sorted(counts)}


def _counted(found: ClassMap) -> Counter[int]:
    return Counter(number for row in found for number in row if number is not None)


def _tints(found: ClassMap, colors: dict[int, str | None], height: float) -> Iterator[str]:
    for row, numbers in enumerate(found):
        for column, number in enumerate(numbers):
            if number is not None and colors[number] is not None:
                place = _patch(found, row, column, height)
                yield f'<rect {place} fill="{colors[number]}" fill-opacity="{TINT}"/>'


def _frames(image: ShownImage, height: float) -> Iterator[str]:
    for row, column in differing(image):
        place = _patch(image.float_classes, row, column, height)
        yield (
            f'<rect {place} fill="none" stroke="#000" stroke-opacity=".6" stroke-width="5"/>'
            f'<rect {place} fill="none" stroke="#fff" stroke-width="2.2"/>'
        )


def _patch(found: ClassMap, row: int, column: int, height: float) -> str:
    wide, high = PANEL / len(found[row]), height / len(found)
    return f'x="{column * wide:.1f}" y="{row * high:.1f}" width="{wide:.1f}" height="{high:.1f}"'


def differing(image: ShownImage) -> list[tuple[int, int]]:
    """Return row and column of each patch to which the networks give different classes."""
    pairs = zip(image.float_classes, image.integer_classes, strict=True)
    return [
        (row, column)
        for row, (real, integer) in enumerate(pairs)
        for column, (one, other) in enumerate(zip(real, integer, strict=True))
        if one != other
    ]


def in_words(image: ShownImage) -> str:
    """Write what a figure shows: how many patches of which class."""
    parts = [f"{image.name}, {image.width} x {image.height} pixels"]
    for name, found in maps_of(image).items():
        counts = _counted(found)
        listed = [f"class {number} {patches(counts[number])}" for number in sorted(counts)]
        if ignored := sum(row.count(None) for row in found):
            listed.append(f"ignored {patches(ignored)}")
        parts.append(f"{name}: {', '.join(listed)}")
    parts.append(f"float and integer differ in {patches(len(differing(image)))}")
    return ". ".join(parts) + "."


def patches(number: int) -> str:
    """Write a number of patches: ``1 patch``, ``12 patches``."""
    return f"{count(number)} patch{'' if number == 1 else 'es'}"
