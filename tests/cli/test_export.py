# SPDX-License-Identifier: Apache-2.0
"""``aocq export``: files for other tools, without torch, and what keeps them from being written."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command_line import ENVIRONMENT, Demo, Finished

Run = Callable[..., Finished]
IMAGES = 16
WITHOUT = """
import sys
sys.modules[{package!r}] = None
from aocq.cli import main
main()
"""


def rows(demo: Demo) -> dict[str, dict[str, str]]:
    with (demo.folder / "layers.csv").open(encoding="utf-8") as file:
        return {row["op"]: row for row in csv.DictReader(file)}


def figures(text: str) -> dict[str, str]:
    return dict(line.split("  ", 1) for line in text.splitlines() if "  " in line)


def test_onnx_runs_near_the_emulator_and_says_how_near(
    without_torch: Run, demo: Demo, tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    out, codes = tmp_path / "demo.onnx", tmp_path / "codes.npy"
    np.save(codes, np.random.default_rng(3).integers(-128, 128, (IMAGES, 3, 8, 8)).astype(np.int8))
    done = without_torch(
        "export", "onnx", demo.folder, "--out", out, "--compare", IMAGES, "--inputs", codes,
        "--batch", 4,
    )  # fmt: skip
    told = {key.strip(): value.strip() for key, value in figures(done.out).items()}
    assert told["images"].startswith(f"{IMAGES} ")
    assert float(told["codes that differ by 1 at most"].split()[0]) > 95
    assert float(told["same top-1"].split()[0]) > 90
    model = onnx.load(out)
    about = {entry.key: entry.value for entry in model.metadata_props}
    assert about["profile"] == "edge_npu_int8"
    cycles = {
        entry.key: entry.value
        for node in model.graph.node
        if node.output[0] == "blocks.0.norm1"
        for entry in node.metadata_props
    }
    wanted = rows(demo)["blocks.0.norm1"]
    assert cycles["op"] == "blocks.0.norm1"
    assert cycles["cycles"] == wanted["cycles"]
    assert float(cycles["sqnr_db"]) == float(wanted["sqnr_db"])


def test_model_explorer_gets_the_graph_and_the_run_s_figures(
    without_torch: Run, demo: Demo, tmp_path: Path
) -> None:
    out = tmp_path / "demo.json"
    without_torch("export", "model-explorer", demo.folder, "--out", out)
    (graph,) = json.loads(out.read_text(encoding="utf-8"))["graphs"]
    assert set(rows(demo)) <= {node["id"] for node in graph["nodes"]}
    for key in ("cycles", "weight_bytes", "result_bytes", "sqnr_db", "headroom_bits"):
        data = json.loads((tmp_path / f"demo.{key}.json").read_text(encoding="utf-8"))
        results = data[graph["id"]]["results"]
        if key != "result_bytes":
            given = {op: row[key] for op, row in rows(demo).items() if row[key]}
            assert {op: float(one["value"]) for op, one in results.items()} == {
                op: float(value) for op, value in given.items()
            }


def test_a_graph_without_a_run_has_estimates(
    without_torch: Run, demo: Demo, tmp_path: Path
) -> None:
    folder = tmp_path / "graph"
    folder.mkdir()
    for name in ("graph.json", "graph.safetensors"):
        (folder / name).write_bytes((demo.folder / name).read_bytes())
    out = tmp_path / "graph.json.out"
    without_torch("export", "model-explorer", folder, "--out", out)
    cycles = json.loads(out.with_suffix(".cycles.json").read_text(encoding="utf-8"))
    (overlay,) = cycles.values()
    wanted = {op: float(row["cycles"]) for op, row in rows(demo).items()}
    assert {op: float(one["value"]) for op, one in overlay["results"].items()} == wanted
    assert not out.with_suffix(".sqnr_db.json").exists()


def test_tflite_refuses_another_chip_by_the_op(
    without_torch: Run, demo: Demo, tmp_path: Path
) -> None:
    out = tmp_path / "demo.tflite"
    done = without_torch("export", "tflite", demo.folder, "--out", out, code=3)
    assert "op patch_embed.proj has no form in a .tflite file" in done.err
    assert not out.exists()


def test_what_is_compared_belongs_to_compare(
    without_torch: Run, demo: Demo, tmp_path: Path
) -> None:
    out, codes = tmp_path / "demo.onnx", tmp_path / "codes.npy"
    np.save(codes, np.zeros((1, 3, 8, 8), np.int8))
    done = without_torch("export", "onnx", demo.folder, "--out", out, "--inputs", codes, code=2)
    assert "--inputs and --data are for --compare N" in done.err
    assert not out.exists()


def test_a_missing_package_is_an_environment_problem(demo: Demo, tmp_path: Path) -> None:
    out = tmp_path / "file"
    code = WITHOUT.format(package="onnx")
    done = subprocess.run(
        [sys.executable, "-c", code, "export", "onnx", demo.folder, "--out", out],
        capture_output=True, text=True, env=ENVIRONMENT, check=False,
    )  # fmt: skip
    assert done.returncode == 4, done.stderr
    assert "pip install 'aocq[interchange]'" in done.stderr
    assert not out.exists()
