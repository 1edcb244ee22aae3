# SPDX-License-Identifier: Apache-2.0
"""`aocq demo` of dense tasks, mostly on few of its canvases: figures, and pictures of boxes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from command_line import Finished, record

from aocq.demo import NETWORKS
from aocq.demo.canvas_folder import write_canvas_folder

Run = Callable[..., Finished]
FEW = ("--preset", "fast", "--calib", 16, "--limit", 48, "--threads", 1, "--w-bits", 4)


class Dense(NamedTuple):
    """A finished run of a bundled network, with its folder of canvases."""

    folder: Path
    data: Path
    done: Finished


def judged(warm: Run, task: str, folder: Path, *options: Any) -> Dense:
    data = folder / "data"
    if not data.exists():
        write_canvas_folder(data)
    done = warm(
        *("verify", NETWORKS[task], "--task", task, "--data", data / "val"),
        *("--calib-data", data / "calib", *FEW, *options, "--out", folder / "run"),
    )
    return Dense(folder / "run", data, done)


@pytest.fixture(scope="module")
def boxes(warm: Run, tmp_path_factory: pytest.TempPathFactory) -> Dense:
    return judged(warm, "detection", tmp_path_factory.mktemp("boxes"), "--max-drop", 5)


def test_the_bundled_detector_finds_digits_in_float_and_in_integers(boxes: Dense) -> None:
    accuracy = record(boxes.folder)["accuracy"]
    assert accuracy["float"]["ap50"] >= 90
    assert accuracy["integer"]["ap50"] >= 88
    assert accuracy["agreement"]["integer_simulated"] >= 97
    assert record(boxes.folder)["graph"]["float_ops"] == 0


def test_its_report_shows_boxes_and_is_drawn_again_without_the_canvases(
    warm: Run, boxes: Dense, tmp_path: Path
) -> None:
    shown = record(boxes.folder)["shown"]
    assert (shown["among"], shown["least_score"]) == (48, 0.3)
    assert [image["differs"] for image in shown["images"]][:4] == [False] * 4
    assert all(image["true_boxes"] and image["float_boxes"] for image in shown["images"])
    assert {(image["width"], image["height"]) for image in shown["images"]} == {(64, 64)}
    page = (boxes.folder / "report.html").read_text("utf-8")
    assert page.count('<svg class="boxes"') == len(shown["images"])
    hidden = boxes.data.rename(tmp_path / "elsewhere")
    try:
        warm("report", boxes.folder, "--out", tmp_path / "again")
    finally:
        hidden.rename(boxes.data)
    assert (tmp_path / "again" / "report.html").read_text("utf-8") == page


def test_pictures_are_the_pixels_of_the_files(boxes: Dense) -> None:
    """A canvas has the network's size: preprocessing changes no pixel of it."""
    import base64
    import io

    import numpy as np
    from PIL import Image

    for shown in record(boxes.folder)["shown"]["images"]:
        with Image.open(io.BytesIO(base64.b64decode(shown["content"]))) as image:
            kept = np.asarray(image.convert("L"))
        with Image.open(boxes.data / "val" / "images" / shown["name"]) as image:
            assert np.array_equal(kept, np.asarray(image))


def test_the_bundled_network_for_segmentation_names_the_digits(warm: Run, tmp_path: Path) -> None:
    write_canvas_folder(tmp_path / "data")
    shutil.rmtree(tmp_path / "data" / "calib" / "masks")  # nothing of them is judged
    run = judged(warm, "segmentation", tmp_path, "--max-drop", 5)
    found = record(run.folder)
    accuracy = found["accuracy"]
    assert (accuracy["task"], found["data"]["classes"]) == ("segmentation", 11)
    assert accuracy["shares_of"] == "patches"
    assert accuracy["float"]["miou"] >= 60
    assert accuracy["float"]["pixel_accuracy"] >= 90
    assert accuracy["agreement"]["integer_float"] >= 95
    assert "float mIoU" in run.done.out
    for name in ("report.html", "report.md"):
        assert "mIoU" in (run.folder / name).read_text("utf-8")


def test_masks_without_a_labelled_pixel_are_told_before_any_work(warm: Run, tmp_path: Path) -> None:
    from PIL import Image

    data = tmp_path / "data"
    write_canvas_folder(data)
    masks = sorted((data / "val" / "masks").iterdir())
    for mask in masks[:-1]:
        Image.new("L", (64, 64), 255).save(mask)
    command = (
        *("verify", NETWORKS["segmentation"], "--task", "segmentation", "--data", data / "val"),
        *("--calib-data", data / "calib", "--out", tmp_path / "run"),
    )
    told = " ".join(warm(*command, "--limit", 4, code=3).err.split())
    assert "val/masks: no mask of the 4 images to evaluate has a pixel of a class" in told
    assert not (tmp_path / "run").exists()


def test_the_demo_refuses_a_folder_of_other_images(warm: Run, tmp_path: Path) -> None:
    (tmp_path / "data" / "val").mkdir(parents=True)
    done = warm("demo", "--task", "detection", "--out", tmp_path, code=3)
    assert "is not the complete set of canvases" in done.err
    shutil.rmtree(tmp_path / "data")


@pytest.mark.networks
@pytest.mark.parametrize("task", ["detection", "segmentation"])
def test_the_demo_itself(warm: Run, task: str, tmp_path: Path) -> None:
    done = warm("demo", "--task", task, "--out", tmp_path)
    assert done.code == 0
    found = record(tmp_path)
    assert found["accuracy"]["images"] == 240
    assert (found["method"]["weight_bits"], found["method"]["activation_bits"]) == (4, 8)
    assert found["model"]["name"] == NETWORKS[task]
