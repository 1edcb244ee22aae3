# SPDX-License-Identifier: Apache-2.0
"""`--task detection`: a run from COCO annotations to its pages; what does not fit is told early."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from command_line import Finished, record
from PIL import Image
from safetensors.torch import save_file

from aocq.records.run_folder import load_run
from aocq.zoo.models import timm

Run = Callable[..., Finished]
PIXELS, CLASSES = 64, 2
ARGUMENTS = "img_size=64 embed_dim=24 depth=1 num_heads=2 global_pool="


class Job(NamedTuple):
    """The command of a run, without --out, and its folder of images."""

    command: tuple[Any, ...]
    data: Path


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A network of random weights with a dense head, and six images of noise with a box each."""
    folder = tmp_path_factory.mktemp("detection")
    torch.manual_seed(1)
    network = timm.create_model(
        "vit_tiny_patch16_224", num_classes=CLASSES + 5, img_size=PIXELS, embed_dim=24, depth=1,
        num_heads=2, global_pool="",
    )  # fmt: skip
    with torch.no_grad():
        network.head.weight.normal_(0, 0.4)
    save_file(network.state_dict(), str(folder / "weights.safetensors"))
    data, chance = folder / "data", np.random.default_rng(2)
    (data / "images").mkdir(parents=True)
    for number in range(6):
        pixels = chance.integers(0, 256, (48, 96, 3), np.uint8)
        Image.fromarray(pixels).save(data / "images" / f"{number}.png")
    coco = {
        "images": [{"id": n, "file_name": f"{n}.png", "width": 96, "height": 48} for n in range(6)],
        "annotations": [
            {"id": n, "image_id": n, "category_id": n % 2, "bbox": [4 * n, 4, 40, 30], "area": 1200}
            for n in range(6)
        ],
        "categories": [{"id": n, "name": f"class {n}"} for n in range(CLASSES)],
    }
    (data / "annotations.json").write_text(json.dumps(coco), encoding="utf-8")
    command = (
        *("verify", "vit_tiny_patch16_224", "--weights", folder / "weights.safetensors"),
        *("--num-classes", CLASSES + 5, "--model-kwargs", ARGUMENTS, "--task", "detection"),
        *("--data", data, "--preset", "fast", "--calib", 4, "--batch", 4, "--threads", 1),
    )
    return Job(command, data)


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
