# SPDX-License-Identifier: Apache-2.0
"""Estimates of designs in blocks: the figures of each design by itself, in the plan's order."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from aocq.cli.sweep_runs import Tables
from aocq.jobs.captured import captured_network
from aocq.jobs.request import ModelRequest
from aocq.jobs.without_weights import lowered_without_weights, sizes_of
from aocq.progress import silent
from aocq.recipes.recipe import Recipe
from aocq.sweeps import cost_only
from aocq.sweeps.cost_only import ROWS_NAME, cost_blocks, estimated
from aocq.sweeps.designs import Design, read_designs
from aocq.sweeps.pool import ThisProcess
from reports.rows import TableRow
from simulator.graph import sha256
from simulator.profile import load_profile, profile_paths
from simulator.profile.variation import varied

PLAN = """
[[network]]
name = "vit_nano_digits"
[sweep]
costs_only = true
recipes = ["w8a8", "w4a8"]
profiles = ["edge_npu_int8", "esp32_p4"]
[sweep.keys]
"compute.clock_mhz" = [300, 100]
"memory.sram_bytes" = [4096, 0, 65536]
"""
NETWORK = ModelRequest(name="vit_nano_digits")


@pytest.fixture
def designs(tmp_path: Path) -> list[Design]:
    (tmp_path / "plan.toml").write_text(PLAN, "utf-8")
    return read_designs(tmp_path / "plan.toml", tmp_path / "out", ("aocq", "sweep"))[1]


def rows_of(designs: list[Design], out: Path) -> tuple[list[TableRow], list[str]]:
    """The rows of designs in their order, and what was said of blocks."""
    found: dict[int, TableRow] = {}
    said: list[str] = []
    blocks = cost_blocks(designs, out)
    with ThisProcess(silent, said.append) as pool:
        for rows in estimated(designs, blocks, pool, said.append, said.append):
            assert not found.keys() & rows.keys()
            found |= rows
    assert sorted(found) == list(range(len(designs)))
    return [found[place] for place in range(len(designs))], said


def test_figures_are_those_of_each_design_by_itself(designs: list[Design], tmp_path: Path) -> None:
    rows, _ = rows_of(designs, tmp_path / "out")
    assert len(rows) == 2 * 2 * 2 * 3
    for design, row in zip(designs, rows, strict=True):
        assert row.variant == design.variant
        if design.chip.profile is None:
            assert "memory.sram_bytes = 0" in row.note
            continue
        if row.cycles is None:
            assert "has no 4" in row.note
            continue
        design.chip.write()
        recipe = design.request.calibration.recipe
        widths = (recipe.weight_bits, recipe.activation_bits)
        (sizes,) = sizes_of(NETWORK, design.chip.path, [widths], silent, print).sizes
        assert (row.w_bits, row.a_bits) == widths
        assert row.cycles == sizes.cycles.total
        assert row.latency_ms == sizes.latency_ms
        assert row.peak_sram_bytes == sizes.memory.peak_sram_bytes
        assert row.sram_bytes == sizes.memory.sram_bytes
        fits = sizes.memory.peak_sram_bytes <= sizes.memory.sram_bytes
        assert (row.feasible, row.answer) == (fits, "YES" if fits else "NO")
        assert ("of SRAM" in row.reason) == (not fits)
    assert {row.feasible for row in rows} == {True, False, None}


def test_blocks_that_are_finished_are_not_made_again(
    designs: list[Design], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cost_only, "BLOCK", 3)
    out = tmp_path / "out"
    rows, said = rows_of(designs, out)
    kept = sorted(out.rglob(ROWS_NAME))
    assert len(kept) == len(cost_blocks(designs, out)) > 4
    damaged, *others = kept
    damaged.write_bytes(damaged.read_bytes()[:-1])
    times = [path.stat().st_mtime_ns for path in others]
    again, said_again = rows_of(designs, out)
    assert again == rows
    assert [path.stat().st_mtime_ns for path in others] == times
    assert sum("finished before" in text for text in said_again) == len(others)
    assert not any("finished before" in text for text in said)


def test_the_size_of_blocks_changes_no_row(
    designs: list[Design], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, _ = rows_of(designs, tmp_path / "out")
    monkeypatch.setattr(cost_only, "BLOCK", 2)
    assert rows_of(designs, tmp_path / "other")[0] == rows


COSTS = {
    "compute.clock_mhz": 123,
    "compute.vector.lanes": 2,
    "memory.sram_bytes": 1000,
    "memory.dram_bytes_per_cycle": 3,
    "energy": None,
}


@pytest.mark.parametrize("name", [*profile_paths()])
def test_lowering_reads_nothing_of_what_blocks_take_for_costs(name: str) -> None:
    profile = load_profile(name)
    recipe = Recipe(activation_bits=profile.activation.operand_width)
    if 8 not in profile.weight.bits:
        recipe = replace(recipe, weight_bits=profile.weight.bits[0])
    captured = captured_network(NETWORK, silent, print)
    try:
        graph = lowered_without_weights(captured, recipe, profile).graph
        other = varied(profile, profile.name, COSTS)
    except Exception as refused:  # what a chip cannot hold, tables in files: not asked here
        pytest.skip(str(refused))
    assert sha256(lowered_without_weights(captured, recipe, other).graph) == sha256(graph)


def test_a_table_of_the_first_rows_has_the_columns_that_the_whole_one_will_have(
    designs: list[Design], tmp_path: Path
) -> None:
    of_one_profile = [each for each in designs if each.variant["profile"] == "edge_npu_int8"]
    rows, _ = rows_of(of_one_profile, tmp_path / "out")
    for chosen, chips in ((of_one_profile, True), (of_one_profile[:1], False)):
        tables = Tables("A sweep", chosen, (), tmp_path / "out")
        tables.add(0, rows[0])
        tables.publish()
        assert ("| feasible |" in (tmp_path / "out" / "sweep.md").read_text("utf-8")) == chips


def test_megabytes_count_layers_at_their_own_bits(tmp_path: Path) -> None:
    mixed = '{ name = "o", weight_bits = 4, layers = { "blocks.*.mlp.fc2" = { w = 8 } } }'
    text = PLAN.replace('["w8a8", "w4a8"]', mixed.join("[]")).replace('"esp32_p4"', "")
    (tmp_path / "plan.toml").write_text(text.replace("int8", "packed"), "utf-8")
    _, found = read_designs(tmp_path / "plan.toml", tmp_path / "out", ("aocq", "sweep"))
    rows, _ = rows_of(found, tmp_path / "out")
    sizes = {row.size_mb for row in rows if row.cycles is not None}
    assert sizes == {67_749 / 1024 / 1000}
