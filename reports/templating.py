# SPDX-License-Identifier: Apache-2.0
"""Templates of pages with everything that they may call; a drawn figure as a part of a page."""

from __future__ import annotations

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from reports import (
    answers,
    attribution,
    box_labels,
    class_maps,
    costs,
    gates,
    layer_widths,
    limits,
    pictures,
    sources,
    tables,
)
from reports import format as written


def template(name: str) -> Template:
    """Return a template of ``reports/templates``."""
    return _environment().get_template(name)


def inline(svg: str | None) -> Markup | None:
    """Return one of our own figures for a page: names are escaped in it already."""
    return None if svg is None else Markup(svg)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    for function in (written.percent, written.signed, written.count, written.kib, written.decibel):
        environment.filters[function.__name__] = function
    environment.filters["capital"] = limits.capital
    names: dict[str, Any] = {
        **{"tables": tables, "costs": costs, "legend": written, "limits": limits},
        **{"sources": sources, "answer_rows": answers},
        **{
            "attribution": attribution,
            "gates": gates,
            "box_labels": box_labels,
            "pictures": pictures,
        },
        **{"class_maps": class_maps, "layer_widths": layer_widths},
        **{"share": written.share, "plural": written.plural},
    }
    names |= {"policy_note": written.policy_note, "zip": zip}
    environment.globals.update(names, MISSING=written.MISSING, NO_NOISE=written.NO_NOISE)
    return environment
