# SPDX-License-Identifier: Apache-2.0
"""Canvases of handwritten digits with clutter: what the dense demo networks look at.

A canvas is made of a seed and of digits of :mod:`aocq.demo.digits`: one to four of them, scaled, at
places where they do not overlap, among faint strokes and noise. The box of a digit is exact: that
of its pixels of at least :data:`VISIBLE_INK`. Only integers are drawn and computed, so that a seed
gives the same bytes on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from aocq.demo.digits import DigitSplit, gray_levels

SIDE = 64  # pixels of a canvas
DIGIT_PIXELS = (12, 28)  # sides of a scaled digit, both included
MOST_DIGITS = 4
VISIBLE_INK = 64  # of 255, in a scaled digit: fainter pixels are its blurred edge
BACKGROUND = 10  # the class of pixels outside of all boxes; digits are their own numbers
PLACES = 20  # tries to place a digit beside the others, which is left out then
# Gray levels and counts, both ends included.
PAPER_LEVELS = (0, 48)
INK_PERCENT = (65, 100)  # of a digit's own levels
STROKES, STROKE_LEVELS, STROKE_WIDTHS, STROKE_REACH = (2, 6), (60, 130), (1, 2), 14
NOISE_LEVELS = 12  # added or taken away


class Canvas(NamedTuple):
    """An image and what is on it.

    Attributes
    ----------
    pixels : ndarray of uint8, shape (64, 64)
        Gray levels: dark paper, bright ink.
    boxes : ndarray of int64, shape (n, 4)
        left, top, right, bottom of each digit in pixels; right and bottom are behind its last ones.
    labels : ndarray of int64, shape (n,)
        The digits, 0 to 9, in the order in which they were placed.
    """

    pixels: NDArray[np.uint8]
    boxes: NDArray[np.int64]
    labels: NDArray[np.int64]


def canvas(digits: DigitSplit, random: np.random.Generator) -> Canvas:
    """Make one canvas.

    Parameters
    ----------
    digits : DigitSplit
        Those to draw from.
    random : Generator
        Decides everything else.

    Returns
    -------
    Canvas
        With at least one digit.
    """
    pixels = _clutter(random).astype(np.int64)
    boxes: list[tuple[int, int, int, int]] = []
    labels: list[int] = []
    for _ in range(_between(random, (1, MOST_DIGITS))):
        number = int(random.integers(len(digits.labels)))
        ink = _scaled(digits.images[number], _between(random, DIGIT_PIXELS))
        ink = ink * _between(random, INK_PERCENT) // 100
        place = _free_place(ink.shape, boxes, random)
        if place is None:
            continue
        left, top = place
        height, width = ink.shape
        part = pixels[top : top + height, left : left + width]
        np.maximum(part, ink, out=part)
        boxes.append((left, top, left + width, top + height))
        labels.append(int(digits.labels[number]))
    noise = random.integers(-NOISE_LEVELS, NOISE_LEVELS, pixels.shape, endpoint=True)
    return Canvas(
        np.clip(pixels + noise, 0, 255).astype(np.uint8),
        np.array(boxes, np.int64),
        np.array(labels, np.int64),
    )


def canvases(digits: DigitSplit, count: int, seed: int) -> list[Canvas]:
    """Make ``count`` canvases, each from the seed and its own number."""
    return [canvas(digits, np.random.default_rng((seed, number))) for number in range(count)]


def label_map(found: Canvas) -> NDArray[np.uint8]:
    """Return the class of each pixel, [64, 64]: of a digit's box its digit, else background."""
    classes = np.full(found.pixels.shape, BACKGROUND, np.uint8)
    for (left, top, right, bottom), label in zip(found.boxes, found.labels, strict=True):
        classes[top:bottom, left:right] = label
    return classes


def _between(random: np.random.Generator, ends: tuple[int, int]) -> int:
    return int(random.integers(*ends, endpoint=True))


def _clutter(random: np.random.Generator) -> NDArray[np.uint8]:
    """Return paper with a few faint straight strokes."""
    image = Image.new("L", (SIDE, SIDE), _between(random, PAPER_LEVELS))
    draw = ImageDraw.Draw(image)
    for _ in range(_between(random, STROKES)):
        across, down = random.integers(SIDE, size=2).tolist()
        reach = random.integers(-STROKE_REACH, STROKE_REACH, 2, endpoint=True).tolist()
        draw.line(
            (across, down, across + reach[0], down + reach[1]),
            fill=_between(random, STROKE_LEVELS),
            width=_between(random, STROKE_WIDTHS),
        )
    return np.asarray(image)


def _scaled(bitmap: NDArray[np.uint8], side: int) -> NDArray[np.int64]:
    """Return a digit's ink with a side of so many pixels, cut to its visible part."""
    image = Image.fromarray(gray_levels(bitmap)).resize((side, side), Image.Resampling.BICUBIC)
    ink = np.asarray(image).astype(np.int64)
    visible = ink >= VISIBLE_INK
    rows, columns = np.flatnonzero(visible.any(axis=1)), np.flatnonzero(visible.any(axis=0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _free_place(
    shape: tuple[int, ...],
    boxes: Sequence[tuple[int, int, int, int]],
    random: np.random.Generator,
) -> tuple[int, int] | None:
    """Return left and top of a box of this shape that meets no other; None if none was found."""
    height, width = shape
    for _ in range(PLACES):
        left, top = int(random.integers(SIDE - width + 1)), int(random.integers(SIDE - height + 1))
        if all(
            left >= box[2] or box[0] >= left + width or top >= box[3] or box[1] >= top + height
            for box in boxes
        ):
            return left, top
    return None
