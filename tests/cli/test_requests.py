# SPDX-License-Identifier: Apache-2.0
"""The request that a command's options make: what is left out has its documented meaning."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from aocq.cli.requests import (
    CalibrationOptions,
    EmulationOptions,
    EvaluationOptions,
    ModelOptions,
    NetworkOptions,
    RunOptions,
)
from aocq.jobs.request import (
    CalibrationRequest,
    EmulationRequest,
    EvaluationRequest,
    ModelRequest,
    VerifyRequest,
)
from aocq.recipes.recipe import Recipe
from aocq.records.gates import Gates

NEEDED: dict[str, Any] = {
    "model": ModelRequest(name="m"),
    "data": Path("val"),
    "profile": "edge_npu_int8",
    "method": "aocq",
    "recipe": Recipe(seed=3),
    "out": Path("out"),
}


def test_what_is_given_is_what_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/bin/aocq", "verify", "m", "--batch", "7"])
    gates = Gates(max_drop=1.0)
    network = NetworkOptions(classes=10, model_kwargs=["depth=2"], preprocessing=["crop_pct=0.9"])
    run = RunOptions(
        calibration=Path("train"),
        calibrating=CalibrationOptions(calibration_images=9, device="cuda"),
        evaluation=EvaluationOptions(limit=5, batch=7, skip_bad_images=True),
        emulation=EmulationOptions(threads=2, gemm="numba"),
    )
    model = ModelOptions(model="m", weights=Path("w.pth"), network=network).request()
    found = run.request(**{**NEEDED, "model": model}, gates=gates, shared_folder=Path("shared"))
    assert found == VerifyRequest(
        model=ModelRequest(
            name="m",
            weights=Path("w.pth"),
            classes=10,
            arguments={"depth": 2},
            preprocessing={"crop_pct": 0.9},
        ),
        profile="edge_npu_int8",
        calibration=CalibrationRequest(
            method="aocq",
            recipe=Recipe(seed=3),
            folder=Path("train"),
            images=9,
            skip_bad_images=True,
            device="cuda",
            shared_folder=Path("shared"),
        ),
        evaluation=EvaluationRequest(folder=Path("val"), limit=5, batch=7, skip_bad_images=True),
        emulation=EmulationRequest(threads=2, gemm="numba"),
        gates=gates,
        out=Path("out"),
        command=("aocq", "verify", "m", "--batch", "7"),
    )


def test_what_is_left_out_follows_from_the_rest() -> None:
    found = RunOptions().request(**NEEDED)
    assert found.calibration.folder == found.evaluation.folder == Path("val")
    assert found.gates == Gates(max_drop=None)
    assert found.calibration.device == "cpu"
    assert found.calibration.shared_folder is None
    counts = {
        (method, preset): RunOptions(calibrating=CalibrationOptions(preset=preset))
        .request(**{**NEEDED, "method": method})
        .calibration.images
        for method in ("aocq", "fq_vit")
        for preset in ("fast", "paper")
    }
    assert counts == {
        ("aocq", "fast"): 64,
        ("aocq", "paper"): 1024,
        ("fq_vit", "fast"): 1000,
        ("fq_vit", "paper"): 1000,
    }
