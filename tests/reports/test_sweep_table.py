# SPDX-License-Identifier: Apache-2.0
"""Tables of many runs, and the paper's figures beside them."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from aocq.records.layers import LayerRow
from aocq.records.run import ModelRecord, RunResult
from reports.paper_table import paper_row, paper_size, paper_table
from reports.rows import TableRow, float_row, run_row
from reports.sweep_table import csv_text, markdown, terminal, write_table

Run = tuple[RunResult, list[LayerRow]]


def changed(result: RunResult, **parts: dict[str, Any]) -> RunResult:
    plain = result.model_dump()
    for part, values in parts.items():
        plain[part] |= values
    return RunResult.model_validate(plain)


def deit(run: Run, **accuracy: Any) -> RunResult:
    return changed(
        run[0],
        model={"name": "deit_tiny_patch16_224.fb_in1k"},
        method={"name": "aocq", "weight_bits": 4, "activation_bits": 8},
        accuracy=accuracy,
    )


def test_the_papers_table_is_whole() -> None:
    rows = paper_table()
    assert len(rows) == 54
    assert {row.model for row in rows} == {
        *("Swin-Tiny", "Swin-Small", "Swin-Base", "DeiT-Tiny", "DeiT-Small", "DeiT-Base")
    }
    floats = {row.model: row.top1 for row in rows if row.method == "float"}
    for row in rows:
        if row.delta is not None:
            # Swin-Base, PTQ4ViT W8A8 is 0.02 off in print.
            assert row.top1 - floats[row.model] == pytest.approx(row.delta, abs=0.021)


SIZES = {
    "deit_tiny_patch16_224": (5_717_416, 0),
    "deit_small_patch16_224": (22_050_664, 0),
    "deit_base_patch16_224": (86_567_656, 0),
    "swin_tiny_patch4_window7_224": (28_288_354, 1_114_064),
    "swin_small_patch4_window7_224": (49_606_258, 1_575_056),
    "swin_base_patch4_window7_224": (87_768_224, 1_575_056),
}
# 344.4 and 84.54 here; the paper's other figures of these two follow from what it prints for float.
PRINTED_OTHERWISE = {("swin_base_patch4_window7_224", 32), ("deit_base_patch16_224", 8)}


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("bits", [32, 8, 4])
def test_sizes_are_those_of_the_paper(name: str, bits: int) -> None:
    parameters, tables = SIZES[name]
    model = ModelRecord(
        name=name, checkpoint_sha256=None, parameters=parameters, table_bytes=tables
    )
    row = float_row(model) if bits == 32 else paper_row(name, "aocq", bits, 8)
    assert row is not None
    printed = row.paper_size_mb if isinstance(row, TableRow) else row.size_mb
    assert printed is not None
    found = paper_size(model, bits)
    if (name, bits) in PRINTED_OTHERWISE:
        assert 0.5 < abs(found - printed) < 0.7
    else:
        assert f"{found:.{1 if printed < 10 else 0}f}" == f"{printed:g}"


def test_methods_and_networks_find_the_papers_row() -> None:
    found = paper_row("deit_tiny_patch16_224.fb_in1k", "aocq", 4, 8)
    assert found is not None
    assert (found.top1, found.delta, found.size_mb) == (70.18, -2.03, 2.8)
    baseline = paper_row("swin_base_patch4_window7_224", "base_ptq_paper", 8, 8)
    assert baseline is not None
    assert baseline.top1 == 83.32
    assert paper_row("deit_tiny_patch16_224", "base_ptq", 8, 8) is None
    assert paper_row("deit_tiny_patch16_224", "aocq", 6, 6) is None
    assert paper_row("deit_tiny_distilled_patch16_224", "aocq", 8, 8) is None


def test_a_row_holds_the_figures_of_its_run_and_the_papers(run: Run) -> None:
    row = run_row(deit(run), {"alpha": "free"}, "deit/aocq-w4a8")
    assert (row.float_score, row.simulated_score, row.integer_score) == (82.75, 0.5, 0.25)
    assert row.delta == -82.5
    assert (row.agreement, row.logit_sqnr_db) == (0.25, -0.6171875)
    assert (row.float_ops, row.ops) == (0, 39)
    assert (row.calibration_images, row.calibration_seconds) == (64, 12.5)
    assert (row.paper_top1, row.paper_delta, row.paper_float_top1) == (70.18, -2.03, 72.21)
    assert row.size_mb == pytest.approx(2.79, abs=0.01)
    assert row.run == "deit/aocq-w4a8"


def test_what_cannot_be_compared_is_noted(run: Run) -> None:
    few = run_row(deit(run), {}, "").note
    assert "400 images, the paper's 50,000" in few
    assert "float +10.54 against the paper's: other images or checkpoint" in few
    whole = deit(run, images=50_000, float={"top1": 72.13, "top5": 91.0})
    assert run_row(whole, {}, "").note == ""
    swin = changed(
        whole,
        model={"name": "swin_small_patch4_window7_224"},
        method={"name": "base_ptq_paper"},
        accuracy={"float": {"top1": 83.2, "top5": 96.0}},
    )
    note = run_row(swin, {}, "").note
    assert "a copy error" in note
    assert "leaves operators in float here, this run does not" in note
    eight = changed(swin, method={"weight_bits": 8}, graph={"float_ops": 3})
    assert run_row(eight, {}, "").note == ""


def test_the_markdown_has_the_papers_columns_only_where_it_has_figures(run: Run) -> None:
    plain = markdown("Mine", [run_row(run[0], {}, "")])
    assert plain.startswith(
        "# Mine\n\nIn all rows: images 400.\n\n| model | method | W/A | float |"
    )
    assert "paper Δ" not in plain
    other = markdown("Mine", [run_row(run[0], {}, ""), run_row(deit(run), {}, "")])
    assert "| paper | paper Δ | paper MB |" in other
    assert "| 70.18 | -2.03 | 2.8 |" in other
    assert "- deit_tiny_patch16_224.fb_in1k aocq W4A8: 400 images" in other
    lines = [line for line in other.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1


def test_condition_numbers_are_a_table_of_their_own(run: Run, tmp_path: Path) -> None:
    blocks = [("blocks.0", 1234.5678, 12.0), ("blocks.1", float("inf"), 3.0)]
    write_table("ablate", "Levels", [run_row(run[0], {}, "")], tmp_path, blocks)
    assert "| blocks.0 | 1.23e+03 | 12 |" in (tmp_path / "ablate.md").read_text("utf-8")
    assert (tmp_path / "conditioning.csv").read_text("utf-8") == (
        "block,condition,condition_with_alpha\nblocks.0,1234.57,12\nblocks.1,inf,3\n"
    )


def test_a_cell_without_a_run_is_a_row_of_dashes_with_its_reason(run: Run, tmp_path: Path) -> None:
    failed = TableRow(model="m", method="x", w_bits=4, a_bits=6, note="no run: 4 has no 6")
    head, [line] = terminal([failed])
    assert line[:3] == ["m", "x", "4/6"]
    assert set(line[3:]) == {"—"}
    assert len(head) == len(line)
    write_table("table2", "T", [failed, run_row(run[0], {"alpha": "none"}, "f")], tmp_path)
    assert "- m x W4A6: no run: 4 has no 6" in (tmp_path / "table2.md").read_text("utf-8")
    assert {path.name for path in tmp_path.iterdir()} == {"table2.md", "table2.csv", "table2.json"}
    plain = json.loads((tmp_path / "table2.json").read_text("utf-8"))
    assert [row["integer_top1"] for row in plain["rows"]] == [None, 0.25]


def test_the_csv_has_full_precision_and_a_column_per_variant(run: Run) -> None:
    rows = [run_row(run[0], {"alpha": "none"}, "a"), run_row(run[0], {}, "b")]
    first, second = csv.DictReader(io.StringIO(csv_text(rows)))
    assert float(first["logit_sqnr_db"]) == -0.6171875
    assert (first["alpha"], second["alpha"]) == ("none", "")
    assert first["paper_top1"] == ""
