# SPDX-License-Identifier: Apache-2.0
"""What the main job hands to a method, and what a finished calibration is known by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from aocq import progress
from aocq.capture import capture
from aocq.data.image_folder import LabelledImage
from aocq.jobs import verify as pipeline
from aocq.jobs.request import calibration_key
from aocq.methods import LEAVE_FLOATS, METHODS, Recipe
from aocq.zoo.models import load_model
from simulator.errors import EnvironmentProblem, InputError
from simulator.profile import load_profile


@pytest.fixture
def files(tmp_path: Path) -> list[LabelledImage]:
    paths = [tmp_path / f"{index}.png" for index in range(3)]
    for index, path in enumerate(paths):
        Image.new("RGB", (8, 8), (80 * index, 30, 0)).save(path)
    return [LabelledImage(path=path, label=0) for path in paths]


def test_device_and_work_reach_the_method(
    files: list[LabelledImage], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: dict[str, Any] = {}

    def method(graph: Any, images: torch.Tensor, recipe: Recipe, report: Any, **more: Any) -> Any:
        seen.update(more, images=len(images))
        return METHODS["base_ptq"](graph, images, recipe, report, **more)

    monkeypatch.setattr(pipeline, "METHODS", {"mine": method})
    model = load_model("vit_nano_digits")
    graph = capture(model.network, "vit_nano_digits", model.input_size)
    pipeline.calibrate(
        "mine",
        graph,
        Recipe(),
        model,
        files,
        progress.show,
        skip_bad=False,
        device="cuda",
        work=tmp_path / "work",
    )
    assert seen == {"device": "cuda", "work": tmp_path / "work", "images": 3}


def test_inputs_that_overflow_the_float_network_are_told(files: list[LabelledImage]) -> None:
    model = load_model("vit_nano_digits", preprocessing={"std": (1e-25,) * 3})
    graph = capture(model.network, "vit_nano_digits", model.input_size)
    with pytest.raises(
        InputError,
        match=r"norm1: .* values that are not finite .* mean and std",
    ):
        pipeline.calibrate("aocq", graph, Recipe(), model, files, progress.show, skip_bad=False)


def test_a_calibration_is_known_by_all_it_depends_on(files: list[LabelledImage]) -> None:
    model = load_model("vit_nano_digits")

    def key(**changed: Any) -> str:
        arguments: dict[str, Any] = {
            "method": "base_ptq",
            "recipe": Recipe(),
            "files": files,
            "skip_bad": False,
            "device": "cpu",
        }
        arguments |= changed
        return calibration_key(model=model, **arguments)

    others = [
        key(),
        key(method="fq_vit"),
        key(recipe=Recipe(seed=1)),
        key(files=files[:2]),
        key(skip_bad=True),
        key(device="cuda"),
    ]
    assert len(set(others)) == len(others)
    assert key() == others[0]


def test_methods_that_leave_floats_are_known_ones() -> None:
    assert set(METHODS) >= LEAVE_FLOATS


def test_what_a_method_cannot_do_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    profile = load_profile("edge_npu_int8")
    narrow = Recipe(activation_bits=4)
    pipeline.check_method("fq_vit", narrow, profile, "cpu")
    with pytest.raises(InputError, match="the model has 4"):
        pipeline.check_method("base_ptq", narrow, profile, "cpu")
    whole = narrow.model_copy(update={"float_ops": "integer"})
    with pytest.raises(InputError, match="the model has 4"):
        pipeline.check_method("fq_vit", whole, profile, "cpu")
    with pytest.raises(InputError, match="the model has 9"):
        pipeline.check_method("fq_vit", Recipe(activation_bits=9), profile, "cpu")
    with pytest.raises(InputError, match="choose one of base_ptq"):
        pipeline.check_method("none", Recipe(), profile, "cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(EnvironmentProblem, match="leave --device out"):
        pipeline.check_method("base_ptq", Recipe(), profile, "cuda")
