# SPDX-License-Identifier: Apache-2.0
"""Where the labels of boxes stand on a picture: within it, and none over another.

A label is the class and the score of its box, or where no place above or below the box is free for
these, its number in the list of all boxes. One without room for its number is in the list alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal
from unicodedata import east_asian_width

from markupsafe import escape

from aocq.records.shown_images import ShownBox

# In the units of the SVG, of the largest letters that the page's style has, those of phones.
LETTER, WIDE_LETTER, ASCENT, DESCENT = 14.0, 20.0, 17.0, 5.0
WIDE = "MWmw@%…"
EDGE, APART = 2.0, 5.0  # from the picture's edge; between a label and a side of its box
LONGEST_NAME = 14 * LETTER


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """A text that begins or ends (``anchor``) at ``across``, on the line ``down``."""

    text: str
    across: float
    down: float
    anchor: Literal["start", "end"]

    @property
    def left(self) -> float:
        """Where the text begins, at most."""
        return self.across - (self.width if self.anchor == "end" else 0)

    @property
    def width(self) -> float:
        """How much the text takes, at most."""
        return width_of(self.text)

    def covers(self, other: Label) -> bool:
        """Return whether two labels overlap."""
        return (
            self.left < other.left + other.width
            and other.left < self.left + self.width
            and abs(self.down - other.down) < ASCENT + DESCENT
        )

    def svg(self) -> str:
        """Return the label as an element of SVG."""
        return (
            f'<text class="found" x="{self.across:.1f}" y="{self.down:.1f}" '
            f'text-anchor="{self.anchor}">{escape(self.text)}</text>'
        )


def placed(found: Sequence[ShownBox], scale: float, width: float, height: float) -> list[Label]:
    """Return the labels of boxes on a picture of ``width`` x ``height``, the best box's first.

    Parameters
    ----------
    scale
        of the boxes' pixels
    """
    labels: list[Label] = []
    for number, box in enumerate(found, start=1):
        free = (
            each
            # A number covers little of what is in the box, a name much.
            for text, inside in ((short_label(box), False), (number_of(number), True))
            for each in _at_box(text, box, scale, width, height, inside=inside)
            if not any(each.covers(other) for other in labels)
        )
        if (found_place := next(free, None)) is not None:
            labels.append(found_place)
    return labels


def _at_box(
    text: str, box: ShownBox, scale: float, width: float, height: float, *, inside: bool
) -> Iterator[Label]:
    """Yield a label's places at a box: above, below, perhaps inside, at its left and its right."""
    top, bottom = box.top * scale, box.bottom * scale
    lines = [top - APART, bottom + ASCENT + APART]
    if inside:
        lines += [top + ASCENT + APART, bottom - DESCENT - APART]
    for line in lines:
        down = min(max(line, ASCENT), height - DESCENT)
        for anchor in ("start", "end"):
            yield _within(text, box, scale, width, down, anchor)


def _within(
    text: str,
    box: ShownBox,
    scale: float,
    width: float,
    down: float,
    anchor: Literal["start", "end"],
) -> Label:
    """Return a label at a box's left or right side; at the picture's where it would leave it."""
    room = width_of(text)
    across = max(box.left * scale, EDGE) if anchor == "start" else min(box.right * scale, width)
    if anchor == "start" and across + room > width - EDGE:
        across, anchor = width - EDGE, "end"
    elif anchor == "end" and across - room < EDGE:
        across, anchor = EDGE, "start"
    return Label(text=text, across=across, down=down, anchor=anchor)


def width_of(text: str) -> float:
    """Return how much a text takes at most, in bold letters of a usual font."""
    return sum(
        WIDE_LETTER if letter in WIDE or east_asian_width(letter) in "WF" else LETTER
        for letter in text
    )


def short_label(box: ShownBox) -> str:
    """Write a class with its score, a long name shortened: ``adjustable s… 0.70``."""
    name = box.name
    if width_of(name) > LONGEST_NAME:
        fits = (
            end for end in range(len(name), 0, -1) if width_of(name[:end] + "…") <= LONGEST_NAME
        )
        name = f"{name[: next(fits)].rstrip()}…"
    return name if box.score is None else f"{name} {box.score:.2f}"


def label(box: ShownBox) -> str:
    """Write a class with its score: ``bolt 0.93``."""
    return box.name if box.score is None else f"{box.name} {box.score:.2f}"


def number_of(number: int) -> str:
    """Write a box's number, apart from names that are numbers: ``(3)``."""
    return f"({number})"


def listed(boxes: Sequence[ShownBox]) -> str:
    """Write boxes as a list: ``bolt 0.93, wire 0.41``; ``none`` of no box."""
    return ", ".join(map(label, boxes)) or "none"


def numbered(boxes: Sequence[ShownBox]) -> str:
    """Write boxes as a list with numbers: ``(1) bolt 0.93, (2) wire 0.41``; ``none`` of no box."""
    found = (f"{number_of(n)} {label(box)}" for n, box in enumerate(boxes, start=1))
    return ", ".join(found) or "none"
