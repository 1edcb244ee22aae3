# SPDX-License-Identifier: Apache-2.0
"""Figures of single tokens on their image, as SVG that a page takes in: a cell for each patch.

The picture is held once by a page (:func:`held_picture`); every map refers to it.
"""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup, escape

from aocq.records.explanation import Grid
from aocq.records.shown_images import ShownImage
from reports.boxes import PANEL, picture_definition

PICTURE = "picture"  # the id that maps refer to
OPAQUE = 0.85  # of the cell with the largest value


def held_picture(image: ShownImage) -> Markup:
    """Return an element without extent that holds an image for all maps of a page."""
    definition = picture_definition(image, PICTURE)
    return Markup(f'<svg class="held" width="0" height="0" aria-hidden="true">{definition}</svg>')


def plain_picture(image: ShownImage) -> Markup:
    """Return the image of a page with nothing on it."""
    return _figure(image, f"{image.name}, {image.width} x {image.height} pixels", "")


def token_map(
    image: ShownImage, grid: Grid, values: Sequence[float], color: str, name: str, form: str = ".3f"
) -> Markup:
    """Return an image with a cell on every patch, the more opaque the larger its value.

    Parameters
    ----------
    values
        0 or more, of all tokens; those in front of the patches are not drawn
    color
        of the cells
    name
        what the values are, for those who do not see the figure
    form
        of a value in words, as Python's ``format`` takes it
    """
    height = image.height * PANEL / image.width
    across, down = PANEL / grid.columns, height / grid.rows
    patches = values[grid.prefix :]
    largest = max(patches, default=0.0)
    cells = []
    for place, value in enumerate(patches):
        if not value:
            continue
        row, column = divmod(place, grid.columns)
        cells.append(
            f'<rect x="{column * across:.1f}" y="{row * down:.1f}" width="{across:.1f}" '
            f'height="{down:.1f}" fill-opacity="{OPAQUE * value / largest:.2f}">'
            f"<title>row {row + 1}, column {column + 1}: {value:{form}}</title></rect>"
        )
    words = f"{name}: {grid.rows} rows of {grid.columns} patches, largest {largest:{form}}"
    drawn = f'<g fill="{color}" stroke="{color}" stroke-opacity=".4">{"".join(cells)}</g>'
    return _figure(image, words, drawn)


def _figure(image: ShownImage, words: str, drawn: str) -> Markup:
    height = image.height * PANEL / image.width
    return Markup(
        f'<svg class="boxes" role="img" aria-label="{escape(words)}" '
        f'viewBox="0 0 {PANEL:g} {height:.2f}" xmlns="http://www.w3.org/2000/svg">'
        f'<use href="#{PICTURE}"/>{drawn}</svg>'
    )
