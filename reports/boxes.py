# SPDX-License-Identifier: Apache-2.0
"""Boxes drawn on an image, as SVG that a page takes in: what networks found beside each other.

A figure is a row of panels of the same image. Boxes have the color of their class and a dark rim,
true ones are thin, white and dashed: both are seen on any image. Where several boxes are at one
place, each is drawn inside of the one before it. What a figure shows is in its
label in words, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import escape

from aocq.records.shown_images import ShownBox, ShownImage
from reports import box_labels
from reports.box_labels import label

PANEL = 320.0  # width of a panel in the units of the SVG, of which a desk's page shows one a pixel
GAP, HEAD = 12.0, 24.0  # between panels; above them, for their titles
LARGE_PIXELS = 2.0  # images magnified by more are drawn pixel by pixel, not smoothed
INSET = 5.0  # between boxes at one place


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """An image with what one network found in it; ``title`` stands above it."""

    title: str
    found: Sequence[ShownBox]


def figure_of(image: ShownImage, name: str, colors: Mapping[str, str]) -> str:
    """Return an image's figure: float beside integer network, each with the true boxes.

    Parameters
    ----------
    name
        prefix of all ids, so that several figures share a page
    colors
        of all classes by name, of :func:`reports.class_colors.of_names`
    """
    panels = (
        Panel(title="Float", found=image.float_boxes),
        Panel(title="Integer", found=image.integer_boxes),
    )
    return panels_svg(image, panels, name, colors)


def panels_svg(
    image: ShownImage, panels: Sequence[Panel], name: str, colors: Mapping[str, str]
) -> str:
    """Return an ``<svg>`` element with the image once for every panel, and boxes on each."""
    scale = PANEL / image.width
    height = image.height * scale
    width = len(panels) * (PANEL + GAP) - GAP
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
            *(
                found_box(box, scale, colors[box.name], inset)
                for box, inset in reversed(
                    list(zip(panel.found, insets(panel.found, scale), strict=True))
                )
            ),
            *(each.svg() for each in box_labels.placed(panel.found, scale, PANEL, height)),
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


def true_box(box: ShownBox, scale: float) -> str:
    """Return a true box: thin, white and dashed, on a dark line."""
    place = _rectangle(box, scale)
    return (
        f'<rect {place} fill="none" stroke="#000" stroke-opacity=".55" stroke-width="2"/>'
        f'<rect {place} fill="none" stroke="#fff" stroke-width="1.1" stroke-dasharray="4 3"/>'
    )


def found_box(box: ShownBox, scale: float, color: str, inset: float) -> str:
    """Return a box that a network found: in the color of its class, with a dark rim."""
    place = _rectangle(box, scale, inset)
    return (
        f'<rect {place} fill="none" stroke="#000" stroke-opacity=".6" stroke-width="5"/>'
        f'<rect {place} fill="none" stroke="{color}" stroke-width="2.6"/>'
    )


def insets(found: Sequence[ShownBox], scale: float) -> list[float]:
    """Return how far each box is drawn inside of itself: those at a better one's place, in turn.

    Boxes of several classes at one place would hide each other.
    """
    found_at: list[tuple[tuple[float, ...], float]] = []
    for box in found:
        sides = tuple(scale * side for side in (box.left, box.top, box.right, box.bottom))
        before = [inset for other, inset in found_at if _at_one_place(sides, other)]
        found_at.append((sides, max(before) + INSET if before else 0.0))
    return [inset for _, inset in found_at]


def _at_one_place(sides: Sequence[float], other: Sequence[float]) -> bool:
    return all(abs(one - two) < INSET for one, two in zip(sides, other, strict=True))


def _rectangle(box: ShownBox, scale: float, inset: float = 0.0) -> str:
    left, top = box.left * scale, box.top * scale
    width, height = (box.right - box.left) * scale, (box.bottom - box.top) * scale
    inset = max(min(inset, 0.4 * width, 0.4 * height), 0)  # something of a small box remains
    width, height = max(width - 2 * inset, 0), max(height - 2 * inset, 0)
    place = f'x="{left + inset:.1f}" y="{top + inset:.1f}"'
    return f'{place} width="{width:.1f}" height="{height:.1f}"'


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
