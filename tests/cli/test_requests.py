# SPDX-License-Identifier: Apache-2.0
"""The request that a command's options make: what is left out has its documented meaning."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from aocq.cli.recipes import Device, Preset
from aocq.cli.requests import make_request
from aocq.methods import Recipe
from aocq.records.gates import Gates

NEEDED: dict[str, Any] = {
    "model": "m",
    "data": Path("val"),
    "profile": "edge_npu_int8",
    "method": "aocq",
    "recipe": Recipe(seed=3),
    "out": Path("out"),
}


def test_what_is_given_is_what_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/bin/aocq", "verify", "m", "--batch", "7"])
    plain: dict[str, Any] = {
        "weights": Path("w.pth"),
        "classes": 10,
        "limit": 5,
        "batch": 7,
        "skip_bad_images": True,
        "threads": 2,
        "gemm": "numba",
    }
    gates = Gates(max_drop=1.0)
    found = make_request(
        **NEEDED,
        **plain,
        calibration=Path("train"),
        calibration_images=9,
        device=Device.CUDA,
        gates=gates,
    )
    assert {name: getattr(found, name) for name in plain} == plain
    assert (found.model, found.profile, found.method) == ("m", "edge_npu_int8", "aocq")
    assert (found.recipe, found.out, found.gates) == (Recipe(seed=3), Path("out"), gates)
    assert (found.calibration_folder, found.data_folder) == (Path("train"), Path("val"))
    assert (found.calibration_images, found.device) == (9, "cuda")
    assert found.command == ("aocq", "verify", "m", "--batch", "7")


def test_what_is_left_out_follows_from_the_rest() -> None:
    found = make_request(**NEEDED)
    assert found.calibration_folder == found.data_folder == Path("val")
    assert found.gates == Gates(max_drop=None)
    assert found.device == "cpu"
    counts = {
        (method, preset): make_request(
            **{**NEEDED, "method": method}, preset=preset
        ).calibration_images
        for method in ("aocq", "fq_vit")
        for preset in (Preset.FAST, Preset.PAPER)
    }
    assert counts == {
        ("aocq", Preset.FAST): 64,
        ("aocq", Preset.PAPER): 1024,
        ("fq_vit", Preset.FAST): 1000,
        ("fq_vit", Preset.PAPER): 1000,
    }
