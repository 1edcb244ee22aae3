# SPDX-License-Identifier: Apache-2.0
"""``aocq prove``, without torch: table, certificate, inputs that overflow, the gate."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command_line import Demo, Finished

import hw_profiles
from simulator.graph import load

Run = Callable[..., Finished]


@pytest.fixture
def narrow(tmp_path: Path) -> Path:
    """The demo's profile with registers of values inside ops, two of them too narrow."""
    text = (hw_profiles.FOLDER / "edge_npu_int8.toml").read_text("utf-8")
    path = tmp_path / "narrow.toml"
    registers = '[registers.softmax]\nsum = "u34"\nreciprocal = "u31"\n'
    path.write_text(f'{text}\n{registers}[registers.layernorm]\nsum = "s12"\n', "utf-8")
    return path


def test_the_demo_is_proven(without_torch: Run, demo: Demo, tmp_path: Path) -> None:
    out = tmp_path / "proof" / "certificate.json"
    done = without_torch("prove", demo.folder, "--require-proven", "--out", out)
    assert "14 of 14 accumulator levels and 116 of 116 values in all are proven" in done.out
    assert "NO" not in done.out
    found = json.loads(out.read_text("utf-8"))
    assert (found["unproven"], len(found["accumulators"])) == ([], 14)
    assert (
        found["graph"]["sha256"]
        == json.loads((demo.folder / "run.json").read_text())["graph"]["sha256"]
    )
    again = without_torch("prove", demo.folder, "--json")
    values = json.loads(again.out)["values"]
    assert (len(values), sum(value["proven"] for value in values)) == (116, 116)
    assert len(without_torch("prove", demo.folder, "--all").out.splitlines()) > 116


def test_registers_that_are_too_narrow_are_shown_an_input(
    without_torch: Run, demo: Demo, tmp_path: Path, narrow: Path
) -> None:
    inputs = tmp_path / "inputs"
    given = ("prove", demo.folder, "--profile", narrow, "--inputs-out", inputs)
    done = without_torch(*given, "--require-proven", code=1)
    assert "gate failed: 7 of 116 values not proven" in done.err
    # Those that are not proven come first.
    rows = [line.split() for line in done.out.splitlines() if "profile" in line]
    assert [row[-1] for row in rows[:7]] == ["overflows"] * 7
    without_torch(*given)
    index = json.loads((inputs / "index.json").read_text("utf-8"))
    graph = load(demo.folder)
    for entry in index:
        assert entry["overflows"]
        for name, file in entry["inputs"].items():
            codes = np.load(inputs / file)
            assert codes.shape == (1, *graph.tensors[name].shape)
            assert codes.dtype == graph.tensors[name].type.dtype
        one, run_alone = Path(next(iter(entry["inputs"].values()))), entry["simulate"]
        assert run_alone == ["--op", entry["op"], "--inputs", f"a={one}"]
    of_layernorm = next(entry for entry in index if entry["value"] == "sum")
    (codes,) = (np.load(inputs / file).astype(int) for file in of_layernorm["inputs"].values())
    op = next(op for op in graph.ops if op.name == of_layernorm["op"])
    factors = np.ones(codes.shape[-1], int)
    for name in (op.channel_multiplier, op.channel_shift):
        if name is not None:
            codes_of = graph.constants[name].astype(int)
            factors = factors << codes_of if name == op.channel_shift else factors * codes_of
    sums = ((codes - graph.tensors[op.a].zero_point) * factors).sum(axis=-1)
    assert of_layernorm["attained"] in {sums.min(), sums.max()}


def test_values_that_there_are_not_are_refused(
    without_torch: Run, demo: Demo, tmp_path: Path, narrow: Path
) -> None:
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(narrow.read_text("utf-8").replace("sum = ", "total = "), "utf-8")
    done = without_torch("prove", demo.folder, "--profile", wrong, code=3)
    assert "ops of this kind have no such value" in done.err
    wrong.write_text(narrow.read_text("utf-8").replace("softmax]", "softmx]"), "utf-8")
    done = without_torch("profiles", "validate", wrong, code=3)
    assert "softmx: no such kind of op" in done.err + done.out


def test_a_finished_run_is_judged_by_what_is_proven(
    without_torch: Run, demo: Demo, tmp_path: Path
) -> None:
    done = without_torch("report", demo.folder, "--require-proven", "--markdown")
    assert "gates passed: require proven" in done.out
    assert "## Registers" in done.out
    record = json.loads((demo.folder / "run.json").read_text("utf-8"))
    assert record["proof"]["proven"] == record["proof"]["values"] == 116
    record["proof"]["registers"][3]["proven"] = False
    spoiled = tmp_path / "spoiled"
    spoiled.mkdir()
    (spoiled / "run.json").write_text(json.dumps(record), "utf-8")
    (spoiled / "layers.csv").write_bytes((demo.folder / "layers.csv").read_bytes())
    done = without_torch("report", spoiled, "--require-proven", "--markdown", code=1)
    assert "1 register is not proven free of overflow" in done.err


def test_inspect_shows_the_widths(without_torch: Run, demo: Demo) -> None:
    plain = without_torch("inspect", demo.folder).out.splitlines()
    wide = without_torch("inspect", demo.folder, "--widths").out.splitlines()
    assert [line for line in wide if not line.startswith("      ") or "input" in line] == plain
    assert len(wide) == len(plain) + 116
    assert sum(" square_sum " in line for line in wide) == 5
