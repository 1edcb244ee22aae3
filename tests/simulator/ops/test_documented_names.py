# SPDX-License-Identifier: Apache-2.0
"""``docs/profiles.md`` maps the op names of reports to the tables of a profile."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path
from typing import get_args

import pytest
from one_op_graphs import CASES
from small_graphs import Draft

from simulator.graph.op import Op
from simulator.graph.ops import SPECS, MatMul, ScaledMatMul, op_name
from simulator.profile import CyclesPerElement, OpKind

PAGE = (Path(__file__).parents[3] / "docs" / "profiles.md").read_text(encoding="utf-8")
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
