# SPDX-License-Identifier: Apache-2.0
"""What trained networks have: branches that are all but dead, small γ, outliers, flat images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from asked import for_chip, recipe_of
from changed_profiles import changed
from fake_quantized import logits
from tiny_models import NANO, images, input_size, network
from torch import Tensor, nn

from aocq.capture import FloatGraph, FloatOp, capture
from aocq.jobs.calibration import calibrated
from aocq.lowering import lower
from aocq.lowering.affine import Affine, affine_step
from aocq.methods import METHODS, QuantizedModel
from aocq.methods.least_scales import LEAST_SCALE, with_scales_for_functions
from aocq.recipes.limits import ChipLimits, limits_of
from aocq.recipes.recipe import Recipe
from simulator.boundary import dequantize, quantize
from simulator.errors import InputError
from simulator.executor import Executor
from simulator.graph import IntGraph
from simulator.graph.graph import Role
from simulator.graph.graph import Tensor as Codes
from simulator.graph.ops import LayerNorm
from simulator.numerics.integer_type import IntType
from simulator.profile import NpuProfile, RescaleSection, load_profile, profile_paths

Captured = Callable[[str], tuple[nn.Module, FloatGraph]]
SIZE = input_size(NANO)
# One of each kind of arithmetic, for what is not tried on all profiles.
SOME = ("edge_npu_int8", "esp32_s3_20b", "ita_26b", "litert_ref")
# Heads of 16 channels: chips that only shift divide scores by 4.
BASE = {**NANO, "embed_dim": 48}


def times(factor: float, *, within: str, ending: str = "") -> Callable[[nn.Module], None]:
    """Return what scales the parameters whose names have one text within and another at the end."""

    def change(built: nn.Module) -> None:
        for name, parameter in built.named_parameters():
            if within in name and name.endswith(ending):
                parameter.data *= factor

    return change


def outlier(built: nn.Module) -> None:
    """One channel of the stream a hundred times as large as the others."""
    for parameter in built.patch_embed.proj.parameters():
        parameter.data[3] *= 1e4


CHANGES: Mapping[str, Callable[[nn.Module], None]] = {
    "weights of a branch x 1e-6": times(1e-6, within="blocks.0.mlp", ending="weight"),
    "weights of a branch x 1e-20": times(1e-20, within="blocks.0.attn", ending="weight"),
    "a branch x 1e-6": times(1e-6, within="blocks.0.attn"),
    "a branch x 1e-20": times(1e-20, within="blocks.0.mlp"),
    "attention x 1e-20": times(1e-20, within="blocks.0.attn"),
    "a branch of zeros": times(0.0, within="blocks.0.mlp"),
    "weights of the head x 1e-20": times(1e-20, within="head", ending="weight"),
    "gamma 1e-2 of beta": times(1e-2, within="norm", ending="weight"),
    "gamma 1e-6 of beta": times(1e-6, within="norm", ending="weight"),
    "gamma 1e-12 of beta": times(1e-12, within="norm", ending="weight"),
    "gamma 0": times(0.0, within="norm1", ending="weight"),
    "an outlier channel": outlier,
    "a flat image": lambda _: None,
    "a black image": lambda _: None,
}
FLAT = {"a flat image": 0.7, "a black image": 0.0}


@cache
def captured(change: str) -> FloatGraph:
    built = network("class_token", BASE)
    CHANGES[change](built)
    return capture(built, "odd", SIZE)


def calibration(change: str) -> Tensor:
    return torch.full((4, *SIZE), FLAT[change]) if change in FLAT else images(8, SIZE)


@cache
def _quantized(change: str, method: str, recipe: Recipe, limits: ChipLimits) -> QuantizedModel:
    return calibrated(method, captured(change), calibration(change), recipe, limits)


def quantized(change: str, profile: NpuProfile, method: str = "base_ptq") -> QuantizedModel:
    recipe = for_chip(
        profile,
        weight_bits=max(profile.weight.bits),
        activation_bits=profile.activation.operand_width,
        float_ops="integer",
    )
    return _quantized(change, method, *recipe)


def on_chip(graph: IntGraph, inputs: Tensor) -> np.ndarray:
    """Return the logits."""
    codes = quantize(inputs.numpy(), graph.tensors["image"])
    output = graph.outputs[0]
    found = Executor(graph, gemm="numba", threads=1).run(codes).outputs[output]
    return dequantize(found, graph.tensors[output])


def decibel(wanted: np.ndarray, found: np.ndarray) -> float:
    noise = float(((wanted - found) ** 2).sum())
    return 10 * np.log10(float((wanted**2).sum()) / noise) if noise else np.inf


def test_a_bias_is_not_so_wide_that_its_factor_is_0() -> None:
    """Of sums of 64 bits, 48 could be bias; Q15 makes 0 of factors below 2^-32."""
    chip = load_profile("tflm_int16x8")
    assert chip.accumulator.bias_bits == 48
    assert limits_of(chip, Recipe()).bias_bits == 32
    free = changed("tflm_int16x8", rescale__derivation="normalized")
    assert limits_of(free, Recipe()).bias_bits == 48


FEW = list(CHANGES)[:2]
TRIED = [
    *((change, profile) for change in CHANGES for profile in SOME),
    *((change, profile) for change in FEW for profile in profile_paths() if profile not in SOME),
]


@pytest.mark.parametrize(("change", "profile"), TRIED)
def test_they_are_lowered_for_every_chip_and_computed_as_fake_quantized(
    change: str, profile: str
) -> None:
    chip = load_profile(profile)
    model = quantized(change, chip)
    inputs = calibration(change)[:2]
    wanted, found = logits(model, inputs).numpy(), on_chip(lower(model, chip), inputs)
    assert np.isfinite(wanted).all()
    if profile != "vta":  # its logits wrap where they do not fit
        assert decibel(wanted, found) > 8


@pytest.mark.parametrize("method", sorted(set(METHODS) - {"base_ptq"}))
def test_so_does_every_method(method: str) -> None:
    chip = load_profile("tflm_cmsis_int8")
    for change in ("a branch x 1e-20", "gamma 1e-6 of beta")[: 1 + (method == "aocq")]:
        model = quantized(change, chip, method)
        inputs = calibration(change)[:2]
        found = on_chip(lower(model, chip), inputs)
        assert decibel(logits(model, inputs).numpy(), found) > 8


@pytest.mark.parametrize("scale", [2.0**-40, 2.0**-25, 2.0**-9])
def test_a_source_of_two_functions_is_widened_once(scale: float, nano: Captured) -> None:
    graph = nano("class_token")[1]
    model = METHODS["base_ptq"](graph, images(8, SIZE), Recipe())
    gelu = next(node for node in graph.nodes if node.op is FloatOp.UNARY)
    place = graph.nodes.index(gelu)
    twin = replace(gelu, name="twin")
    nodes = (*graph.nodes[:place], twin, *graph.nodes[place:])
    source = gelu.inputs[0]
    fine = replace(model.activations[source], scale=scale)
    model = replace(
        model,
        graph=replace(graph, nodes=nodes),
        activations={**model.activations, source: fine, "twin": model.activations[gelu.name]},
    )
    found = with_scales_for_functions(model)
    assert found.scales(source).item() == max(scale, LEAST_SCALE)


def test_a_search_for_an_inverse_ends_where_there_is_none(nano: Captured) -> None:
    """Weights are finite, and what fc2 reads has second moments beyond float32: they are not."""
    graph = nano("class_token")[1]
    graph = changed_graph(graph, "blocks.0.mlp.fc1", 1e20, 1.0)
    graph = changed_graph(graph, "blocks.0.mlp.fc2", 1e-20, 1.0)
    recipe = recipe_of(aocq={"search_images": 4})
    with pytest.raises(torch.linalg.LinAlgError, match="no inverse"):  # told as bad input by runs
        METHODS["aocq"](graph, images(4, SIZE), recipe)


# --- weights --------------------------------------------------------------------------------------


def changed_graph(graph: FloatGraph, layer: str, weight: float, bias: float) -> FloatGraph:
    parameters = dict(graph.parameters)
    parameters[f"{layer}.weight"] = parameters[f"{layer}.weight"] * weight
    parameters[f"{layer}.bias"] = parameters[f"{layer}.bias"] * bias
    name = f"dead_{layer}_{weight:.0e}".replace("-", "_")
    return FloatGraph(name=name, nodes=graph.nodes, parameters=parameters)


@pytest.mark.parametrize("layer", ["head", "blocks.0.mlp.fc1"])
@pytest.mark.parametrize(("weight", "bias"), [(1e-4, 1e6), (1e-20, 1.0)])
@pytest.mark.parametrize("bits", [20, 32])
def test_a_bias_beside_weights_of_nearly_nothing_fits(
    weight: float, bias: float, bits: int, layer: str, nano: Captured
) -> None:
    """Weights have a larger scale there, by which the bias is a number that the chip holds."""
    graph = changed_graph(nano("class_token")[1], layer, weight, bias)
    chip = changed(accumulator__bias_bits=bits)
    model = METHODS["base_ptq"](graph, images(8, SIZE), *for_chip(chip))
    codes = model.bias_codes(graph.node(layer))
    assert 2 ** (bits - 3) < np.abs(codes).max() < 2 ** (bits - 1)
    real = graph.parameters[f"{layer}.bias"].double().numpy()
    worth = model.bias_scale(graph.node(layer))
    assert (np.abs(codes * worth - real) <= worth / 2).all()
    constant = lower(model, chip).constants[f"{layer}.bias"]
    assert np.abs(constant).max() < 2 ** (bits - 1)


def test_weights_that_matter_keep_their_scale(nano: Captured) -> None:
    """A chip too narrow for biases beside such products is refused, not served with less."""
    graph = nano("class_token")[1]
    chip = changed(accumulator__bias_bits=8)
    recipe, limits = for_chip(chip)
    narrow = METHODS["base_ptq"](graph, images(8, SIZE), recipe, limits)
    wide = METHODS["base_ptq"](graph, images(8, SIZE), recipe, replace(limits, bias_bits=32))
    for name, weight in narrow.weights.items():
        assert weight.scale.tolist() == wide.weights[name].scale.tolist()
    with pytest.raises(
        InputError, match=r"^\S+\.bias: needs \d+ bits, profile edge_npu_int8 has 8"
    ):
        lower(narrow, chip)


def test_a_bias_beyond_64_bits_is_refused_before_it_is_one(
    nano: Captured,
) -> None:
    """Decisions of an earlier version, whose scales have no floor."""
    graph = nano("class_token")[1]
    model = METHODS["base_ptq"](graph, images(8, SIZE), Recipe())
    weight = model.weights["head.weight"]
    tiny = replace(weight, scale=weight.scale * 1e-30)
    with pytest.raises(InputError, match=r"head.bias: .* which no bias holds"):
        lower(replace(model, weights={**model.weights, "head.weight": tiny}), changed())


# --- LayerNorm's affine step ----------------------------------------------------------------------

SECTION = {"multiplier_bits": 31, "rounding": "half_up", "overflow": "saturate"}
LARGEST = 2 * 28


def scale_of(gamma: float, beta: float, normalized: int = 26, **section: object) -> tuple[int, ...]:
    y = Codes(name="y", shape=(2,), type=IntType(bits=8), role=Role.ACTIVATION, zero_point=-5)
    wanted = Affine(np.array([gamma, -gamma / 3]), np.array([beta, -beta]), LARGEST, y)
    found = affine_step(wanted, RescaleSection.model_validate({**SECTION, **section}), normalized)
    whole = (LARGEST << found.normalized) * int(np.abs(found.gamma).max())
    assert whole + int(np.abs(found.beta).max()) + (1 << found.shift) + 5 < 2**63
    assert np.abs(found.gamma / 2.0 ** (found.shift - found.normalized) - wanted.gamma).max() <= (
        2.0 ** -(found.shift - found.normalized + 1)
    )
    return int(np.abs(found.gamma).max()).bit_length(), found.normalized, found.shift


def test_gamma_and_normalized_values_keep_all_bits_where_they_fit() -> None:
    assert scale_of(50.0, 127.0, normalized=25) == (31, 25, 50)


@pytest.mark.parametrize("gamma", [1.27, 1e-1, 1e-3, 1e-6, 1e-12])
def test_a_small_gamma_beside_a_large_beta_costs_both_the_same_bits(gamma: float) -> None:
    bits, normalized, shift = scale_of(gamma, 127.0)
    assert bits == normalized or (bits > normalized == 26)
    assert shift == 55


def test_a_chip_with_small_shifts_has_fewer_fraction_bits() -> None:
    assert scale_of(50.0, 127.0, normalized=25, shift=[0, 31]) == (19, 18, 31)


def test_a_step_without_gamma_has_its_beta() -> None:
    assert scale_of(0.0, 127.0)[1:] == (26, 26)


def test_graphs_say_how_many_bits_there_are() -> None:
    chip = load_profile("edge_npu_int8")
    graph = lower(quantized("gamma 1e-6 of beta", chip), chip)
    norms = [op for op in graph.ops if isinstance(op, LayerNorm)]
    assert norms
    for op in norms:
        gamma = int(np.abs(graph.constants[op.gamma]).max()).bit_length()
        assert op.normalized_fraction_bits == gamma < 26
        assert op.shift < 62 - 6  # beta is 64 to 128 of the result's codes
