# SPDX-License-Identifier: Apache-2.0
"""A run as one HTML page that needs nothing beside itself: no network, no other file."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence

from aocq.records.layers import LayerRow
from aocq.records.run import RunResult
from reports.answers import answers
from reports.columns import cell, columns
from reports.distribution_figure import distributions, narrowest
from reports.figures import cycles_by_block, saturation, sqnr_along_depth
from reports.format import percent
from reports.looks import kind_group, looks
from reports.memory_figure import memory_timeline
from reports.ops import (
    HOST,
    by_block,
    first_below,
    measured,
    most_mismatches,
    steepest_fall,
    tightest,
    worst_ops,
)
from reports.roofline import roofline
from reports.templating import inline, template


def html(result: RunResult, rows: Sequence[LayerRow]) -> str:
    """Return the report of a run as one self-contained HTML file.

    Parameters
    ----------
    result
        the run
    rows
        its ops, in graph order
    """
    host = result.cycles.host_steps
    of_kind = looks([*(row.kind for row in rows), *(HOST for _ in host)])
    return template("run.html.j2").render(
        result=result,
        rows=rows,
        sections=sections(result),
        answers=answers(result, rows),
        columns=columns(rows),
        cell=cell,
        kinds=sorted({row.kind for row in rows}),
        colors={
            **{row.kind: of_kind[kind_group(row.kind)].color for row in rows},
            **{step.name: of_kind[HOST].color for step in host},
        },
        recipe=json.dumps(result.method.recipe, indent=2, ensure_ascii=False),
        command=shlex.join(result.command),
        blocks=by_block(rows, host),
        measured=measured(rows),
        worst=worst_ops(rows),
        mismatches=most_mismatches(rows),
        tightest=tightest(rows),
        first_below=first_below(rows),
        narrow_rows=[(name, percent(100 * part)) for name, part in narrowest(result)],
        steepest_fall=steepest_fall(rows),
        figures={
            "depth": inline(sqnr_along_depth(rows)),
            "cycles": inline(cycles_by_block(rows, host)),
            "saturation": inline(saturation(rows)),
            "roofline": inline(roofline(result, rows)),
            "distributions": inline(distributions(result, rows)),
            "memory": inline(memory_timeline(result, rows)),
        },
    )


def sections(result: RunResult) -> list[tuple[str, str]]:
    """Return the page's sections in order: (id, name)."""
    return [
        ("verdict", "Verdict"),
        ("accuracy", "Accuracy"),
        *([("pictures", "Pictures")] if result.shown is not None else []),
        ("lost", "Where it is lost"),
        ("mismatches", "Mismatches"),
        ("time", "Latency"),
        ("memory", "Memory"),
        ("energy", "Energy"),
        ("overflow", "Overflow"),
        *([("distributions", "Distributions")] if result.distributions else []),
        *([("registers", "Registers")] if result.proof is not None else []),
        ("all-ops", "All ops"),
        ("assumed", "What is assumed"),
        ("made", "How it was made"),
    ]
