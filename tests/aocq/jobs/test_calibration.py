# SPDX-License-Identifier: Apache-2.0
"""What the main job hands to a method, and what a finished calibration is known by."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from aocq import progress
from aocq.capture import FloatOp, capture
from aocq.data.image_folder import LabelledImage
from aocq.jobs import calibration, inputs
from aocq.jobs.keys import calibration_key
from aocq.jobs.request import CalibrationRequest
from aocq.methods import METHODS
from aocq.methods.chip_operators import exact_operators
from aocq.recipes.aocq_options import AocqOptions
from aocq.recipes.limits import ANY_CHIP, ChipLimits
from aocq.recipes.methods import METHOD_SPECS
from aocq.recipes.recipe import Recipe
from aocq.zoo.models import load_model
from simulator.errors import EnvironmentProblem, InputError
from simulator.profile import load_profile


@pytest.fixture
def files(tmp_path: Path) -> list[LabelledImage]:
    paths = [tmp_path / f"{index}.png" for index in range(3)]
    for index, path in enumerate(paths):
        Image.new("RGB", (8, 8), (80 * index, 30, 0)).save(path)
    return [LabelledImage(path=path, label=0) for path in paths]


def asked_of(method: str, **fields: Any) -> CalibrationRequest:
    """A request whose folder is of no concern: the files are given."""
    return CalibrationRequest(
        **{"method": method, "recipe": Recipe(), "folder": Path("images"), "images": 3, **fields}
    )


def test_device_and_work_reach_the_method(
    files: list[LabelledImage], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: dict[str, Any] = {}

    def method(
        graph: Any,
        images: torch.Tensor,
        recipe: Recipe,
        limits: ChipLimits,
        report: Any,
        **more: Any,
    ) -> Any:
        seen.update(more, images=len(images), limits=limits)
        return METHODS["base_ptq"](graph, images, recipe, limits, report, **more)

    monkeypatch.setattr(calibration, "METHODS", {"mine": method})
    model = load_model("vit_nano_digits")
    graph = capture(model.network, "vit_nano_digits", model.input_size)
    limits = ChipLimits(bias_bits=20)
    calibration.calibrate(
        asked_of("mine", device="cuda"),
        limits,
        graph,
        model,
        files,
        progress.show,
        tmp_path / "work",
    )
    assert seen == {
        "device": "cuda",
        "work": tmp_path / "work",
        "operators": exact_operators,
        "images": 3,
        "limits": limits,
    }


def test_inputs_that_overflow_the_float_network_are_told(files: list[LabelledImage]) -> None:
    model = load_model("vit_nano_digits", preprocessing={"std": (1e-25,) * 3})
    graph = capture(model.network, "vit_nano_digits", model.input_size)
    with pytest.raises(
        InputError,
        match=r"norm1: .* values that are not finite .* mean and std",
    ):
        calibration.calibrate(asked_of("aocq"), ANY_CHIP, graph, model, files, progress.show)


def test_a_calibration_is_known_by_all_it_depends_on(files: list[LabelledImage]) -> None:
    model = load_model("vit_nano_digits")

    def key(
        method: str = "base_ptq",
        limits: ChipLimits = ANY_CHIP,
        chosen: list[LabelledImage] = files,
        profile: str = "edge_npu_int8",
        **changed: Any,
    ) -> str:
        return calibration_key(
            asked_of(method, **changed), limits, model, chosen, load_profile(profile)
        )

    others = [
        key(),
        key(method="fq_vit"),
        key(recipe=Recipe(seed=1)),
        key(limits=ChipLimits(bias_bits=20)),
        key(chosen=files[:2]),
        key(skip_bad_images=True),
        key(device="cuda"),
        key(method="aocq", profile="deeploy_pulp"),
        key(method="aocq", profile="ita_26b"),
    ]
    assert len(set(others)) == len(others)
    assert key() == others[0]


def test_every_method_is_described_and_has_its_own_field_of_a_recipe() -> None:
    assert tuple(METHODS) == tuple(METHOD_SPECS)
    for name, spec in METHOD_SPECS.items():
        assert METHODS[name].spec is spec
        assert spec.options is None or isinstance(getattr(Recipe(), name), spec.options)


def test_what_a_method_cannot_do_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    profile = load_profile("edge_npu_int8")
    narrow = Recipe(activation_bits=4)
    inputs.check_method("fq_vit", narrow, profile, "cpu")
    with pytest.raises(InputError, match="the model has 4"):
        inputs.check_method("base_ptq", narrow, profile, "cpu")
    whole = replace(narrow, float_ops="integer")
    with pytest.raises(InputError, match="the model has 4"):
        inputs.check_method("fq_vit", whole, profile, "cpu")
    with pytest.raises(InputError, match="the model has 9"):
        inputs.check_method("fq_vit", Recipe(activation_bits=9), profile, "cpu")
    with pytest.raises(InputError, match="choose one of base_ptq"):
        inputs.check_method("none", Recipe(), profile, "cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(EnvironmentProblem, match="leave --device out"):
        inputs.check_method("base_ptq", Recipe(), profile, "cuda")


@pytest.mark.parametrize(
    ("options", "block", "said"),
    [
        (AocqOptions(rotate_stream="always"), 16, "--rotate-stream always: no linear layers"),
        (AocqOptions(block_steps=True), 48, "no function hands a layer rows of whole blocks of 48"),
    ],
    ids=["stream", "blocks"],
)
def test_what_a_network_has_nothing_of_is_refused_before_it_is_calibrated(
    options: AocqOptions, block: int, said: str, files: list[LabelledImage]
) -> None:
    loaded = load_model("vit_nano_digits")
    graph = capture(loaded.network, "vit_nano_digits", loaded.input_size)
    norm = next(node for node in graph.nodes if node.op is FloatOp.LAYERNORM)
    if options.rotate_stream == "always":  # something else reads its stream
        read = replace(norm, name="read", op=FloatOp.UNARY, attributes={"function": "relu"})
        nodes = [(node, read) if node.name == norm.name else (node,) for node in graph.nodes]
        graph = replace(graph, nodes=tuple(each for both in nodes for each in both))
    request = asked_of("aocq", recipe=Recipe(aocq=options))
    limits = replace(ANY_CHIP, block=block)
    with pytest.raises(InputError, match=f"^vit_nano_digits: .*{said}"):
        calibration.prepared(request, limits, graph, loaded, files, progress.silent)
    fitting = replace(limits, block=16)
    plain = asked_of("aocq", recipe=Recipe(aocq=AocqOptions(block_steps=True)))
    assert calibration.prepared(plain, fitting, graph, loaded, files, progress.silent) is not graph
