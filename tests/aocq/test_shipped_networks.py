# SPDX-License-Identifier: Apache-2.0
"""The bundled network on every shipped profile: it lowers, and kernels equal their references."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from asked import for_chip
from torch import Tensor

from aocq.capture import FloatGraph, capture
from aocq.data.image_folder import read_image_folder
from aocq.data.loader import evenly, load_calibration_images
from aocq.demo.digits import write_image_folder
from aocq.jobs.calibration import calibrated
from aocq.lowering import lower
from aocq.methods import QuantizedModel
from aocq.recipes.limits import ChipLimits
from aocq.recipes.recipe import Recipe
from aocq.zoo.models import load_model
from simulator.boundary import quantize
from simulator.cost import estimate
from simulator.executor import Executor
from simulator.golden.directed.of_graph import units_of_graph
from simulator.graph import IntGraph
from simulator.ops import BEHAVIOURS
from simulator.profile import load_profile, profile_paths


@dataclass(frozen=True, eq=False)
class Bundled:
    """The bundled network in float, images to calibrate it with, and one to run."""

    graph: FloatGraph
    calibration: Tensor
    image: Tensor


@pytest.fixture(scope="module")
def bundled(tmp_path_factory: pytest.TempPathFactory) -> Bundled:
    folder = tmp_path_factory.mktemp("digits") / "images"
    write_image_folder(folder)
    model = load_model("vit_nano_digits")
    decoded = {}
    for split, count in (("calib", 8), ("val", 1)):
        files = evenly(read_image_folder(Path(folder / split), model.classes), count)
        decoded[split], _ = load_calibration_images(files, model.preprocessing, skip_bad=False)
    graph = capture(model.network, "vit_nano_digits", model.input_size)
    return Bundled(graph, decoded["calib"], decoded["val"])


@cache
def quantized(bundled: Bundled, recipe: Recipe, limits: ChipLimits) -> QuantizedModel:
    """Quantize; profiles that allow the same share a model."""
    return calibrated("base_ptq", bundled.graph, bundled.calibration, recipe, limits)


def repeated(graph: IntGraph) -> set[str]:
    """Names of ops of the second block that are of one unit with their like in the first."""
    return {
        name
        for unit in units_of_graph(graph)
        for name in unit.ops
        if name.startswith("blocks.1.") and name.replace("blocks.1.", "blocks.0.") in unit.ops
    }


@pytest.mark.parametrize("name", sorted(profile_paths()))
def test_a_shipped_profile_runs_the_bundled_network_to_the_bit(name: str, bundled: Bundled) -> None:
    """Op by op, on what the chip holds; ops in plain Python are slow, and blocks are alike."""
    profile = load_profile(name)
    bits = {
        "weight_bits": max(profile.weight.bits),
        "activation_bits": profile.activation.operand_width,
    }
    graph = lower(quantized(bundled, *for_chip(profile, **bits)), profile)
    codes = quantize(bundled.image.numpy(), graph.tensors[graph.inputs[0]])
    run = Executor(graph, threads=1).run(codes, taps=[op.name for op in graph.ops])
    held = {graph.inputs[0]: codes, **run.taps}
    ops = [op for op in graph.ops if not graph.result(op).is_float]
    assert len(ops) > len(graph.ops) // 2
    compared = [op for op in ops if op.name not in repeated(graph)]
    assert 15 < len(compared) < len(ops)
    for op in compared:
        operands = [
            graph.constants[operand] if graph.is_constant(operand) else held[operand][0]
            for operand in op.operands
        ]
        expected = BEHAVIOURS[type(op)].reference(op, graph, operands).codes
        assert run.taps[op.name][0].tolist() == expected.tolist(), op.name
    assert estimate(graph, profile).total_cycles > 0
