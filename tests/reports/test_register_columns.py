# SPDX-License-Identifier: Apache-2.0
"""Columns of a table that are exact: bytes of constants, and bits of the register sums end in."""

from __future__ import annotations

from typing import Any

import pytest

from aocq.records.layers import LayerRow
from aocq.records.run import ProofRecord, RunResult
from reports.rows import outermost_register, run_row

Run = tuple[RunResult, list[LayerRow]]


def register(op: str, kind: str, value: str, level: int | None, type_: str) -> dict[str, Any]:
    found = {"op": op, "kind": kind, "value": value, "level": level, "type": type_}
    return {**found, "needed_bits": 9, "stated_by": "graph", "slack_bits": 3, "proven": True}


def proof(*registers: dict[str, Any]) -> ProofRecord:
    return ProofRecord.model_validate({"values": 9, "proven": 9, "registers": [*registers]})


def test_of_several_levels_the_outermost_counts_though_an_inner_one_is_wider() -> None:
    found = proof(
        register("a", "matmul", "accumulator", 0, "s32"),
        register("a", "matmul", "accumulator", 1, "s24"),
        register("b", "scaled_matmul", "accumulator", 1, "s18"),
        register("b", "scaled_matmul", "accumulator", 0, "s20"),
    )
    assert outermost_register(found) == 24


@pytest.mark.parametrize(
    ("registers", "bits"),
    [
        ((("a", "matmul", "accumulator", None, "s16"), ("b", "matmul", "accumulator", None, "s20")), 20),
        ((("a", "matmul", "product", None, "s40"), ("b", "layernorm", "accumulator", None, "u48")), None),
        ((), None),
    ],
)  # fmt: skip
def test_only_sums_of_products_count(
    registers: tuple[tuple[str, str, str, int | None, str], ...], bits: int | None
) -> None:
    assert outermost_register(proof(*(register(*each) for each in registers))) == bits


def test_rows_of_runs_have_both(run: Run) -> None:
    row = run_row(run[0], {}, "a")
    assert row.weight_bytes == run[0].memory.weight_bytes > 0
    assert row.accumulator_bits is None, "an older record does not say"
    proven = proof(register("a", "matmul", "accumulator", None, "s16"))
    newer = run[0].model_copy(update={"proof": proven})
    assert run_row(newer, {}, "a").accumulator_bits == 16
