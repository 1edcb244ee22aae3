# SPDX-License-Identifier: Apache-2.0
"""Folders of images as users have them: gray networks, odd names, what is left out."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Demo, Finished, record
from PIL import Image
from safetensors.torch import save_file

from aocq.zoo.models import random_model

Run = Callable[..., Finished]
NAME = "vit_tiny_patch16_224"
GRAY = {"img_size": 16, "patch_size": 8, "embed_dim": 24, "depth": 1, "num_heads": 3, "in_chans": 1}


@pytest.fixture
def gray_network(tmp_path: Path) -> tuple[object, ...]:
    """A network of random weights for gray images, as a command line names it."""
    network = random_model(NAME, 10, arguments=GRAY).network
    save_file(network.state_dict(), tmp_path / "gray.safetensors")
    return (
        *(NAME, "--weights", tmp_path / "gray.safetensors", "--num-classes", 10),
        *("--model-kwargs", " ".join(f"{key}={value}" for key, value in GRAY.items())),
    )


def colored(folder: Path, into: Path) -> Path:
    """Copy gray images as RGB, whose gray is the same."""
    for path in folder.rglob("*.png"):
        target = into / path.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(path) as image:
            image.convert("RGB").save(target)
    return into


def test_networks_of_one_channel_work_from_end_to_end(
    warm: Run,
    demo: Demo,
    gray_network: tuple[object, ...],
    few_images: Callable[[], Path],
    tmp_path: Path,
) -> None:
    gray = few_images()
    color = colored(gray, tmp_path / "color")
    calibration = ("--calib-data", demo.folder / "data" / "calib", "--calib", 16)
    shared = (*gray_network, *calibration, "--method", "base_ptq")
    for data, out in ((gray, "gray"), (color, "color")):
        run = ("--data", data, "--max-drop", 100, "--out", tmp_path / out)
        told = warm("verify", *shared, *run).err
        assert f"note: {NAME}: images are read as gray, with mean 0.5 and std 0.5, " in told
    runs = [record(tmp_path / out) for out in ("gray", "color")]
    for run in runs:
        preprocessing = run["model"]["preprocessing"]
        assert preprocessing["input_size"] == [1, 16, 16]
        assert (preprocessing["mean"], preprocessing["std"]) == ([0.5], [0.5])
    assert runs[0]["accuracy"] == runs[1]["accuracy"]

    warm("quantize", *shared, "--out", tmp_path / "quantized")
    warm("lower", tmp_path / "quantized", "--out", tmp_path / "lowered")
    graphs = [tmp_path / out / "graph.json" for out in ("gray", "color", "lowered")]
    assert len({path.read_bytes() for path in graphs}) == 1
    for data in (gray, color):
        done = warm("simulate", tmp_path / "lowered", "--data", data, "--json")
        assert json.loads(done.out)["top1"] == pytest.approx(
            runs[0]["accuracy"]["integer"]["top1"], abs=1e-4
        )


def test_other_numbers_of_channels_are_bad_input(warm: Run, demo: Demo) -> None:
    data = ("--data", demo.folder / "data" / "val")
    for arguments in (("in_chans=4", "--model-kwargs"), ("input_size=2,16,16", "--preprocessing")):
        done = warm("verify", "vit_nano_digits", *data, *reversed(arguments), code=3)
        assert "1 channel (gray) or 3 (RGB)" in done.err


def test_what_is_left_out_is_told_and_odd_names_are_read(
    warm: Run, demo: Demo, few_images: Callable[[], Path], tmp_path: Path
) -> None:
    data = few_images()
    first = min((data / "0").iterdir())
    first.rename(data / "0" / os.fsdecode(b"caf\xe9.png"))
    os.mkfifo(data / "0" / "pipe.png")
    (data / "thumbnails").mkdir()
    done = warm(*demo.verify, "--data", data, "--calib", 8, "--out", tmp_path / "run")
    assert f"note: {data}: left out: folders without images (thumbnails); 0/pipe.png (a" in done.err
    assert record(tmp_path / "run")["accuracy"]["images"] == 30
