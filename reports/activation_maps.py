# SPDX-License-Identifier: Apache-2.0
"""Images with class activation maps and attention roll-outs, float beside quantized, as a figure.

Functions of plain arrays: where they come from is the command's business.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from aocq.records.class_activation import MapLikeness
from reports.picture import Picture, picture
from reports.svg import house_style, printable, title

Pixels = NDArray[np.float64]
SIDE = 2.0  # inches of an image
COLOURS, OPACITY = "turbo", 0.55
MISSING = "none"  # in ASCII, as all texts of figures


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A kind of map of an image.

    Attributes
    ----------
    maps
        0..1 on the image's pixels, of the float and of the quantized network
    """

    name: str
    maps: tuple[Pixels, Pixels]
    likeness: MapLikeness


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """An image, [height, width] or [height, width, 3], what it is called, and its views."""

    image: NDArray[np.uint8]
    name: str
    views: tuple[View, ...]


def activation_maps(rows: Sequence[Row], quantized: str, heading: str) -> Picture:
    """Draw a row for each image: the image, then every view of the float and the quantized network.

    Parameters
    ----------
    quantized
        what to call the quantized network
    heading
        of the figure
    """
    views = max(len(row.views) for row in rows)
    columns = 1 + 2 * views
    with house_style():
        figure = Figure(figsize=(SIDE * columns, 0.6 + (SIDE + 0.42) * len(rows)), layout="tight")
        axes = figure.subplots(len(rows), columns, squeeze=False)
        for line, row in zip(axes, rows, strict=True):
            for place in line:
                place.axis("off")
            _show(line[0], row.image, row.name)
            for number, view in enumerate(row.views):
                told = (f"{view.name}, float", f"{view.name}, {quantized}\n{_told(view.likeness)}")
                for side, (values, text) in enumerate(zip(view.maps, told, strict=True)):
                    place = line[1 + 2 * number + side]
                    _show(place, row.image, text)
                    place.imshow(values, COLOURS, vmin=0, vmax=1, alpha=OPACITY)
        figure.suptitle(title(heading), fontsize=9)
        words = f"{heading}: {len(rows)} images, each with maps of both networks laid over it."
        return picture(figure, "activation-maps", words)


def _show(axes: Axes, image: NDArray[np.uint8], text: str) -> None:
    axes.imshow(image, "gray", vmin=0, vmax=255)
    lines = (printable(line, 44) for line in text.splitlines())
    axes.set_title("\n".join(lines), fontsize=7)


def _told(likeness: MapLikeness) -> str:
    figures = (likeness.correlation, likeness.overlap)
    told = (MISSING if figure is None else f"{figure:.2f}" for figure in figures)
    return "correlation {}, overlap {}".format(*told)
