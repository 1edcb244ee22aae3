# SPDX-License-Identifier: Apache-2.0
"""Sizes and costs of networks that need neither weights nor images."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import pytest
from command_line import Demo, Finished
from typer.testing import CliRunner

import aocq.zoo.models
from aocq.cli.app import app_of
from aocq.records.costs import CyclesRecord, MemoryRecord
from aocq.zoo.models import random_model

Run = Callable[..., Finished]
MODEL = "vit_nano_digits"


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "table2.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_costs_do_not_depend_on_weights_and_images(warm: Run, demo: Demo, tmp_path: Path) -> None:
    cache = {"AOCQ_CACHE_DIR": str(tmp_path / "cache")}
    trained = tmp_path / "trained"
    calibration = ("--calib-data", demo.folder / "data" / "calib", "--calib", 8)
    widths = ("--w-bits", 4, "--a-bits", 8)
    warm("quantize", MODEL, *calibration, "--method", "base_ptq", *widths, "--out", trained)
    warm("lower", trained)
    of_graph = json.loads(warm("cost", trained, "--json").out)
    done = warm("cost", MODEL, *widths, "--json", "-", **cache)
    found = json.loads(done.out)
    assert "random weights" in done.err
    assert found["model"]["parameters"] == random_model(MODEL).parameters
    assert found["method"] == {"name": "base_ptq", "weight_bits": 4, "activation_bits": 8}
    assert found["memory"].pop("model_size_bytes") == found["model"]["parameters"] / 2
    for part in ("memory", "cycles", "latency_ms", "fps"):
        assert found[part] == of_graph[part]
    for kind, keys in ((MemoryRecord, found["memory"]), (CyclesRecord, found["cycles"])):
        assert set(keys) | {"model_size_bytes"} >= set(kind.model_fields)
    assert {**found["graph"], "sha256": ""} == {**of_graph["graph"], "sha256": ""}


@pytest.mark.parametrize(
    "others",
    [(), ("--w-bits", 4), ("--profile", "litert_ref"), ("--profile", "esp32_p4")],
    ids=["same", "another width", "LayerNorm as a graph", "powers of two"],
)
def test_a_network_is_captured_once_and_then_needs_no_torch(
    warm: Run, without_torch: Run, tmp_path: Path, others: tuple[object, ...]
) -> None:
    """The processes of ``without_torch`` find neither torch nor timm."""
    kept = {"AOCQ_CACHE_DIR": str(tmp_path / "kept")}
    missing = without_torch("cost", MODEL, *others, "--json", code=4, **kept).err
    assert "torch is not installed" in missing
    assert "capture vit_nano_digits with random weights" in warm("cost", MODEL, **kept).err
    again = without_torch("cost", MODEL, *others, "--json", **kept)
    assert again.err == ""
    fresh = warm("cost", MODEL, *others, "--json", AOCQ_CACHE_DIR=str(tmp_path / "fresh"))
    assert again.out == fresh.out


def test_a_width_that_a_chip_does_not_have_is_told_before_the_capture(without_torch: Run) -> None:
    done = without_torch("cost", MODEL, "--profile", "ethos_u55_256", "--w-bits", 4, code=3)
    assert "weight.bits = [8] has no 4" in done.err


def test_costs_of_another_construction(warm: Run) -> None:
    wide = json.loads(warm("cost", MODEL, "--model-kwargs", "mlp_ratio=8.0", "--json").out)
    assert wide["model"]["parameters"] > random_model(MODEL).parameters
    assert wide["model"]["arguments"] == {"mlp_ratio": 8.0}


def test_costs_as_a_table_have_units(warm: Run) -> None:
    lines = warm("cost", MODEL, "--w-bits", 4).out.splitlines()
    found = {key: cells for key, *cells in (re.split(" {2,}", line.strip()) for line in lines)}
    known = json.loads(warm("cost", MODEL, "--w-bits", 4, "--json").out)
    assert found[f"{MODEL} base_ptq W4A8 on edge_npu_int8, one image"] == ["ESTIMATED"]
    of_peak = known["memory"]["peak_sram_bytes"]
    assert found["peak SRAM"] == [f"{of_peak / 1024:.2f} KiB", f"{of_peak:,} bytes"]
    of_constants = known["memory"]["weight_bytes"]
    label = "constants of the graph: weights, biases, multipliers, tables"
    assert found[label] == [f"{of_constants / 1024:.2f} KiB", f"{of_constants:,} bytes"]
    assert found["latency"] == [f"{known['latency_ms']:.3f} ms"]
    assert found["activations fit the SRAM"] == ["yes"]
    size = known["memory"]["model_size_bytes"]
    assert found["all parameters at 4 bits"] == [f"{size / 1024:.2f} KiB", f"{size:,} bytes"]
    assert found["cycles"] == [f"{known['cycles']['total']:,}", "100.00 %"]
    of_kinds = [int(cells[0].replace(",", "")) for key, cells in found.items() if key[:3] == "of "]
    assert sum(of_kinds) == known["cycles"]["total"]


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (["no/such/folder"], 3, "no/such/folder: no such graph, and no model's name"),
        (["vit_nano_digit"], 3, "model vit_nano_digit: timm"),
        ([MODEL, "--profile", "nope"], 3, "profile nope"),
        ([MODEL, "other"], 2, "one GRAPH or MODEL at a time"),
        ([MODEL, "--model-kwargs", "depths=3"], 3, "no such argument; nearest: depth"),
        ([MODEL, "--model-kwargs", "depth"], 2, "'depth': wanted KEY=VALUE, e.g. img_size=32"),
    ],
)
def test_what_cannot_be_sized(warm: Run, arguments: list[str], code: int, complaint: str) -> None:
    assert complaint in " ".join(warm("cost", *arguments, code=code).err.split())


def test_options_of_a_model_beside_a_graph(warm: Run, demo: Demo) -> None:
    assert "is a graph" in warm("cost", demo.folder, "--w-bits", 4, code=2).err


def test_a_table_without_images(warm: Run, tmp_path: Path) -> None:
    done = warm("table2", MODEL, "--bits", "8/8,4/8", "--out", tmp_path)
    found = rows(tmp_path)
    assert [(row["method"], row["w_bits"]) for row in found] == [
        ("float", "32"),
        ("sizes only", "8"),
        ("sizes only", "4"),
    ]
    assert [row["integer_top1"] for row in found] == ["", "", ""]
    single = json.loads(warm("cost", MODEL, "--w-bits", 4, "--json").out)
    assert int(found[2]["cycles"]) == single["cycles"]["total"]
    assert int(found[2]["peak_sram_bytes"]) == single["memory"]["peak_sram_bytes"]
    assert int(found[2]["ops"]) == single["graph"]["ops"]
    assert "cycles" in done.out
    assert "agreement" not in done.out  # nothing was run


def test_a_network_without_weights_has_sizes_beside_runs(
    demo: Demo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if timm's hub could not be reached."""

    data = demo.folder / "data"
    weights = files("aocq.demo") / "vit_nano_digits.fp16.safetensors"
    images = ("--data", data / "val", "--calib-data", data / "calib", "--limit", 4, "--calib", 4)
    wanted = ("--methods", "base_ptq,fq_vit", "--bits", "8/8", "--out", tmp_path)
    created = aocq.zoo.models.timm.create_model

    def offline(name: str, pretrained: bool = False, **options: object) -> object:
        if pretrained:
            raise OSError("no route to host")
        return created(name, pretrained=False, **options)

    monkeypatch.setattr(aocq.zoo.models.timm, "create_model", offline)
    arguments = ["table2", MODEL, *map(str, (*images, *wanted))]
    done = CliRunner().invoke(app_of(), arguments)
    assert done.exit_code == 0, done.output
    (row,) = rows(tmp_path)
    assert (row["model"], row["method"]) == (MODEL, "sizes only")
    assert int(row["cycles"]) > 0
    assert "no route to host" in row["note"]
    arguments[1] = f"{MODEL}={weights}"
    arguments[arguments.index("base_ptq,fq_vit")] = "base_ptq"
    assert CliRunner().invoke(app_of(), arguments).exit_code == 0
    assert all(row["integer_top1"] for row in rows(tmp_path))


def test_a_network_that_cannot_be_sized_does_not_stop_the_others(warm: Run, tmp_path: Path) -> None:
    done = warm("table2", "resnet10t", MODEL, "--bits", "8/8", "--out", tmp_path, code=3)
    first, _, last = rows(tmp_path)
    assert (first["model"], first["cycles"]) == ("resnet10t", "")
    assert "no sizes: " in first["note"]
    assert int(last["cycles"]) > 0
    assert "1 of 2 cells could not be run" in done.err


def test_a_name_that_timm_does_not_have_is_refused_before_the_first(
    warm: Run, tmp_path: Path
) -> None:
    done = warm("table2", MODEL, "swin_tinny", "--out", tmp_path, code=3)
    assert "timm" in done.err
    assert "has no such model" in done.err
    assert not (tmp_path / "table2.csv").exists()


def test_sizes_of_another_number_of_classes(warm: Run, tmp_path: Path) -> None:
    warm("table2", MODEL, "--num-classes", 500, "--bits", "8/8", "--out", tmp_path)
    parameters = random_model(MODEL, 500).parameters
    assert float(rows(tmp_path)[1]["size_mb"]) == parameters / 1_024_000


def test_a_network_that_is_built_otherwise_has_no_size_of_the_paper(
    warm: Run, tmp_path: Path
) -> None:
    name = "deit_tiny_patch16_224"
    own = ("--model-kwargs", "depth=1 dynamic_img_size=True", "--bits", "8/8")
    warm("table2", name, *own, "--out", tmp_path / "own")
    warm("table2", name, *own, "--preprocessing", "input_size=3,96,96", "--out", tmp_path / "small")
    found, small = (rows(tmp_path / folder) for folder in ("own", "small"))
    assert [row["paper_size_mb"] for row in found] == ["", ""]
    assert {row["arguments"] for row in found} == {"depth=1 dynamic_img_size=True"}
    assert int(small[1]["cycles"]) < int(found[1]["cycles"]) / 2


def test_sizes_of_another_construction(warm: Run, tmp_path: Path) -> None:
    warm("table2", MODEL, "--model-kwargs", "depth=1", "--bits", "8/8", "--out", tmp_path)
    parameters = random_model(MODEL, arguments={"depth": 1}).parameters
    assert parameters < random_model(MODEL).parameters
    assert float(rows(tmp_path)[1]["size_mb"]) == parameters / 1_024_000


@pytest.mark.parametrize(
    "extra",
    [
        *(("--methods", "aocq"), ("--calib-data", "images"), ()),
        *(("--preset", "fast"), ("--preset", "default"), ("--seed", 0), ("--batch", 8)),
        *(("--float-ops", "integer"), ("--skip-bad-images",), ("--device", "cpu")),
        *(("--threads", 1), ("--gemm", "blas"), ("--workers", 2), ("--dry-run",)),
        ("--retry-failed",),
    ],
    ids=lambda extra: " ".join(map(str, extra)),
)
def test_images_are_missed_where_something_is_to_be_run(
    warm: Run, tmp_path: Path, extra: tuple[str, ...]
) -> None:
    model = MODEL if extra else f"{MODEL}={tmp_path / 'weights.pth'}"
    done = warm("table2", model, *extra, "--out", tmp_path, code=2)
    assert "--data is missing" in " ".join(done.err.split())
