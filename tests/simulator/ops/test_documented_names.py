# SPDX-License-Identifier: Apache-2.0
"""``docs/profiles.md`` maps the op names of reports to the tables of a profile.

``docs/proof.md`` names the registers of every op.
"""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path
from typing import get_args

import pytest
from one_op_graphs import CASES
from small_graphs import Draft

from simulator.graph.bounds import intermediates
from simulator.graph.op import Op
from simulator.graph.ops import SPECS, MatMul, ScaledMatMul, op_name
from simulator.profile import CyclesPerElement, OpKind

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "profiles.md").read_text(encoding="utf-8")
SECTION = PAGE[PAGE.index("## Names of ops") : PAGE.index("## Vendors' words")]
ROWS = [
    [re.findall(r"`([^`]+)`", cell) for cell in line.split("|")[1:-1]]
    for line in SECTION.splitlines()
    if line.startswith("| `")
]


@pytest.mark.parametrize("op_type", CASES, ids=lambda op_type: op_type.__name__)
def test_an_op_is_in_the_row_of_its_rate_or_its_rate_alone_tells_it(op_type: type[Op]) -> None:
    """Where an op is in no row, docs/ir.md names its rate, and the rate has a row."""
    for build in CASES[op_type].values():
        draft = Draft()
        build(draft)
        kind = op_name(draft.graph().ops[-1])
        rows = [row for row in ROWS if any(fnmatch(kind, k.replace("…", "*")) for k in row[0])]
        of_the_array = SPECS[op_type].rate is None
        assert len(rows) <= (2 if op_type in {MatMul, ScaledMatMul} else 1), kind
        if of_the_array:
            assert rows, kind
        else:
            of_its_rate = [row for row in ROWS if row[3] == [SPECS[op_type].rate]]
            assert all(row in of_its_rate for row in rows), kind
            assert of_its_rate, kind


def test_every_exception_and_every_rate_is_in_a_row() -> None:
    assert {name for row in ROWS for name in row[1]} == {*get_args(OpKind)}
    assert {name for row in ROWS[2:] for name in row[3]} == {*CyclesPerElement.model_fields}


def test_the_registers_of_every_op_are_in_the_table_of_proofs() -> None:
    """Each row has the names that its ops have; softmaxes without a row are "other softmaxes"."""
    page = (DOCS / "proof.md").read_text(encoding="utf-8")
    table = page[page.index("| op | values |") : page.index("`scaled` is what enters")]
    rows = [line.split("|")[1:3] for line in table.splitlines()[2:] if line]
    wanted = {
        op: set(re.findall("`([a-z_]+)`", names)) for ops, names in rows for op in ops.split(",")
    }
    wanted = {op.strip(): names for op, names in wanted.items()}
    wanted["other softmaxes"] |= wanted["Softmax"]
    found: dict[str, set[str]] = {}
    for op_type, cases in CASES.items():
        for build in cases.values():
            draft = Draft()
            build(draft)
            graph = draft.graph()
            names = {one.name for one in intermediates(graph, graph.ops[-1])}
            row = op_type.__name__
            if row not in wanted and SPECS[op_type].rate == "softmax":
                row = "other softmaxes"
            if names:
                found[row] = found.get(row, set()) | names
    for row, names in found.items():
        assert names <= wanted.get(row, set()), row
    assert set(wanted) <= set(found)
