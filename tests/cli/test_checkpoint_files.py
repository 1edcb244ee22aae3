# SPDX-License-Identifier: Apache-2.0
"""Files given with --weights: what was taken of them is said and recorded."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import torch
from command_line import Demo, Finished, record
from safetensors.torch import load_file

from aocq.demo.model import WEIGHTS_FILE

Run = Callable[..., Finished]
SHORT = ("--limit", 4, "--batch", 4, "--calib", 8, "--max-drop", 100, "--method", "base_ptq")


def test_which_weights_were_taken_is_said_and_recorded(
    warm: Run, demo: Demo, tmp_path: Path
) -> None:
    state = load_file(str(resources.files("aocq.demo") / WEIGHTS_FILE))
    last = {f"module.{name}": torch.zeros_like(value) for name, value in state.items()}
    averaged = {f"module.{name}": value for name, value in state.items()}
    options = argparse.Namespace(model="vit_nano_digits")
    path = tmp_path / "last.pth.tar"
    torch.save({"state_dict": last, "state_dict_ema": averaged, "args": options}, path)
    done = warm(*demo.verify, *SHORT, "--weights", path, "--out", tmp_path / "run")
    said = (
        "weights are taken from state_dict_ema, a moving average of weights (EMA), not from "
        "state_dict beside it, as in timm"
    )
    assert f"note: vit_nano_digits: {said}\n" in done.err
    assert record(tmp_path / "run")["notes"] == [said]
    images = ("--calib-data", demo.folder / "data" / "calib", "--calib", 8)
    quantize = ("quantize", "vit_nano_digits", *images, "--method", "base_ptq")
    done = warm(*quantize, "--weights", path, "--out", tmp_path / "quantized")
    assert f"note: vit_nano_digits: {said}\n" in done.err


def test_a_pointer_instead_of_weights_is_told(warm: Run, demo: Demo, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 22883148\n")
    done = warm(*demo.verify, "--weights", path, "--out", tmp_path / "run", code=3)
    assert f"error: {path}: is a git-LFS pointer, not the weights it stands for; " in done.err
