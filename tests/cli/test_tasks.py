# SPDX-License-Identifier: Apache-2.0
"""`--task detection`: a run from COCO annotations to its pages; what does not fit is told early."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from command_line import record
from dense_detector import ARGUMENTS, Job, Run, made_job

from aocq.records.run_folder import load_run


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A network of random weights with a dense head, and six images of noise with a box each."""
    return made_job(tmp_path_factory.mktemp("detection"))


def test_a_detector_is_judged_by_ap(warm: Run, job: Job, tmp_path: Path) -> None:
    done = warm(*job.command, "--out", tmp_path, "--max-drop", 100, "--min-agreement", 0)
    found = record(tmp_path)
    accuracy = found["accuracy"]
    assert (accuracy["task"], accuracy["images"], found["data"]["classes"]) == ("detection", 6, 2)
    assert [score["key"] for score in accuracy["scores"]] == ["ap", "ap50", "ap75"]
    for engine in ("float", "simulated", "integer"):
        assert accuracy[engine].keys() == {"ap", "ap50", "ap75"}
    assert (accuracy["paired"], accuracy["shares_of"]) == (None, "detections")
    assert accuracy["agreement"]["integer_simulated"] >= accuracy["agreement"]["integer_float"]
    assert accuracy["logit_sqnr_db"]["integer_float"] > 10
    assert found["model"]["preprocessing"]["crop_mode"] == "squash"
    for text in ("float AP ", "integer AP ", "drop of AP "):
        assert text in done.out
    assert "top-1" not in done.out
    verdict = load_run(tmp_path)[0].verdict
    gates = {gate.name: gate for gate in verdict.results}
    assert (gates["max_drop"].by, gates["max_drop"].interval) == ("point", None)
    assert "% of detections" in gates["min_agreement"].reason
    page, text = ((tmp_path / f"report.{kind}").read_text("utf-8") for kind in ("html", "md"))
    for place in (page, text):
        assert "AP50" in place
        assert "AP75" in place
        assert "top-5" not in place.lower()
    again = warm(*job.command, "--out", tmp_path, "--max-drop", 100)
    assert "finished before" in again.err


def test_other_annotations_are_another_run(warm: Run, job: Job, tmp_path: Path) -> None:
    short = (*job.command, "--limit", 2, "--max-drop", 100, "--out", tmp_path / "run")
    warm(*short)
    path = job.data / "annotations.json"
    before = path.read_text("utf-8")
    try:
        path.write_text(before.replace('"bbox": [0, 4', '"bbox": [1, 4'), encoding="utf-8")
        assert "finished before" not in warm(*short).err
    finally:
        path.write_text(before, encoding="utf-8")


@pytest.mark.parametrize(
    ("given", "code", "said"),
    [
        (("--task", "detect"), 2, "nearest: detection"),
        (("--task", "classification"), 3, "class folders"),
        (("--num-classes", 12), 3, "pass --num-classes 7"),
        (("--calib-data", "nowhere"), 3, "nowhere: has no annotations.json"),
    ],
    ids=str,
)
def test_what_does_not_fit_the_task_is_told(
    warm: Run, job: Job, given: tuple[Any, ...], code: int, said: str, tmp_path: Path
) -> None:
    done = warm(*job.command, *given, "--out", tmp_path / "run", code=code)
    assert said in " ".join(done.err.replace("│", " ").split())
    assert not (tmp_path / "run" / "run.json").exists()


def test_a_network_with_a_pooled_head_detects_nothing(warm: Run, job: Job, tmp_path: Path) -> None:
    pooled = [
        part.replace(" global_pool=", "") if part == ARGUMENTS else part for part in job.command
    ]
    done = warm(*pooled, "--out", tmp_path / "run", code=3)
    assert "yields 7 values for an image, but detection wants" in done.err
    assert "global_pool=" in done.err


def test_a_dense_network_without_a_task_is_told_to_lack_the_hosts_work(warm: Run) -> None:
    network = ("cost", "vit_tiny_patch16_224", "--num-classes", 7, "--model-kwargs", ARGUMENTS)
    said = (
        "host's work behind the graph is not included; --task detection or segmentation counts it"
    )
    assert said in warm(*network).err
    assert said not in warm(*network, "--task", "detection").err
    assert said not in warm("cost", "vit_nano_digits").err
