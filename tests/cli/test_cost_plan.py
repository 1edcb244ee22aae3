# SPDX-License-Identifier: Apache-2.0
"""``aocq cost --plan``: what lives where, tiles and traffic of every step."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from command_line import Demo, Finished

from simulator.profile import profile_paths

Run = Callable[..., Finished]


def small_chip(folder: Path) -> Path:
    """The demo's profile with less SRAM than its activations need, and weights fetched early."""
    text = profile_paths()["edge_npu_int8"].read_text("utf-8")
    for old, new in (
        ('name = "edge_npu_int8"', 'name = "small"'),
        ("sram_bytes = 524288", "sram_bytes = 4096\nprefetch = true"),
    ):
        assert text.count(old) == 1
        text = text.replace(old, new)
    path = folder / "small.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_plan_is_a_key_and_a_table(without_torch: Run, demo: Demo, tmp_path: Path) -> None:
    asked = ("cost", demo.folder, "--profile", small_chip(tmp_path))
    assert "plan" not in json.loads(without_torch(*asked, "--json").out)
    found = json.loads(without_torch(*asked, "--plan", "--json").out)
    plan, steps = found["plan"], found["plan"]["steps"]
    assert sum(step["cycles"] for step in steps) == found["cycles"]["total"]
    assert sum(step["dram_bytes"] for step in steps) == found["memory"]["dram_bytes"]
    assert sum(step["sram_bytes"] for step in steps) == found["ports"]["sram"]["bytes"]
    names = {buffer["name"] for buffer in found["buffers"]}
    assert plan["spilled"]
    assert set(plan["spilled"]) < names
    assert set(plan["in_sram"]) <= names - set(plan["spilled"])
    tilings = [step["tiling"] for step in steps if step["tiling"] is not None]
    assert len(tilings) == 14  # patches, head, and 6 products in each of 2 blocks
    assert any(tiling["copied"] for tiling in tilings)
    assert all((tiling["stays"] is None) == (not tiling["copied"]) for tiling in tilings)

    lines = without_torch(*asked, "--plan").out.splitlines()
    head = next(place for place, line in enumerate(lines) if "tiles m × n × k" in line)
    rows = [line.split() for line in lines[head + 2 :] if line.strip()]
    assert [row[0] for row in rows] == [step["name"] for step in steps]
    assert [int(row[1].replace(",", "")) for row in rows] == [step["cycles"] for step in steps]


def test_a_chip_that_holds_everything_spills_nothing(without_torch: Run, demo: Demo) -> None:
    plan = json.loads(without_torch("cost", demo.folder, "--plan", "--json").out)["plan"]
    assert plan["spilled"] == []
    assert all(step["weights_since"] is None for step in plan["steps"])
