# SPDX-License-Identifier: Apache-2.0
"""docs/validation.md names the values inside ops that recordings have."""

from __future__ import annotations

import re
from pathlib import Path

from one_op_graphs import CASES
from test_traces import graph_of

from simulator.graph.bounds import intermediates

PAGE = Path(__file__).parents[3] / "docs" / "validation.md"


def test_the_page_names_the_values_inside_every_op_in_order() -> None:
    page = PAGE.read_text(encoding="utf-8")
    table = page.partition("<!-- Values inside ops")[2].partition("Lookup, ops that only move")[0]
    stated = {
        op: re.findall(r"`([a-z_]+)`", re.sub(r"\([^)]*\)", "", row))
        for ops, row in re.findall(r"^\| ([A-Z][\w, ]+) \| (.*) \|$", table, flags=re.MULTILINE)
        for op in ops.split(", ")
    }
    measured = {}
    for kind, cases in CASES.items():
        for name in cases:
            graph = graph_of(kind, name)
            names = [found.name for found in intermediates(graph, graph.ops[-1])]
            measured[kind.__name__] = max(measured.get(kind.__name__, []), names, key=len)
    inside = {op: names for op, names in measured.items() if names}
    assert stated.keys() == inside.keys()
    for op, names in inside.items():
        # An AddShifted has a sum or a difference, a ScaledMatMul column factors or a bias.
        either = {"AddShifted": {"difference"}, "ScaledMatMul": {"column_scaled"}}.get(op, set())
        assert [name for name in stated[op] if name not in either] == [
            "sum" if name in either else name for name in names
        ], op
