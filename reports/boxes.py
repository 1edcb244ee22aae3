# SPDX-License-Identifier: Apache-2.0
"""Boxes drawn on an image, as SVG that a page takes in: what networks found beside each other.

A figure is a row of panels of the same image. Boxes have the color of their class and a dark rim,
true ones are thin, white and dashed: both are seen on any image. What a figure shows is in its
label in words, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import escape

from aocq.records.shown_images import ShownBox, ShownImage
from reports.palette import SERIES

PANEL = 320.0  # width of a panel in the units of the SVG, of which a desk's page shows one a pixel
GAP, HEAD = 12.0, 24.0  # between panels; above them, for their titles
LARGE_PIXELS = 2.0  # images magnified by more are drawn pixel by pixel, not smoothed
LETTER, LINE = 0.62, 15.0  # width of a letter and height of a line, roughly, in the page's style


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """An image with what one network found in it; ``title`` stands above it."""

    title: str
    found: Sequence[ShownBox]


def figure_of(image: ShownImage, name: str) -> str:
    """Return an image's figure: float beside integer network, each with the true boxes.

    Parameters
    ----------
    name
        prefix of all ids, so that several figures share a page
    """
    panels = (
        Panel(title="Float", found=image.float_boxes),
        Panel(title="Integer", found=image.integer_boxes),
    )
    return panels_svg(image, panels, name)


def panels_svg(image: ShownImage, panels: Sequence[Panel], name: str) -> str:
    """Return an ``<svg>`` element with the image once for every panel, and boxes on each."""
    scale = PANEL / image.width
    height = image.height * scale
    width = len(panels) * (PANEL + GAP) - GAP
    colors = class_colors(image)
    parts = [
        f'<svg class="boxes" role="img" aria-label="{escape(in_words(image, panels))}" '
        f'viewBox="0 0 {width:g} {height + HEAD:g}" xmlns="http://www.w3.org/2000/svg">',
        picture_definition(image, f"{name}-image"),
    ]
    for place, panel in enumerate(panels):
        parts += [
            f'<g transform="translate({place * (PANEL + GAP):g} {HEAD:g})">',
            f'<text class="panel" x="0" y="-7">{escape(panel.title)}</text>',
            f'<use href="#{name}-image"/>',
            *(true_box(box, scale) for box in image.true_boxes),
            # The best ones last, above the others.
            *(found_box(box, scale, colors[box.name]) for box in reversed(panel.found)),
            *labels(panel.found, scale),
            "</g>",
        ]
    return "\n".join([*parts, "</svg>"])


def picture_definition(image: ShownImage, name: str) -> str:
    """Return the picture as an element of SVG that ``<use>`` refers to by its name."""
    scale = PANEL / image.width
    pixelated = ' style="image-rendering:pixelated"' if scale > LARGE_PIXELS else ""
    return (
        f'<defs><image id="{name}" width="{PANEL:g}" height="{image.height * scale:.2f}"{pixelated}'
        f' href="data:{image.media_type};base64,{image.content}"/></defs>'
    )


def class_colors(image: ShownImage) -> dict[str, str]:
    """Return a color for each class of an image's boxes, the same in all of its panels."""
    every = (*image.true_boxes, *image.float_boxes, *image.integer_boxes)
    names = dict.fromkeys(box.name for box in every)
    return {name: SERIES[place % len(SERIES)][0] for place, name in enumerate(names)}


def true_box(box: ShownBox, scale: float) -> str:
    """Return a true box: thin, white and dashed, on a dark line."""
    place = _rectangle(box, scale)
    return (
        f'<rect {place} fill="none" stroke="#000" stroke-opacity=".55" stroke-width="2"/>'
        f'<rect {place} fill="none" stroke="#fff" stroke-width="1.1" stroke-dasharray="4 3"/>'
    )


def found_box(box: ShownBox, scale: float, color: str) -> str:
    """Return a box that a network found: in the color of its class, with a dark rim."""
    place = _rectangle(box, scale)
    return (
        f'<rect {place} fill="none" stroke="#000" stroke-opacity=".6" stroke-width="5"/>'
        f'<rect {place} fill="none" stroke="{color}" stroke-width="2.6"/>'
    )


def labels(found: Sequence[ShownBox], scale: float) -> list[str]:
    """Return names and scores at their boxes, the best first; none where it would cover another.

    A label stands above its box, or inside where the box begins at the image's top.
    """
    placed: list[tuple[float, float, float]] = []
    texts = []
    for box in found:
        text = label(box)
        width = LETTER * LINE * len(text)
        left = max(min(box.left * scale + 1, PANEL - width - 1), 0)
        down = max(box.top * scale - 4, LINE - 2)
        if any(
            left < right and at < left + width and abs(down - line) < LINE
            for at, right, line in placed
        ):
            continue
        placed.append((left, left + width, down))
        to_right = box.left * scale + 1 + width > PANEL
        across, anchor = (PANEL - 2, "end") if to_right else (left, "start")
        texts.append(
            f'<text class="found" x="{across:.1f}" y="{down:.1f}" text-anchor="{anchor}">'
            f"{escape(text)}</text>"
        )
    return texts


def _rectangle(box: ShownBox, scale: float) -> str:
    left, top = box.left * scale, box.top * scale
    width, height = (box.right - box.left) * scale, (box.bottom - box.top) * scale
    return f'x="{left:.1f}" y="{top:.1f}" width="{max(width, 0):.1f}" height="{max(height, 0):.1f}"'


def label(box: ShownBox) -> str:
    """Write a class with its score: ``bolt 0.93``."""
    return box.name if box.score is None else f"{box.name} {box.score:.2f}"


def listed(boxes: Iterable[ShownBox]) -> str:
    """Write boxes as a list: ``bolt 0.93, wire 0.41``; ``none`` of no box."""
    return ", ".join(map(label, boxes)) or "none"


def in_words(image: ShownImage, panels: Sequence[Panel]) -> str:
    """Write what a figure shows, with places in pixels."""
    boxes: Mapping[str, Sequence[ShownBox]] = {
        "true": image.true_boxes,
        **{panel.title.lower(): panel.found for panel in panels},
    }
    parts = [
        f"{name}: {'; '.join(f'{label(box)} at {_place(box)}' for box in found) or 'none'}"
        for name, found in boxes.items()
    ]
    return f"{image.name}, {image.width} x {image.height} pixels. " + ". ".join(parts) + "."


def _place(box: ShownBox) -> str:
    return f"{box.left:.0f}, {box.top:.0f} to {box.right:.0f}, {box.bottom:.0f}"
