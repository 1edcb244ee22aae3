# SPDX-License-Identifier: Apache-2.0
"""The form of α tensor by tensor of the residual stream."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from asked import for_chip
from tiny_models import images, input_size
from tiny_quantized import TINY, tiny_graph

from aocq.jobs.calibration import calibrated
from aocq.jobs.inputs import check_method, check_operations
from aocq.jobs.request import CalibrationRequest
from aocq.lowering import check_recipe, lower
from aocq.methods import QuantizedModel
from aocq.methods.aocq.stream_forms import stream_forms
from aocq.methods.quantizers import ActivationQuantizer
from aocq.recipes.aocq_options import AocqOptions
from aocq.recipes.layer_rules import LayerRule, LayerRules
from aocq.recipes.recipe import Recipe
from simulator.boundary import quantize
from simulator.errors import InputError
from simulator.executor import Executor
from simulator.profile import load_profile

PROFILE = "edge_npu_int8"
CHIP = load_profile(PROFILE)
PIXELS = images(8, input_size(TINY))
OPTIONS = AocqOptions(scale_passes=0, search_images=4)
FORMS = {"blocks.0.add": LayerRule(alpha="pot3"), "blocks.0.add_1": LayerRule(alpha="none")}


def recipe(rules: dict[str, LayerRule], **options: Any) -> Recipe:
    return Recipe(aocq=replace(OPTIONS, **options), layers=LayerRules.of(rules))


def made(rules: dict[str, LayerRule]) -> QuantizedModel:
    asked, limits = for_chip(CHIP, aocq=OPTIONS, layers=LayerRules.of(rules))
    return calibrated("aocq", tiny_graph(), PIXELS, asked, limits)


def factors(model: QuantizedModel, name: str) -> tuple[float, ...]:
    quantizer = model.activations[name]
    assert isinstance(quantizer, ActivationQuantizer)
    return quantizer.alpha


def test_a_tensor_has_the_form_that_its_rule_asks_for_and_no_other_changes() -> None:
    plain, ruled = made({}), made(FORMS)
    assert factors(ruled, "add") == factors(plain, "add")  # of the embeddings: free, as before
    powers = np.array(factors(ruled, "blocks.0.add")) * 255
    assert set(powers.tolist()) <= {1.0, 2.0, 4.0, 8.0}
    assert not set((np.array(factors(plain, "blocks.0.add")) * 255).tolist()) <= {1, 2, 4, 8}
    assert factors(ruled, "blocks.0.add_1") == ()
    assert factors(plain, "blocks.0.add_1") != ()


def test_a_chip_computes_a_stream_of_several_forms() -> None:
    graph = lower(made(FORMS), CHIP)
    codes = quantize(PIXELS.numpy(), graph.tensors[graph.inputs[0]])
    taps = [op.name for op in graph.ops]
    fast = Executor(graph, threads=1).run(codes, taps=taps).taps
    portable = Executor(graph, gemm="numba", portable=True, threads=1).run(codes, taps=taps).taps
    assert all(np.array_equal(fast[name], portable[name]) for name in taps)


def test_factors_that_a_stage_shares_have_one_form() -> None:
    whole = recipe({"*add*": LayerRule(alpha="pot3"), "concat": LayerRule(alpha="pot3")})
    assert set(stream_forms(tiny_graph(), whole).values()) == {"pot3"}
    shared = replace(whole, aocq=replace(whole.aocq, alpha_sharing="stage"))
    assert stream_forms(tiny_graph(), shared) == stream_forms(tiny_graph(), whole)
    with pytest.raises(InputError, match=r"share their factors \(alpha_sharing = stage\)"):
        stream_forms(tiny_graph(), recipe(FORMS, alpha_sharing="stage"))


def request(asked: Recipe) -> CalibrationRequest:
    return CalibrationRequest(method="aocq", folder=Path(), recipe=asked, images=8)


def test_a_rule_that_meets_no_tensor_of_the_stream_is_refused_before_calibration() -> None:
    asked = recipe({"blocks.0.mlp.fc1": LayerRule(alpha="pot3")})
    with pytest.raises(InputError, match="sets alpha and meets no tensor of the residual stream"):
        check_operations(request(asked), tiny_graph(), CHIP)
    check_operations(request(recipe(FORMS)), tiny_graph(), CHIP)


def test_chips_and_methods_without_factors_refuse_them() -> None:
    chip = load_profile("litert_ref")
    asked, limits = for_chip(chip, layers=LayerRules.of(FORMS))
    with pytest.raises(
        InputError, match=r'layers\."blocks\.0\.add"\.alpha is "pot3" \(choose'
    ) as e:
        check_recipe(asked, limits, chip)
    assert "add_1" not in str(e.value)  # which asks for none
    assert 'layernorm.channel_factor = "none"' in str(e.value)
    with pytest.raises(InputError, match="method base_ptq has no factors on the residual stream"):
        check_method("base_ptq", recipe(FORMS), CHIP, "cpu")
