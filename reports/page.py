# SPDX-License-Identifier: Apache-2.0
"""A run as one HTML page that needs nothing beside itself: no network, no other file."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from aocq.records.layers import LayerRow
from aocq.records.run import RunResult
from reports import attribution, costs, gates, tables
from reports import format as written
from reports.figures import cycles_by_block, look, saturation, sqnr_along_depth
from reports.ops import (
    by_block,
    first_below,
    measured,
    most_mismatches,
    steepest_fall,
    tightest,
    worst_ops,
)


def html(result: RunResult, rows: Sequence[LayerRow]) -> str:
    """Return the report of a run as one self-contained HTML file.

    Parameters
    ----------
    result
        the run
    rows
        its ops, in graph order
    """
    template = _environment().get_template("run.html.j2")
    return template.render(
        result=result,
        rows=rows,
        kinds=sorted({row.kind for row in rows}),
        recipe=json.dumps(result.method.recipe, indent=2, ensure_ascii=False),
        command=shlex.join(result.command),
        blocks=by_block(rows),
        measured=measured(rows),
        worst=worst_ops(rows),
        mismatches=most_mismatches(rows),
        tightest=tightest(rows),
        first_below=first_below(rows),
        steepest_fall=steepest_fall(rows),
        figures={
            "depth": _inline(sqnr_along_depth(rows)),
            "cycles": _inline(cycles_by_block(rows)),
            "saturation": _inline(saturation(rows)),
        },
    )


def _inline(svg: str | None) -> Markup | None:
    return None if svg is None else Markup(svg)  # our own SVG: names are escaped in it


@cache
def _environment() -> Environment:
    """Return the templates with everything they may call."""
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
    environment.filters["color"] = lambda kind: look(kind)[0]
    names: dict[str, Any] = {
        **{"tables": tables, "costs": costs, "legend": written},
        **{"share": written.share, "plural": written.plural},
    }
    names |= {"attribution": attribution, "gates": gates}
    names["policy_note"] = written.policy_note
    environment.globals.update(names, MISSING=written.MISSING, NO_NOISE=written.NO_NOISE)
    return environment
