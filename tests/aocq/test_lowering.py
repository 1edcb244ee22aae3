# SPDX-License-Identifier: Apache-2.0
"""A lowered model: valid, bit-exact in the emulator, close to the float network."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from asked import asked, for_chip
from changed_profiles import changed
from tiny_models import NANO, images, input_size, network
from torch import nn

from aocq.capture import FloatGraph, capture, run
from aocq.capture.residual_stream import residual_stream
from aocq.lowering import check_recipe, lower
from aocq.methods import METHODS, QuantizedModel
from aocq.recipes.limits import ChipLimits
from aocq.recipes.recipe import Recipe
from simulator.boundary import dequantize, quantize
from simulator.errors import InputError
from simulator.executor import Executor, RunOutput, run_reference
from simulator.graph import IntGraph, load, save, sha256, verify
from simulator.graph.meta import graph_meta
from simulator.graph.ops import Add, LayerNorm, Lookup, MatMul, Mean, Op, Rescale, Softmax
from simulator.numerics.accumulator import BiasStage
from simulator.numerics.integer_type import IntArray, Overflow
from simulator.numerics.rounding import Rounding
from simulator.profile import NpuProfile, load_profile

Captured = Callable[[str], tuple[nn.Module, FloatGraph]]
SIZE = input_size(NANO)
PROFILES = ("edge_npu_int8", "narrow_acc_20")
VARIANTS = (
    "class_token",
    "mean_then_norm",
    "mean_without_class_token",
    "registers",
    "layer_scale",
    "distilled",
    "qk_norm",
    "pre_norm",
    "silu",
    "no_biases",
)


# Quantizing takes longer than lowering: models by the name of the float graph and the recipe.
MODELS: dict[tuple[str, Recipe, ChipLimits], QuantizedModel] = {}


def quantized(graph: FloatGraph, profile: NpuProfile, **recipe: Any) -> QuantizedModel:
    """Quantize within the profile's limits."""
    limits = {
        "zero_point": profile.activation.zero_point,
        "weight_granularity": profile.weight.granularity,
        "residual_bits": profile.activation.residual_bits,
        "channel_factor": profile.layernorm.channel_factor,
        "channel_factor_bits": profile.layernorm.channel_factor_bits,
    }
    key = (graph.name, *asked(**{**limits, **recipe}))
    if key not in MODELS:
        MODELS[key] = METHODS["base_ptq"](graph, images(32, SIZE), *key[1:])
    return MODELS[key]


def lowered(graph: FloatGraph, profile: NpuProfile, **recipe: Any) -> IntGraph:
    return lower(quantized(graph, profile, **recipe), profile)


class Emulated(NamedTuple):
    """What a graph made of test images: all codes, and the real logits."""

    codes: IntArray
    output: RunOutput
    logits: np.ndarray


def emulate(graph: IntGraph, count: int = 16) -> Emulated:
    source, target = graph.tensors[graph.inputs[0]], graph.tensors[graph.outputs[0]]
    codes = quantize(images(count, SIZE, seed=2).numpy(), source)
    output = Executor(graph, threads=1).run(codes, taps=[op.name for op in graph.ops])
    return Emulated(codes, output, dequantize(output.outputs[target.name], target))


def assert_bit_exact(graph: IntGraph, emulated: Emulated) -> None:
    """Hold every tensor of the first image equal to the plain-Python reference."""
    reference = run_reference(graph, emulated.codes[0])
    for op in graph.ops:
        np.testing.assert_array_equal(
            emulated.output.taps[op.name][0], reference[op.name], err_msg=op.name
        )


def decibel(reference: np.ndarray, approximation: np.ndarray) -> float:
    noise = ((reference - approximation) ** 2).sum()
    return float(10 * np.log10((reference**2).sum() / noise)) if noise else float("inf")


# Every variant with each profile and each width; every second variant has them the other way round.
PAIRS = [
    (variant, name, bits)
    for number, variant in enumerate(VARIANTS)
    for name, bits in zip(PROFILES, (8, 4) if number % 2 else (4, 8), strict=True)
]


@pytest.mark.parametrize(("variant", "name", "bits"), PAIRS)
def test_the_emulator_is_bit_exact_and_close_to_fake_quantization(
    variant: str, name: str, bits: int, nano: Captured
) -> None:
    real, float_graph = nano(variant)
    profile = load_profile(name)
    model = quantized(float_graph, profile, weight_bits=bits)
    graph = lower(model, profile)
    assert verify(graph) == []
    assert graph.float_ops == 0
    assert (graph.inputs, graph.outputs) == (("image",), (float_graph.output.name,))
    emulated = emulate(graph)
    assert_bit_exact(graph, emulated)

    inputs = images(16, SIZE, seed=2)
    fake_quantized = run(
        float_graph,
        {"image": model.fake_quantized_image(inputs)},
        [float_graph.output.name],
        transform=model.fake_quantize,
        parameters=model.fake_quantized_parameters(),
    )[float_graph.output.name]
    assert decibel(fake_quantized.numpy(), emulated.logits) > 40
    assert decibel(real(inputs).double().numpy(), emulated.logits) > 10


@pytest.mark.parametrize("variant", ["class_token", "mean_without_class_token"])
def test_every_backend_and_thread_count_gives_the_same_codes(variant: str, nano: Captured) -> None:
    graph = lowered(nano(variant)[1], load_profile("edge_npu_int8"))
    expected = emulate(graph)
    for gemm in ("torch", "blas", "numba"):
        for threads in (1, 3):
            output = Executor(graph, gemm=gemm, threads=threads).run(
                expected.codes, taps=list(expected.output.taps)
            )
            for tap, codes in expected.output.taps.items():
                np.testing.assert_array_equal(output.taps[tap], codes)
            assert output.counts == expected.output.counts


def test_a_saved_graph_comes_back_the_same(nano: Captured, tmp_path: Path) -> None:
    graph = lowered(nano("distilled")[1], load_profile("edge_npu_int8"))
    assert save(graph, tmp_path) == sha256(graph) == sha256(load(tmp_path))


# --- the profile is in every op -------------------------------------------------------------------


def roundings(op: Op) -> set[tuple[Rounding, Overflow]]:
    """Rounding and overflow of an op that has them."""
    if isinstance(op, (MatMul, Mean, Rescale)):
        return {(op.requantize.rounding, op.requantize.overflow)}
    if isinstance(op, (Add, LayerNorm, Softmax)):
        return {(op.rounding, op.overflow)}
    return set()


ONE = [{"group": "all", "bits": 24, "overflow": "wrap"}]
TWO = [
    {"group": 8, "bits": 20, "overflow": "saturate"},
    {"group": "all", "bits": 28, "overflow": "wrap"},
]


@pytest.mark.parametrize(
    ("rounding", "overflow", "bias", "levels"),
    [
        (Rounding.FLOOR, Overflow.SATURATE, BiasStage.PRELOAD, ONE),
        (Rounding.TOWARD_ZERO, Overflow.SATURATE, BiasStage.PRELOAD, TWO),
        (Rounding.HALF_UP, Overflow.SATURATE, BiasStage.AFTER_LAST_BLOCK, ONE),
        (Rounding.HALF_DOWN, Overflow.SATURATE, BiasStage.AFTER_LAST_BLOCK, TWO),
        (Rounding.HALF_AWAY, Overflow.SATURATE_SYMMETRIC, BiasStage.PRELOAD, ONE),
        (Rounding.HALF_EVEN, Overflow.WRAP, BiasStage.AFTER_LAST_BLOCK, TWO),
    ],
)
def test_the_profile_decides_every_rounding_overflow_and_accumulator(
    rounding: Rounding,
    overflow: Overflow,
    bias: BiasStage,
    levels: list[dict[str, Any]],
    nano: Captured,
) -> None:
    profile = changed(
        rescale__rounding=rounding.value,
        rescale__overflow=overflow.value,
        accumulator__levels=levels,
        accumulator__bias=bias.value,
    )
    graph = lowered(nano("mean_then_norm")[1], profile)
    found = [roundings(op) for op in graph.ops]
    assert {pair for pairs in found for pair in pairs} == {(rounding, overflow)}
    kinds = {type(op) for op, pairs in zip(graph.ops, found, strict=True) if pairs}
    assert kinds == {MatMul, Mean, Add, LayerNorm, Softmax}
    for op in graph.ops:
        if isinstance(op, (MatMul, Mean)):
            assert op.accumulator == profile.accumulator.accumulator()
            assert [level.bits for level in op.accumulator.levels] == [x["bits"] for x in levels]
            assert op.accumulator.bias is bias
    assert_bit_exact(graph, emulate(graph, count=1))


def test_results_of_a_symmetric_chip_never_have_the_lowest_code(nano: Captured) -> None:
    """Clipped ranges make values saturate on both sides."""
    graphs = {
        overflow: lowered(
            nano("class_token")[1],
            changed(rescale__overflow=overflow),
            activation_range="mse",
            zero_point="symmetric",
        )
        for overflow in ("saturate", "saturate_symmetric")
    }
    lowest = {
        overflow: min(
            int(emulate(graph).output.taps[op.name].min())
            for op in graph.ops
            if not isinstance(op, Lookup)
        )
        for overflow, graph in graphs.items()
    }
    assert lowest == {"saturate": -128, "saturate_symmetric": -127}


@pytest.mark.parametrize("overflow", ["wrap", "saturate"])
def test_accumulators_that_overflow_do_so_bit_exactly(overflow: str, nano: Captured) -> None:
    levels = [{"group": "all", "bits": 15, "overflow": overflow}]
    graph = lowered(nano("class_token")[1], changed(accumulator__levels=levels))
    emulated = emulate(graph)
    assert sum(counts.overflowed for counts in emulated.output.counts.values()) > 0
    assert_bit_exact(graph, emulated)


IDENTITY = (
    {"rescale__rounding": "half_even"},
    {"rescale__overflow": "wrap"},
    {"rescale__multiplier_bits": 15},
    {"accumulator__levels": [{"group": "all", "bits": 31, "overflow": "wrap"}]},
    {"accumulator__levels": [{"group": "all", "bits": 32, "overflow": "saturate"}]},
    {"accumulator__bias": "after_last_block"},
    {"softmax__table_bits": 12},
    {"layernorm__sqrt_fraction_bits": 4},
    {"activation__residual_bits": 12},
)


@pytest.mark.parametrize("change", IDENTITY, ids="_".join)
def test_every_numeric_choice_of_the_profile_is_part_of_the_identity(
    change: dict[str, Any], nano: Captured
) -> None:
    _, float_graph = nano("class_token")
    before, after = changed(), changed(**change)
    assert sha256(lowered(float_graph, before)) != sha256(lowered(float_graph, after))


def test_what_only_changes_the_cost_is_not_part_of_the_identity(nano: Captured) -> None:
    _, float_graph = nano("class_token")
    other = changed(compute__clock_mhz=1.0, memory__sram_bytes=1)
    assert sha256(lowered(float_graph, changed())) == sha256(lowered(float_graph, other))


@pytest.mark.parametrize("variant", ["class_token", "mean_then_norm", "registers"])
def test_a_wide_residual_stream_is_wide_from_end_to_end(variant: str, nano: Captured) -> None:
    built, float_graph = nano(variant)
    graph = lowered(float_graph, changed(activation__residual_bits=16))
    stream = residual_stream(float_graph)
    for op in graph.ops:
        kind = str(graph.result(op).type)
        if op.name in stream:
            assert kind == "s16", op.name
        elif isinstance(op, (MatMul, LayerNorm, Lookup)) and op.name != "patch_embed.proj":
            assert kind == "s8", op.name
    emulated = emulate(graph)
    assert_bit_exact(graph, emulated)
    narrow = emulate(lowered(float_graph, changed())).logits
    real = built(images(16, SIZE, seed=2)).double().numpy()
    assert decibel(real, emulated.logits) > decibel(real, narrow) - 1


def test_one_scale_for_all_weights_of_a_layer(nano: Captured) -> None:
    profile = changed(weight__granularity="per_tensor")
    graph = lowered(nano("class_token")[1], profile)
    multipliers = {
        graph.tensors[op.requantize.multiplier].shape for op in graph.ops if isinstance(op, MatMul)
    }
    assert multipliers == {(1,)}
    assert_bit_exact(graph, emulate(graph, count=1))


# --- the float graph is in every op ---------------------------------------------------------------


def test_weights_biases_and_zero_points_are_where_the_chip_wants_them(nano: Captured) -> None:
    _, float_graph = nano("class_token")
    model = quantized(float_graph, load_profile("edge_npu_int8"), weight_bits=4)
    graph = lower(model, load_profile("edge_npu_int8"))
    for node in float_graph.nodes:
        if node.op != "linear":
            continue
        weight = model.weights[node.attributes["weight"]]
        np.testing.assert_array_equal(graph.constants[f"{node.name}.weight"], weight.codes)
        assert str(graph.tensors[f"{node.name}.weight"].type) == "s4"
        op = next(op for op in graph.ops if op.name == node.name)
        assert isinstance(op, MatMul)
        x = graph.tensors[op.a]
        scale = x.scale[0] * weight.scale
        real = float_graph.parameters[node.attributes["bias"]].double().numpy()
        folded = np.rint(real / scale) - x.zero_point * weight.codes.sum(axis=1, dtype=np.int64)
        np.testing.assert_array_equal(graph.constants[f"{node.name}.bias"], folded)


def test_a_factor_at_the_very_end_belongs_to_the_logits(nano: Captured) -> None:
    """Two heads averaged: the sum's codes are read at half its scale."""
    _, float_graph = nano("distilled")
    graph = lowered(float_graph, load_profile("edge_npu_int8"))
    sums, logits = graph.tensors["add_1"], graph.tensors[graph.outputs[0]]
    assert logits.scale == (sums.scale[0] / 2,)
    taps = emulate(graph).output.taps
    np.testing.assert_array_equal(taps[logits.name], taps[sums.name])


def test_a_network_that_has_learned_nothing_can_be_lowered(nano: Captured) -> None:
    """All weights and biases zero, as timm initializes a head."""
    _, float_graph = nano("class_token")
    silent = {
        name: torch.zeros_like(value) if ".weight" in name or ".bias" in name else value
        for name, value in float_graph.parameters.items()
    }
    graph = lowered(
        FloatGraph(name="silent", nodes=float_graph.nodes, parameters=silent),
        load_profile("edge_npu_int8"),
    )
    emulated = emulate(graph)
    assert_bit_exact(graph, emulated)
    assert not emulated.logits.any()


def test_meta_is_carried_into_the_graph(nano: Captured) -> None:
    from dataclasses import replace

    profile = load_profile("edge_npu_int8")
    float_graph = nano("class_token")[1]
    preprocessing = {
        "input_size": list(float_graph.input.shape),
        **{"mean": [0.5] * 3, "std": [0.25] * 3},
        **{"crop_mode": "center", "crop_pct": 1.0, "interpolation": "bicubic"},
    }
    meta = {"classes": "10", "preprocessing": json.dumps(preprocessing)}
    model = replace(quantized(float_graph, profile), meta=meta)
    graph = lower(model, profile)
    assert dict(graph.meta) == meta
    found = graph_meta(graph)
    assert found is not None
    assert (found.classes, found.preprocessing) == (10, preprocessing)
    with pytest.raises(InputError, match="classes 11"):
        lower(replace(model, meta={**meta, "classes": "11"}), profile)
    assert (graph.name, graph.profile) == ("class_token", "edge_npu_int8")


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recipe", "values", "key"),
    [
        ({"weight_bits": 6}, {}, "weight.bits = [8, 4, 3] has no 6"),
        ({"activation_bits": 16}, {}, "activation.bits = 8, the model has 16"),
        ({"residual_bits": 12}, {}, "activation.residual_bits = 8, the model has 12"),
        (
            {"weight_granularity": "per_channel"},
            {"weight__granularity": "per_tensor"},
            'weight.granularity = "per_tensor", the model is per channel',
        ),
        (
            {"zero_point": "asymmetric"},
            {"activation__zero_point": "symmetric"},
            'activation.zero_point = "symmetric", the model has zero points',
        ),
    ],
    ids=[
        "weight_bits",
        "activation_bits",
        "residual_bits",
        "granularity",
        "zero_point",
    ],
)
def test_a_model_that_the_profile_cannot_hold_is_refused_by_its_key(
    recipe: dict[str, Any], values: dict[str, Any], key: str, nano: Captured
) -> None:
    profile = changed(**values)
    model = quantized(nano("class_token")[1], profile, **recipe)
    with pytest.raises(InputError) as caught:
        lower(model, profile)
    assert key in str(caught.value)
    assert "profile edge_npu_int8: " in str(caught.value)
    with pytest.raises(InputError):
        check_recipe(model.recipe, model.limits, profile)  # known before any image is decoded


@pytest.mark.parametrize(
    ("recipe", "values", "key"),
    [
        (
            {"channel_factor": "multiplier", "channel_factor_bits": 2},
            {"layernorm__channel_factor": "shift", "layernorm__channel_factor_bits": 3},
            'layernorm.channel_factor = "shift" of 3 bits, the model has "multiplier" of 2',
        ),
        (
            {"channel_factor_bits": 8},
            {"layernorm__channel_factor_bits": 7},
            'layernorm.channel_factor = "multiplier" of 7 bits, the model has "multiplier" of 8',
        ),
        (
            {"channel_factor": "shift", "channel_factor_bits": 4},
            {},
            'layernorm.channel_factor = "multiplier" of 8 bits, the model has "shift" of 4',
        ),
    ],
    ids=["factors", "factor_bits", "many_shifts"],
)
def test_channel_factors_count_where_a_layer_norm_reads_them(
    recipe: dict[str, Any], values: dict[str, Any], key: str, nano: Captured
) -> None:
    profile = changed(**values)
    wanted = asked(**recipe, aocq={"scale_passes": 0})
    with pytest.raises(InputError, match=r"layernorm\.channel_factor") as caught:
        check_recipe(*wanted, profile)
    assert key in str(caught.value)
    graph = nano("class_token")[1]
    model = METHODS["aocq"](graph, images(8, input_size(NANO)), *wanted)
    with pytest.raises(InputError, match=r"layernorm\.channel_factor"):
        lower(model, profile)
    plain = METHODS["base_ptq"](graph, images(8, input_size(NANO)), *wanted)
    assert lower(plain, profile).float_ops == 0


def test_every_mismatch_is_named_at_once() -> None:
    wanted = asked(weight_bits=3, residual_bits=16)
    with pytest.raises(InputError) as caught:
        check_recipe(*wanted, changed("narrow_acc_20"))
    for key in (
        "weight.bits",
        "activation.residual_bits",
        "activation.zero_point",
        "layernorm.channel_factor",
    ):
        assert key in str(caught.value)


def test_a_bias_too_wide_for_the_profile_is_named(nano: Captured) -> None:
    profile = changed(accumulator__bias_bits=8)
    with pytest.raises(
        InputError, match=r"^\S+\.bias: needs \d+ bits, profile edge_npu_int8 has 8"
    ):
        lowered(nano("class_token")[1], profile)


# --- determinism ----------------------------------------------------------------------------------


def identity() -> str:
    """Everything from the network to the graph, and the graph's sha256."""
    graph = capture(network("registers", NANO), "again", SIZE)
    recipe = Recipe(weight_bits=4, activation_range="mse")
    model = METHODS["base_ptq"](graph, images(20, SIZE), recipe)
    return sha256(lower(model, load_profile("edge_npu_int8")))


def test_the_same_inputs_give_the_same_graph_in_every_process() -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import torch; torch.set_num_threads(1)\n"
        "import test_lowering; print(test_lowering.identity())"
    )
    elsewhere = subprocess.run(
        [sys.executable, "-c", code, str(Path(__file__).parent)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert identity() == identity() == elsewhere.stdout.strip()


@pytest.mark.parametrize("factor", [1e-20, 1e-37])
def test_a_stream_far_below_epsilon_is_told_by_its_layer_and_scale(factor: float) -> None:
    real = network("class_token", NANO)
    with torch.no_grad():
        for name, parameter in real.named_parameters():
            into_stream = name.startswith(("patch_embed", "pos_embed", "cls_token"))
            if into_stream or ".proj." in name or ".fc2." in name:
                parameter.mul_(factor)
    graph = capture(real.eval(), "tiny_stream", SIZE)
    model = METHODS["base_ptq"](graph, images(8, SIZE), Recipe())
    told = r"^blocks\.0\.norm1: LayerNorm's epsilon 1e-06 is too large for .* scale \d\.?\d*e-"
    with pytest.raises(InputError, match=told):
        lower(model, load_profile("edge_npu_int8"))
    other = load_profile("gemmini_20b")
    assert other.layernorm.algorithm == "float32"
    anew = METHODS["base_ptq"](graph, images(8, SIZE), *for_chip(other))
    assert verify(lower(anew, other)) == [], "the way out that is told"
