# SPDX-License-Identifier: Apache-2.0
"""The house style of figures, and a matplotlib figure as SVG text that a page can take in.

The same figure gives the same bytes on any machine. The background is transparent, text and axes
take ``currentColor``: a figure looks right in a light and in a dark page.
"""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from markupsafe import escape
from matplotlib import style
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.layout_engine import PlaceHolderLayoutEngine

UNITS_PER_INCH = 72
LETTERS_IN_A_LINE = 130  # of a title, in a figure of the house width
LONGEST_TITLE = 1000
INK = "#767779"  # stands for currentColor until the SVG is written
_STYLE = {
    "svg.hashsalt": "aocq",  # without it, the ids of clip paths and markers are random
    "svg.fonttype": "none",
    "font.family": ["DejaVu Sans"],  # comes with matplotlib: texts are as wide on every machine
    "font.size": 9,
    "text.color": INK,
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "figure.dpi": UNITS_PER_INCH,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": INK,
    "grid.alpha": 0.22,
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
}
_NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))


@contextmanager
def house_style() -> Iterator[None]:
    """Draw and save inside: matplotlib's defaults and ours, nothing of the user's own style."""
    with style.context(["default", _STYLE]):
        yield


def svg_text(figure: Figure, name: str, description: str, tips: Mapping[int, str]) -> str:
    """Return ``figure`` as an ``<svg>`` element.

    Parameters
    ----------
    name
        prefix of all ids, so that several figures share a page
    description
        the figure in words, for those who do not see it
    tips
        hover text of the marks that link to ``#op-<index>`` or ``#run-<number>``, by that number
    """
    buffer = io.StringIO()
    lay_out(figure)
    FigureCanvasSVG(figure).print_svg(buffer, metadata=_NO_METADATA)  # type: ignore[no-untyped-call]
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    # A style element would reach out of the figure and into the page.
    text = re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)
    text = text.replace(INK, "currentColor")
    text = _compact(text)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(xlink:href="#|url\(#)(?!(?:op|run)-\d)', rf"\g<1>{name}-", text)
    text = re.sub(
        r'<a xlink:href="#(op|run)-(\d+)"[^>]*>',
        # The table below has every op or run: a tab stop at each mark would only be in the way.
        lambda match: (
            f'<a href="#{match[1]}-{match[2]}" tabindex="-1">'
            f"<title>{escape(tips[int(match[2])])}</title>"
        ),
        text,
    )
    return text.replace("<svg ", f'<svg role="img" aria-label="{escape(description)}" ', 1)


def _compact(text: str) -> str:
    """Return SVG text with coordinates of a hundredth of a point, and without indentation."""
    text = re.sub(
        r'\b(d|x|y|points|transform)="[^"]*"',
        lambda match: re.sub(r"(\.\d\d)\d+", r"\1", match[0]),
        text,
    )
    return re.sub(r"\n\s*", "\n", text)


def title(text: str) -> str:
    """Return ``text`` as the title of a figure, in as many lines as it needs: none of it is cut."""
    return "\n".join(textwrap.wrap(printable(text, LONGEST_TITLE), LETTERS_IN_A_LINE))


def lay_out(figure: Figure) -> None:
    """Give the axes their final place: what is written from here on takes no room of its own.

    ``savefig`` would find the place for each form of a figure, and twice for each.
    """
    engine = figure.get_layout_engine()
    if engine is not None and not isinstance(engine, PlaceHolderLayoutEngine):
        engine.execute(figure)
        figure.set_layout_engine("none")


def printable(text: str, longest: int = 40) -> str:
    """Return ``text`` as a figure can show it: printable ASCII, the end of it if it is long.

    Names of ops are paths of Python modules; for anything else the font may have no glyph.
    """
    text = "".join(letter if " " <= letter <= "~" else "?" for letter in text)
    return text if len(text) <= longest else f"...{text[3 - longest :]}"
