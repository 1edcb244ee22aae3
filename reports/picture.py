# SPDX-License-Identifier: Apache-2.0
"""A figure that stands alone: as SVG for pages, and as PNG for whatever shows no SVG."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from reports.svg import svg_text
from simulator.files import replace_file, write_text

PIXELS_PER_INCH = 144


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One figure in two forms."""

    svg: str
    png: bytes

    def write(self, folder: Path, name: str) -> Path:
        """Write ``name``.svg and ``name``.png into ``folder``; return the latter's path."""
        write_text(folder / f"{name}.svg", self.svg)
        path = folder / f"{name}.png"
        with replace_file(path) as temporary:
            temporary.write_bytes(self.png)
        return path


def picture(figure: Figure, name: str, description: str) -> Picture:
    """Return ``figure`` in both forms; call it in the house style, see :mod:`reports.svg`."""
    buffer = io.BytesIO()
    svg = svg_text(figure, name, description, {})
    figure.set(dpi=PIXELS_PER_INCH, facecolor="white")
    # Without the metadata, the same figure gives the same bytes whatever matplotlib wrote it.
    FigureCanvasAgg(figure).print_png(buffer, metadata={"Software": None})  # type: ignore[no-untyped-call]
    return Picture(svg=svg, png=buffer.getvalue())
