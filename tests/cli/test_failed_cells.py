# SPDX-License-Identifier: Apache-2.0
"""A run of a table that fails does not take the others with it."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import typer

from aocq.cli import sweeps, tables
from aocq.cli.requests import RunOptions
from aocq.jobs.request import ModelRequest, VerifyRequest
from aocq.recipes.recipe import Recipe
from aocq.sweeps.cells import cell


def request_into(folder: Path) -> VerifyRequest:
    """A request of a network that there is not, for a chip without its widths."""
    return RunOptions().request(
        ModelRequest(name="m"),
        folder,
        profile="edge_npu_a4",
        method="base_ptq",
        recipe=Recipe(),
        out=folder,
    )


def test_failed_cells_are_rows_with_their_reasons_and_exit_code_3(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    request = request_into(tmp_path)
    cells = [cell(request, Recipe(weight_bits=bits)) for bits in (8, 4)]
    chosen = tables.Table(name="table2", title="T", out=tmp_path, skip_impossible=True)
    with tables.claimed_table(tmp_path, "table2"):
        table = tables.run_table(chosen, cells, sweeps.RunningOptions())
    with pytest.raises(typer.Exit) as end:
        tables.exit_if_cells_failed(table)
    assert end.value.exit_code == 3
    assert "error: 2 of 2 cells could not be run" in capsys.readouterr().err
    with (tmp_path / "table2.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["w_bits"] for row in rows] == ["8", "4"]
    for row in rows:
        assert row["note"].startswith("no run: profile edge_npu_a4: activation.bits")


def test_what_failed_is_tried_again_where_that_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    request = request_into(tmp_path)
    chosen = tables.Table(name="table2", title="T", out=tmp_path, skip_impossible=True)
    said = []
    for running in (
        sweeps.RunningOptions(),
        sweeps.RunningOptions(),
        sweeps.RunningOptions(retry_failed=True),
    ):
        with tables.claimed_table(tmp_path, "table2"):
            tables.run_table(chosen, [cell(request, Recipe())], running)
        said.append("failed before; --retry-failed tries again" in capsys.readouterr().err)
    assert said == [False, True, False]
