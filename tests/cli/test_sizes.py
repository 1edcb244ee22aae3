# SPDX-License-Identifier: Apache-2.0
"""Sizes and costs of networks that need neither weights nor images."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import ENVIRONMENT, Demo, Finished, aocq

from aocq.models import random_model
from simulator.results import CyclesRecord, MemoryRecord

Run = Callable[..., Finished]
MODEL = "vit_nano_digits"


def test_costs_do_not_depend_on_weights_and_images(warm: Run, demo: Demo, tmp_path: Path) -> None:
    trained = tmp_path / "trained"
    calibration = ("--calib-data", demo.folder / "data" / "calib", "--calib", 8)
    widths = ("--w-bits", 4, "--a-bits", 8)
    warm("quantize", MODEL, *calibration, "--method", "base_ptq", *widths, "--out", trained)
    warm("lower", trained)
    of_graph = json.loads(warm("cost", trained, "--json").out)
    done = warm("cost", MODEL, *widths, "--json", "-")
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


def test_costs_of_another_construction(warm: Run) -> None:
    usual, wide = (
        json.loads(warm("cost", MODEL, *arguments, "--json").out)
        for arguments in ((), ("--model-kwargs", "mlp_ratio=8.0"))
    )
    assert wide["graph"]["macs"] > usual["graph"]["macs"]
    assert wide["model"]["arguments"] == {"mlp_ratio": 8.0}


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (["no/such/folder"], 3, "no/such/folder: no such graph, and no model's name"),
        (["vit_nano_digit"], 3, "model vit_nano_digit: timm"),
        ([MODEL, "--profile", "nope"], 3, "profile nope"),
        ([MODEL, "other"], 2, "one GRAPH or MODEL at a time"),
        ([MODEL, "--model-kwargs", "depths=3"], 3, "cannot build it with depths=3"),
    ],
)
def test_what_cannot_be_sized(warm: Run, arguments: list[str], code: int, complaint: str) -> None:
    assert complaint in " ".join(warm("cost", *arguments, code=code).err.split())


def test_options_of_a_model_beside_a_graph(warm: Run, demo: Demo) -> None:
    assert "is a graph" in warm("cost", demo.folder, "--w-bits", 4, code=2).err


def test_a_table_without_images(warm: Run, tmp_path: Path) -> None:
    done = warm("table2", MODEL, "--bits", "8/8,4/8", "--out", tmp_path)
    with (tmp_path / "table2.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["method"], row["w_bits"]) for row in rows] == [
        ("float", "32"),
        ("sizes only", "8"),
        ("sizes only", "4"),
    ]
    assert [row["integer_top1"] for row in rows] == ["", "", ""]
    for row in rows[1:]:
        single = json.loads(warm("cost", MODEL, "--w-bits", row["w_bits"], "--json").out)
        assert int(row["cycles"]) == single["cycles"]["total"]
        assert int(row["peak_sram_bytes"]) == single["memory"]["peak_sram_bytes"]
        assert int(row["ops"]) == single["graph"]["ops"]
    assert "cycles" in done.out


def test_a_network_without_weights_has_sizes_beside_runs(
    demo: Demo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ENVIRONMENT, "HF_HUB_OFFLINE", "1")
    monkeypatch.setitem(ENVIRONMENT, "HF_HOME", str(tmp_path / "nothing_cached"))
    data = ("--data", demo.folder / "data" / "val", "--limit", 4, "--calib", 4)
    methods = ("--methods", "base_ptq,fq_vit", "--bits", "8/8")
    aocq("table2", "test_vit", MODEL, *data, *methods, "--out", tmp_path / "table")
    with (tmp_path / "table" / "table2.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["model"], row["method"]) for row in rows] == [
        ("test_vit", "sizes only"),
        (MODEL, "base_ptq"),
        (MODEL, "fq_vit"),
    ]
    assert int(rows[0]["cycles"]) > 0
    assert "its pretrained weights cannot be fetched" in rows[0]["note"]
    assert all(row["integer_top1"] for row in rows[1:])


@pytest.mark.parametrize("extra", [("--methods", "aocq"), ()])
def test_images_are_missed_where_something_is_to_be_run(
    warm: Run, tmp_path: Path, extra: tuple[str, ...]
) -> None:
    model = MODEL if extra else f"{MODEL}={tmp_path / 'weights.pth'}"
    done = warm("table2", model, *extra, "--out", tmp_path, code=2)
    assert "--data is missing" in " ".join(done.err.split())
