# SPDX-License-Identifier: Apache-2.0
"""A run of a table that fails does not take the others with it."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from aocq.cli import sweeps
from aocq.cli.requests import RunOptions
from aocq.jobs import sweep
from aocq.jobs.cells import Cell, cell
from aocq.jobs.request import ModelRequest
from aocq.recipes.recipe import Recipe
from simulator.errors import AocqError, InputError


def test_a_failed_cell_is_a_row_with_its_reason_and_exit_code_3(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    request = RunOptions().request(
        ModelRequest(name="m"),
        tmp_path,
        profile="edge_npu_int8",
        method="base_ptq",
        recipe=Recipe(),
        out=tmp_path,
    )
    cells = [cell(request, Recipe(weight_bits=bits)) for bits in (8, 4)]

    def fails(cells: Any, *_: Any, **__: Any) -> Iterator[tuple[Cell, AocqError]]:
        for one in cells:
            yield one, InputError("constants too wide")

    monkeypatch.setattr(sweep, "run_cells", fails)
    table = sweeps.run_table(cells, "table2", "T", tmp_path)
    with pytest.raises(typer.Exit) as end:
        sweeps.exit_if_cells_failed(table)
    assert end.value.exit_code == 3
    assert "error: 2 of 2 cells could not be run" in capsys.readouterr().err
    with (tmp_path / "table2.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["w_bits"] for row in rows] == ["8", "4"]
    assert {row["note"] for row in rows} == {"no run: constants too wide"}
