# SPDX-License-Identifier: Apache-2.0
"""The commands: what they say of themselves, what they refuse, what they leave."""

from __future__ import annotations

import argparse
import json
import sys

import pytest
from small_subjects import small_subject

from aocq.methods import storage
from benchmarks import command_line, cost, emulation, gemm, growth, kernels, networks, peak, sweeps
from simulator.errors import InputError
from simulator.graph import save
from simulator.profile import load_profile

COMMANDS = {
    "emulation": emulation,
    "gemm": gemm,
    "kernels": kernels,
    "growth": growth,
    "cost": cost,
    "sweeps": sweeps,
}
ASKED = argparse.Namespace(threads=1, gemm="auto", batch=None)


def call(monkeypatch, module, *words: str) -> None:
    name = module.__name__.rpartition(".")[2]
    monkeypatch.setattr(sys, "argv", [name, *words])
    module.main()


@pytest.mark.parametrize("name", COMMANDS)
def test_help_teaches(monkeypatch, capsys, name):
    with pytest.raises(SystemExit) as end:
        call(monkeypatch, COMMANDS[name], "--help")
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert f"python -m benchmarks.{name}" in text
    assert "--pairs" in text


def test_emulation_beside_torch(monkeypatch, capsys, tmp_path):
    options = "--model vit_nano_digits --images 8 --pairs 2 --seconds 0.01 --threads 1"
    out = ["--peers", "float,fake-quantized", "--out", str(tmp_path)]
    call(monkeypatch, emulation, *options.split(), *out)
    printed = capsys.readouterr()
    assert "Inside kernels and products" in printed.out
    assert "round 2 of 2" in printed.err
    rows = json.loads((tmp_path / "emulation.json").read_text(encoding="utf-8"))
    assert [row["engine"] for row in rows] == ["emulator", "float32 torch", "fake-quantized, torch"]
    assert rows[0]["ratio"] is None
    assert rows[1]["ratio"] > 0
    assert str(tmp_path) not in json.dumps(rows)


def test_emulation_of_one_image_at_a_time(monkeypatch, capsys, tmp_path):
    options = "--model vit_nano_digits --images 8 --pairs 1 --seconds 0.01 --threads 2 --batch 1"
    call(monkeypatch, emulation, *options.split(), "--peers", "float", "--out", str(tmp_path))
    assert "Inside kernels and products" in capsys.readouterr().out
    rows = json.loads((tmp_path / "emulation.json").read_text(encoding="utf-8"))
    assert [row["batch"] for row in rows] == [1, 1]
    assert all(row["agreement"] is None or row["agreement"] > 50 for row in rows)


def test_emulation_without_a_quantized_model(monkeypatch, capsys, tmp_path):
    subject = small_subject()
    save(subject.graph, tmp_path)
    with pytest.raises(InputError, match=r"has no quantized\.json"):
        networks.subject(
            name="",
            weights=None,
            graph=tmp_path,
            profile="edge_npu_int8",
            accumulator="16s",
            data=None,
            images=1,
        )
    given = networks.Subject(
        name="small",
        network=subject.network,
        model=None,
        graph=subject.graph,
        images=subject.images,
        network_trained=False,
        weights="given weights",
        pixels="random pixels",
    )
    assert emulation.engines_of("onnxruntime", given, ASKED, None) == []
    assert "no quantized.json" in capsys.readouterr().err


def test_peers_that_are_not_installed_are_named(monkeypatch, capsys, subject, tmp_path):
    monkeypatch.setenv("AOCQ_ORACLES", str(tmp_path))
    with emulation.other_process(["onnxruntime", "litert"]) as process:
        assert process is None
    for name in ("onnxruntime", "litert"):
        assert emulation.engines_of(name, subject, ASKED, None) == []
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"{name}: not installed: make oracles" for name in ("onnxruntime", "litert")]


@pytest.mark.parametrize(
    ("name", "bits", "rule"), [("20s", 20, "saturate"), ("16s", 16, "saturate")]
)
def test_an_accumulator_is_the_profiles_outermost_register(name, bits, rule):
    plain = load_profile("edge_npu_int8")
    level = networks.with_accumulator(plain, name).accumulator.levels[-1]
    assert (level.bits, level.overflow) == (bits, rule)
    assert networks.with_accumulator(plain, None) is plain


def test_a_folder_of_both_files_is_lowered_again(tmp_path, monkeypatch):
    subject = small_subject()
    save(subject.graph, tmp_path)
    storage.save(subject.model, tmp_path)
    monkeypatch.setattr(networks, "float_network", lambda *_: (subject.network, (3, 32, 32)))
    given = networks.subject(
        name="",
        weights=None,
        graph=tmp_path,
        profile="edge_npu_int8",
        accumulator="16s",
        data=None,
        images=2,
    )
    assert "16" in str(given.graph.ops[3].accumulator)
    assert given.quantized.method == "base_ptq"


def test_an_unknown_peer_is_one_line(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["emulation", "--peers", "everybody"])
    with pytest.raises(SystemExit) as end:
        command_line.run(emulation.main)
    assert end.value.code == 3
    assert capsys.readouterr().err.startswith("error: peer everybody: there is none")


def test_products_are_measured(monkeypatch, tmp_path):
    shape = gemm.Shape(model="all", layer="scores", m=5, k=64, n=7, fresh=True)
    monkeypatch.setattr(gemm, "shapes", lambda _: [shape])
    monkeypatch.setattr(gemm, "SECONDS", 0.001)
    monkeypatch.setattr(peak, "ROUNDS", 1000)
    call(monkeypatch, gemm, "--backends", "blas,numba", "--pairs", "2", "--out", str(tmp_path))
    rows = json.loads((tmp_path / "gemm.json").read_text(encoding="utf-8"))
    assert [row["backend"] for row in rows] == ["blas", "numba", gemm.FLOAT]
    assert all(row["gops"] > 0 for row in rows)


def test_layers_have_the_shapes_of_the_networks():
    found = {(shape.layer, shape.k, shape.n) for shape in gemm.shapes(["small"])}
    assert ("qkv", 384, 1152) in found
    assert ("fc2", 1536, 384) in found
    assert gemm.shapes(["tiny"])[0].operations == 2 * 197 * 64 * 197


def test_growth_leaves_a_table_and_a_picture(tmp_path):
    rows = [
        {"axis": "tokens", "tokens": n, "milliseconds": 2.0 * n**1.5, "float_milliseconds": 3.0 * n}
        for n in (37, 101, 197)
    ]
    assert growth.exponent(rows, "tokens") == pytest.approx(1.5)
    assert growth.exponent(rows[:1], "tokens") is None
    growth.write_csv(tmp_path / "growth.csv", rows)
    growth.draw(tmp_path / "growth.png", rows)
    assert (tmp_path / "growth.csv").read_text(encoding="utf-8").startswith("axis,tokens,")
    assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")


def test_a_point_of_growth_is_measured(monkeypatch, tmp_path):
    monkeypatch.setattr(
        sys,
        "argv",
        [
            "growth",
            "--axes",
            "tokens",
            "--sizes",
            "32",
            "--batch",
            "2",
            "--seconds",
            "0.01",
            "--pairs",
            "1",
            "--models",
            "tiny",
        ],
    )
    asked = growth.arguments()
    (point,) = growth.points(asked)
    assert point == ("tokens", "tiny", 32, 2)
    built = growth.build("tiny", 32, asked.profile, 2)
    row = growth.measure(built, "tokens", 2, asked)
    assert (row["tokens"], row["width"]) == (5, 192)
    assert row["milliseconds"] > 0


def test_a_process_is_timed_and_what_it_complains_of_is_told(tmp_path):
    kept = str(tmp_path)
    found = cost.process(("cost", "--help"), kept)
    assert found.wall > 0
    assert found.cpu > 0
    with pytest.raises(InputError, match=r"--profile nope: error: profile nope: "):
        cost.process(("cost", "vit_nano_digits", "--profile", "nope"), kept)


def test_the_steps_of_an_estimate_are_timed():
    found = cost.steps("vit_nano_digits", seconds=0.05)
    assert set(found) == {"lower_cpu", "estimate_cpu"}
    assert all(each > 0 for each in found.values())


def test_units_of_sweeps_by_one_worker_and_two(monkeypatch, capsys, tmp_path):
    options = "--workers 1,2 --units 4 --seconds 0.05 --pairs 1"
    call(monkeypatch, sweeps, *options.split(), "--out", str(tmp_path))
    assert "round 1 of 1, 2 workers" in capsys.readouterr().err
    rows = json.loads((tmp_path / "sweeps.json").read_text(encoding="utf-8"))
    assert [row["workers"] for row in rows] == [1, 2]
    assert all(row["worker_ms"] > 0 and row["command_ms"] > 0 for row in rows)
    assert rows[0]["gain"] == 1


def test_a_worker_has_a_unit_before_and_one_behind(monkeypatch):
    with pytest.raises(InputError, match="at least two for each worker"):
        call(monkeypatch, sweeps, "--workers", "2", "--units", "3")
