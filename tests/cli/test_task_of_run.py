# SPDX-License-Identifier: Apache-2.0
"""Commands that go on with a run know its task; what the host does behind a detector is counted."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from command_line import Finished, record
from dense_detector import ARGUMENTS, CLASSES, Job, Run, made_job

from aocq.records.run_folder import load_run
from aocq.tasks.box_work import box_work
from simulator.graph import load as load_graph
from simulator.profile import load_profile

PATCHES = 16
HOST = "edge_npu_int8"  # a chip whose profile describes its host


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    return made_job(tmp_path_factory.mktemp("detection"))


@pytest.fixture(scope="module")
def detector(warm: Run, job: Job, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    out = tmp_path_factory.mktemp("run")
    warm(*job.command, "--out", out, "--max-drop", 100)
    return out


def simulated(done: Finished) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done.out)
    return found


def test_simulate_judges_as_the_run_did(warm: Run, job: Job, detector: Path) -> None:
    done = warm("simulate", detector, "--data", job.data, "--json", "--threads", 1)
    found, accuracy = simulated(done), record(detector)["accuracy"]
    assert {key: found[key] for key in ("ap", "ap50", "ap75")} == {
        key: round(score, 4) for key, score in accuracy["integer"].items()
    }
    assert "top1" not in found
    wrong = warm("simulate", detector, "--data", job.data, "--task", "classification", code=3)
    assert "class" in wrong.err


def test_a_graph_alone_has_to_be_told_its_task(
    warm: Run, job: Job, detector: Path, tmp_path: Path
) -> None:
    warm("lower", detector, "--out", tmp_path)
    plain = ("simulate", tmp_path, "--data", job.data, "--json", "--threads", 1)
    assert warm(*plain, code=3).err
    found = simulated(warm(*plain, "--task", "detection"))
    assert found["graph_sha256"] == record(detector)["graph"]["sha256"]
    assert found["ap50"] == round(record(detector)["accuracy"]["integer"]["ap50"], 4)


def test_a_run_whose_record_is_damaged_names_the_way_out(
    warm: Run, job: Job, detector: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(detector, tmp_path / "run")
    (run / "run.json").write_text("{", encoding="utf-8")
    plain = ("simulate", run / "graph.json", "--data", job.data, "--json", "--threads", 1)
    told = " ".join(warm(*plain, code=3).err.split())
    assert "run.json" in told
    assert "or say what the network is for with --task" in told
    found = simulated(warm(*plain, "--task", "detection"))
    assert found["ap"] == round(record(detector)["accuracy"]["integer"]["ap"], 4)


def test_images_without_a_box_are_told_before_any_is_run(
    warm: Run, job: Job, detector: Path, tmp_path: Path
) -> None:
    data = shutil.copytree(job.data, tmp_path / "data")
    path = data / "annotations.json"
    found = json.loads(path.read_text("utf-8"))
    found["annotations"] = [box for box in found["annotations"] if box["image_id"] == 5]
    path.write_text(json.dumps(found), encoding="utf-8")
    again = list(job.command)
    again[again.index("--data") + 1] = data
    for command in (
        (*again, "--calib-data", data, "--out", tmp_path / "run"),
        ("simulate", detector, "--data", data),
        ("accumulators", detector, "--data", data, "--out", tmp_path / "widths"),
    ):
        told = " ".join(warm(*command, "--limit", 2, code=3).err.split())
        assert "annotations.json: none of the 2 images to evaluate has a box" in told
        assert "--limit" in told
        assert "2/2" not in told


def test_accumulator_widths_are_judged_by_the_task(
    warm: Run, job: Job, detector: Path, tmp_path: Path
) -> None:
    command = ("accumulators", detector, "--data", job.data, "--threads", 1, "--out", tmp_path)
    warm(*command, "--bits", "12,32", "--rules", "wrap")
    found = json.loads((tmp_path / "accumulators.json").read_text("utf-8"))
    integer = record(detector)["accuracy"]["integer"]["ap"]
    assert (found["score"]["key"], found["exact_score"]) == ("ap", pytest.approx(integer))
    assert found["exact_classes"] == []
    narrow, wide = found["rows"]
    assert (wide["main_score"], wide["agreement"], wide["persistent"]) == (
        found["exact_score"],
        100.0,
        0,
    )
    assert narrow["persistent"] > 0
    assert narrow["agreement"] < 100
    with (tmp_path / "accumulators.csv").open(encoding="utf-8") as file:
        assert [float(line["ap"]) for line in csv.DictReader(file)] == [
            narrow["main_score"],
            wide["main_score"],
        ]
    text = (tmp_path / "accumulators.md").read_text("utf-8")
    assert "| bits | rule | AP |" in text
    assert "share of detections, same detections as with exact sums" in text
    done = warm(*command, "--bits", "12,13,32", "--rules", "wrap")
    assert "finished before" in done.err
    assert "exact integers" in done.err, "outputs are not kept: they are made again"


def test_quantize_reads_the_tasks_folder(warm: Run, job: Job, tmp_path: Path) -> None:
    rest = list(job.command[1:])
    place = rest.index("--data")
    rest[place] = "--calib-data"
    for option in ("--batch", "--threads"):
        at = rest.index(option)
        del rest[at : at + 2]
    warm("quantize", *rest, "--out", tmp_path / "quantized")
    assert (tmp_path / "quantized" / "quantized.json").is_file()
    at = rest.index("--task")
    done = warm("quantize", *rest[:at], *rest[at + 2 :], "--out", tmp_path / "none", code=3)
    assert "class folders" in done.err


def test_vectors_and_figures_take_the_runs_images(
    warm: Run, job: Job, detector: Path, tmp_path: Path
) -> None:
    data = ("--data", job.data)
    warm(
        "golden", "record", detector, *data, "--images", 1, "--ops", "head", "--out", tmp_path / "g"
    )
    assert "0.png" in (tmp_path / "g" / "manifest.json").read_text("utf-8")
    done = warm("figures", detector, *data, "--images", 2, "--out", tmp_path / "f")
    assert "density.svg" in done.out


def test_without_a_host_in_the_profile_its_work_is_said_to_be_missing(
    warm: Run, job: Job, tmp_path: Path
) -> None:
    detector = tmp_path / "run"
    warm(*job.command, "--out", detector, "--max-drop", 100, "--profile", "narrow_acc_20")
    result, rows = load_run(detector)
    assert result.cycles.left_out == ["decode boxes", "suppress overlaps"]
    assert result.cycles.total == sum(row.cycles for row in rows)
    said = "without the host's work (decode boxes and suppress overlaps)"
    assert said in (detector / "report.md").read_text("utf-8")
    done = warm("cost", detector, "--max-latency-ms", 1000)
    assert "host's steps, in no figure above" in done.out
    assert said in warm("cost", detector, "--max-latency-ms", 1e-6, code=1).err
    assert "host's steps" not in warm("cost", detector, "--task", "classification").out


def test_with_a_host_its_work_is_in_every_figure(warm: Run, job: Job, tmp_path: Path) -> None:
    warm(*job.command, "--out", tmp_path, "--max-drop", 100, "--profile", HOST, "--min-fps", 1)
    result, rows = load_run(tmp_path)
    host = load_profile(HOST).compute.host
    assert host is not None
    work = box_work(PATCHES, CLASSES)
    assert [(step.name, step.operations, step.functions) for step in result.cycles.host_steps] == [
        (each.name, each.operations, each.functions) for each in work
    ]
    spent = sum(step.cycles for step in result.cycles.host_steps)
    assert result.cycles.total == sum(row.cycles for row in rows) + spent
    assert result.latency_ms == pytest.approx(
        result.cycles.total / load_profile(HOST).compute.clock_mhz / 1e3
    )
    graph = load_graph(tmp_path)
    assert result.cycles.host_steps[0].bytes == graph.tensors[graph.outputs[0]].size
    assert "Behind the graph the host takes" in (tmp_path / "report.html").read_text("utf-8")
    found = json.loads(warm("cost", tmp_path, "--plan", "--json").out)
    planned = found["plan"]["steps"]
    assert [step["name"] for step in planned[-2:]] == ["decode boxes", "suppress overlaps"]
    assert {*planned[0]} == {*planned[-1]}
    assert sum(step["cycles"] for step in planned) == found["cycles"]["total"]
    assert found["cycles"] == json.loads(result.to_json())["cycles"]
    model = ("vit_tiny_patch16_224", "--num-classes", CLASSES + 5, "--model-kwargs", ARGUMENTS)
    named = json.loads(warm("cost", *model, "--profile", HOST, "--task", "detection", "--json").out)
    assert [step["cycles"] for step in named["cycles"]["host_steps"]] == [
        step.cycles for step in result.cycles.host_steps
    ]
    done = warm("cost", "vit_tiny_patch16_224", "--task", "detection", code=3)
    assert "detection wants classes, centerness" in done.err
