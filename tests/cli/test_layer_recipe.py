# SPDX-License-Identifier: Apache-2.0
"""A recipe with rules for single layers, from the file to the record, the table and the pages."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Demo, Finished, record

Run = Callable[..., Finished]
FEW = ("--limit", 10, "--batch", 10, "--method", "base_ptq")
RECIPE = """
format = 1
[recipe]
weight_bits = 3
seed = 5
[layers]
"blocks.*.mlp.fc2" = { w = 8 }
"head" = { w = 8, a = 16 }
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE, encoding="utf-8")
    return path


def test_bits_of_layers_are_in_record_table_and_pages(
    warm: Run, demo: Demo, recipe: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    # The command line's 4 bits win over the file's 3.
    job = (*demo.verify, *FEW, "--profile", "edge_npu_int8_wide", "--recipe", recipe, "--out", out)
    done = warm(*job)
    found = record(out)
    method = found["method"]
    assert (method["weight_bits"], found["seed"]) == (4, 5)
    assert method["recipe"]["layers"] == {
        "blocks.*.mlp.fc2": {"w": 8},
        "head": {"w": 8, "a": 16},
    }
    assert method["layers"] == [
        {"op": "blocks.0.mlp.fc2", "a_bits": 8, "b_bits": 8},
        {"op": "blocks.1.mlp.fc2", "a_bits": 8, "b_bits": 8},
        {"op": "head", "a_bits": 16, "b_bits": 8},
    ]
    assert "base_ptq W4A8 mixed" in done.out
    assert "blocks.*.mlp.fc2 W8, head W8A16" in done.out

    with (out / "layers.csv").open(encoding="utf-8", newline="") as file:
        widths = {row["op"]: (row["a_bits"], row["b_bits"]) for row in csv.DictReader(file)}
    assert widths["head"] == ("16", "8")
    assert widths["blocks.0.mlp.fc2"] == ("8", "8")
    assert widths["blocks.0.mlp.fc1"] == ("8", "4")
    assert widths["blocks.0.attn.context"] == ("16", "8")  # the chip's probabilities
    assert widths["blocks.0.norm1"] == ("", "")

    # Two matrices of 256 x 64 and one of 64 x 10 have 4 bits more than the other parameters.
    model = found["model"]["parameters"]
    assert found["memory"]["model_size_bytes"] == (4 * model + 4 * (2 * 256 * 64 + 640)) / 8
    page, text = ((out / name).read_text(encoding="utf-8") for name in ("report.html", "report.md"))
    assert "Layers with other bits than W4A8" in page
    assert "| `head` | 16 | 8 |" in text
    assert " bits on average" in text

    again = warm(*job)
    assert "finished before" in again.err
    other = recipe.with_name("other.toml")
    other.write_text(RECIPE.replace("w = 8, a = 16", "w = 8"), encoding="utf-8")
    # Another rule is another request: the run is made again.
    assert "finished before" not in warm(*job, "--recipe", other).err


def test_costs_of_a_network_without_weights_take_the_recipe(warm: Run, recipe: Path) -> None:
    job = ("cost", "vit_nano_digits", "--profile", "edge_npu_int8_wide", "--recipe", recipe)
    found = json.loads(warm(*job, "--json").out)
    assert found["method"]["weight_bits"] == 3
    assert [layer["op"] for layer in found["method"]["layers"]] == [
        *("blocks.0.mlp.fc2", "blocks.1.mlp.fc2", "head")
    ]
    printed = warm(*job, "--w-bits", 4).out
    assert "base_ptq W4A8 mixed" in printed
    assert "bits on average" in printed


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        (
            '"blocks.7" = { w = 8 }',
            'pattern "blocks.7" meets no operation of the network; the near',
        ),
        ('"norm" = { w = 8 }', 'pattern "norm" sets w and meets no layer with weights, only norm'),
        ('"blocks.0.attn" = { a = 16 }', "scores: multiplies operands of 16 and 16 bits"),
        ('"*.fc?" = { w = 8 }\n"*fc2*" = { w = 4 }', "and no pattern is more specific"),
    ],
)
def test_what_a_network_does_not_have_is_told_before_calibration(
    warm: Run, demo: Demo, tmp_path: Path, rules: str, told: str
) -> None:
    path, out = tmp_path / "recipe.toml", tmp_path / "run"
    path.write_text(f"format = 1\n[layers]\n{rules}\n", encoding="utf-8")
    job = (*demo.verify, *FEW, "--profile", "edge_npu_int8_wide", "--recipe", path, "--out", out)
    assert told in " ".join(warm(*job, code=3).err.split())
    assert not (out / "run.json").exists()
