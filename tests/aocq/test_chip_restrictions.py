# SPDX-License-Identifier: Apache-2.0
"""What a chip's scales may be, in every method: powers of two, one per tensor, float32, widths."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import combinations, product
from typing import Any

import numpy as np
import pytest
import torch
from asked import asked, for_chip
from fake_quantized import on_chip, sqnr
from tiny_models import NANO, images, input_size
from torch import nn

from aocq.capture import FloatGraph, FloatOp
from aocq.lowering import check_recipe, lower
from aocq.methods import METHODS, QuantizedModel
from aocq.methods.integer_operators import completed
from aocq.methods.quantizers import ActivationQuantizer, LevelQuantizer
from aocq.recipes.aocq_options import AocqOptions
from aocq.recipes.limits import ANY_CHIP, ChipLimits, limits_of
from aocq.recipes.recipe import Recipe
from simulator.errors import InputError
from simulator.graph.ops import Add, LayerNorm, MatMul, Mean, Rescale
from simulator.numerics.integer_type import IntType
from simulator.profile import NpuProfile, load_profile

Captured = Callable[[str], tuple[nn.Module, FloatGraph]]
SIZE = input_size(NANO)
NAMES = tuple(METHODS)
FAST = AocqOptions(search_images=4, scale_passes=2)
ADAROUND = replace(FAST, rounding="adaround", adaround_steps=3)
RECONSTRUCT = replace(FAST, rounding="reconstruct", reconstruction_steps=3)
NEAREST = replace(FAST, rounding="nearest")

# Ranges of all images, so that none of their values is clipped.
FITTED = replace(NEAREST, search_images=8)

# By the name of the float graph, the method and the recipe.
MODELS: dict[tuple[str, str, Recipe, ChipLimits], QuantizedModel] = {}


def quantized(graph: FloatGraph, method: str, **recipe: Any) -> QuantizedModel:
    key = (graph.name, method, *asked(**{"aocq": FAST, "float_ops": "integer", **recipe}))
    if key not in MODELS:
        MODELS[key] = METHODS[method](graph, images(8, SIZE), *key[2:])
    return MODELS[key]


def activation_scales(model: QuantizedModel) -> Iterator[tuple[str, float]]:
    """Every scale that an activation has, the scale of each channel and of a table included."""
    for name, quantizer in model.activations.items():
        yield name, quantizer.scale
        if isinstance(quantizer, ActivationQuantizer):
            yield from ((name, scale) for scale in quantizer.scales().flatten().tolist())
            if quantizer.table_scale:
                yield name, quantizer.table_scale


def weight_scales(model: QuantizedModel) -> Iterator[tuple[str, float]]:
    for name, weight in model.weights.items():
        yield from ((name, scale) for scale in weight.scale.tolist())


def is_power(scale: float) -> bool:
    return math.frexp(scale)[0] == 0.5


def is_float32(scale: float) -> bool:
    return scale == float(np.float32(scale))


# --- powers of two --------------------------------------------------------------------------------


@pytest.mark.parametrize("method", NAMES)
@pytest.mark.parametrize(
    "recipe",
    [{}, {"float_ops": "declared"}, {"zero_point": "symmetric", "activation_range": "mse"}],
    ids=["integer", "declared", "mse"],
)
def test_every_scale_of_every_activation_is_a_power_of_two(
    method: str, recipe: dict[str, Any], nano: Captured
) -> None:
    graph = nano("class_token")[1]
    model = quantized(graph, method, activation_scale="power_of_two", **recipe)
    assert [name for name, scale in activation_scales(model) if not is_power(scale)] == []
    # Weights are not asked for any form.
    assert not all(is_power(scale) for _, scale in weight_scales(model))
    free = quantized(graph, method, **recipe)
    assert not all(is_power(scale) for _, scale in activation_scales(free))


@pytest.mark.parametrize("method", NAMES)
@pytest.mark.parametrize("granularity", ["per_channel", "per_tensor"])
def test_every_scale_of_every_weight_is_a_power_of_two(
    method: str, granularity: str, nano: Captured
) -> None:
    graph = nano("qk_norm")[1]
    recipe = {"weight_granularity": granularity, "weight_bits": 4}
    model = quantized(graph, method, weight_scale="power_of_two", **recipe)
    assert [name for name, scale in weight_scales(model) if not is_power(scale)] == []
    assert not all(is_power(scale) for _, scale in activation_scales(model))
    if granularity == "per_channel" and method in {"base_ptq", "fq_vit", "aocq"}:
        assert any(len(set(weight.scale.tolist())) > 1 for weight in model.weights.values())


@pytest.mark.parametrize(
    "options",
    [FAST, NEAREST, ADAROUND, RECONSTRUCT],
    ids=["gptq", "nearest", "adaround", "reconstruct"],
)
def test_no_rounding_of_aocq_leaves_the_form_of_the_weights(
    options: AocqOptions, nano: Captured
) -> None:
    graph = nano("class_token")[1]
    powers = {"weight_scale": "power_of_two", "activation_scale": "power_of_two"}
    model = quantized(graph, "aocq", aocq=options, **powers)
    assert all(is_power(scale) for _, scale in weight_scales(model))
    for node in graph.nodes:
        if node.op is not FloatOp.LINEAR or options is not NEAREST:
            continue
        weight = model.weights[node.attributes["weight"]]
        real = graph.parameters[node.attributes["weight"]].double().numpy()
        columns = np.array(weight.alpha or (1.0,))
        codes = np.clip(np.rint(real * columns / weight.scale[:, None]), -128, 127)
        assert np.array_equal(weight.codes, codes)  # rounded with the scale that is kept


@pytest.mark.parametrize("chip", ["multiplier", "shift"])
@pytest.mark.parametrize("sharing", ["node", "stage"])
def test_factors_of_aocq_stay_powers_of_two_and_are_there(
    chip: str, sharing: str, nano: Captured
) -> None:
    bits = 8 if chip == "multiplier" else 3
    model = quantized(
        nano("class_token")[1],
        "aocq",
        activation_scale="power_of_two",
        channel_factor=chip,
        channel_factor_bits=bits,
        aocq=replace(FAST, **{"alpha_sharing": sharing}),
    )
    for name in ("blocks.0.add", "blocks.0.norm2", "blocks.0.attn.qkv", "blocks.0.attn.proj"):
        quantizer = model.activations[name]
        assert isinstance(quantizer, ActivationQuantizer)
        assert all(map(is_power, quantizer.alpha)), name
        assert is_power(quantizer.scale)
    stream = model.activations["blocks.0.add"]
    assert isinstance(stream, ActivationQuantizer)
    assert len(set(stream.alpha)) > 1
    for _, weight in model.weights.items():
        assert all(map(is_power, weight.alpha))


def test_the_first_stage_moves_among_powers_of_two(nano: Captured) -> None:
    graph = nano("class_token")[1]
    recipe = {"activation_scale": "power_of_two", "activation_bits": 4, "residual_bits": 8}
    before, after = (
        quantized(graph, "aocq", aocq=replace(FAST, scale_passes=passes), **recipe).activations
        for passes in (0, 4)
    )
    ratios = {after[name].scale / before[name].scale for name in before}
    assert len(ratios) > 1
    assert all(map(is_power, ratios))


@pytest.mark.parametrize("method", NAMES)
def test_a_chip_computes_what_powers_of_two_fake_quantize(method: str, nano: Captured) -> None:
    graph = nano("class_token")[1]
    powers = {"weight_scale": "power_of_two", "activation_scale": "power_of_two"}
    model = quantized(graph, method, **powers)
    on_chip(model, images(2, SIZE, seed=2))  # holds kernels and plain Python equal
    # Half a bit less than any scale: a few decibel, not a broken network.
    free = sqnr(quantized(graph, method), images(16, SIZE, seed=2), graph)
    assert sqnr(model, images(16, SIZE, seed=2), graph) > free - 8


# --- one scale per tensor -------------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["class_token", "qk_norm", "registers"])
@pytest.mark.parametrize("method", NAMES)
def test_one_scale_per_tensor_is_one_multiplier_per_tensor(
    method: str, variant: str, nano: Captured
) -> None:
    graph = nano(variant)[1]
    one = {"weight_granularity": "per_tensor", "activation_granularity": "per_tensor"}
    model = quantized(graph, method, **one)
    for name, quantizer in model.activations.items():
        if isinstance(quantizer, ActivationQuantizer):
            assert (quantizer.alpha, quantizer.table_scale) == ((), 0.0), name
    assert {weight.alpha for weight in model.weights.values()} == {()}
    lowered = lower(model, load_profile("edge_npu_int8"))
    seen = set()
    for op in lowered.ops:
        if isinstance(op, (MatMul, Mean, Rescale)):
            seen.add(type(op))
            for name in (op.requantize.multiplier, op.requantize.shift):
                assert lowered.constants[name].shape == (1,), name
        if isinstance(op, Add):
            seen.add(type(op))
            for name in (op.multiplier_a, op.multiplier_b):
                assert lowered.constants[name].shape == (1,), name
        if isinstance(op, LayerNorm):
            seen.add(type(op))
            assert (op.channel_multiplier, op.channel_shift) == (None, None)
    assert {MatMul, Add, LayerNorm} <= seen


@pytest.mark.parametrize("method", NAMES)
def test_heads_share_their_scale_in_float_too(method: str, nano: Captured) -> None:
    graph = nano("class_token")[1]
    recipe = {"float_ops": "declared", "activation_granularity": "per_tensor"}
    model = quantized(graph, method, **recipe)
    sizes = {name: model.scales(name).size for name in model.activations}
    assert set(sizes.values()) == {1}
    for entry in model.log:  # searched for all heads together, not the largest of theirs
        for side in ("a_steps", "b_steps"):
            assert len(set(entry.get(side, [0]))) == 1, entry


def test_one_scale_for_all_heads_is_the_best_for_all_of_them_together() -> None:
    from aocq.methods.layer_search import Grid, Product, Search, quantize_heads, search_product
    from aocq.methods.objectives import cosine
    from aocq.methods.scale_form import ScaleForm

    generator = torch.Generator().manual_seed(0)
    # Evenly spread in all but one head: there is nothing to gain by clipping.
    a = torch.rand(2, 3, 5, 8, generator=generator) - 0.5
    a *= torch.tensor([9.0, 8.0, 2.0])[:, None, None]
    b = torch.randn(2, 3, 8, 6, generator=generator)
    factor = 8**-0.5
    for form, bits in product((ScaleForm(), ScaleForm(power_of_two=True)), (4, 8)):
        setting = Search(
            grid=Grid(low=0.5, high=1.2, count=7),
            objective=cosine,
            rounds=1,
            weight_bits=4,
            activation_bits=bits,
            activation_form=form,
            one_scale=True,
        )
        found = search_product(
            Product(a=a * factor, b=b, real=a * factor @ b, gradient=None, factors=(factor, 1.0)),
            setting,
        )
        assert isinstance(found.a, torch.Tensor)
        assert len(set(found.a.tolist())) == len(set(found.b.tolist())) == 1
        half = 2 ** (bits - 1) - 0.5
        full = float((a * factor).abs().max()) / half
        shares = [full * (0.5 + 0.1 * i) for i in range(7)]
        if form.power_of_two:
            shares = [form.nearest(full / factor) * 0.5**k * factor for k in range(8)]
        first = form.nearest(float(b.abs().max()) / half)
        right = quantize_heads(b, torch.full((3,), first, dtype=torch.float64), bits)
        scores = [
            cosine(
                a * factor @ b,
                quantize_heads(a * factor, torch.full((3,), scale, dtype=torch.float64), bits)
                @ right,
                None,
            ).sum()
            for scale in shares
        ]
        best = shares[int(torch.stack(scores).argmax())]
        assert float(found.a[0]) == pytest.approx(best)


# --- float32 --------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", NAMES)
@pytest.mark.parametrize("float_ops", ["integer", "declared"])
def test_every_scale_is_a_float32(method: str, float_ops: str, nano: Captured) -> None:
    graph = nano("class_token")[1]
    recipe: dict[str, Any] = {"float_ops": float_ops, "activation_granularity": "per_tensor"}
    model = quantized(graph, method, float32_scales=True, **recipe)
    found = [*activation_scales(model), *weight_scales(model)]
    assert [name for name, scale in found if not is_float32(scale)] == []
    free = quantized(graph, method, **recipe)
    assert not all(is_float32(scale) for _, scale in weight_scales(free))


def test_the_one_scale_of_all_heads_is_a_float32_again(nano: Captured) -> None:
    """A ratio of float32 scales times the smaller one can miss the larger one by a bit."""
    graph = nano("class_token")[1]
    steps = np.linspace(0.1, 0.9, 50, dtype=np.float32).tolist()
    small, large = next(
        pair for pair in combinations(steps, 2) if pair[1] / pair[0] * pair[0] != pair[1]
    )
    name = "blocks.0.attn.qkv"
    factors = (1.0, large / small) * 36
    own = ActivationQuantizer(type=IntType(bits=8), scale=small, zero_point=0, alpha=factors)
    recipe = asked(float32_scales=True, float_ops="integer")
    found = completed(graph, images(2, SIZE), *recipe, {name: own})[name]
    assert (found.scale, found.type.bits) == (large, 8)


def test_rows_that_no_product_reads_have_the_chips_form_too(nano: Captured) -> None:
    """Q and K before their normalization: their scales are observed, not searched."""
    graph = nano("qk_norm")[1]
    recipe = {"activation_scale": "power_of_two", "float_ops": "declared"}
    model = quantized(graph, "base_ptq_paper", **recipe)
    found = model.activations["blocks.0.attn.qkv"]
    assert isinstance(found, ActivationQuantizer)
    assert len(found.alpha) == 72
    assert all(map(is_power, found.scales().flatten().tolist()))


@pytest.mark.parametrize(
    "options", [FAST, ADAROUND, RECONSTRUCT], ids=["gptq", "adaround", "reconstruct"]
)
def test_scales_of_balanced_tensors_are_float32_and_their_factors_are_ratios(
    options: AocqOptions, nano: Captured
) -> None:
    model = quantized(nano("class_token")[1], "aocq", float32_scales=True, aocq=options)
    assert all(is_float32(scale) for _, scale in weight_scales(model))
    for name, quantizer in model.activations.items():
        assert isinstance(quantizer, ActivationQuantizer)
        assert is_float32(quantizer.scale), name
        assert is_float32(quantizer.table_scale), name
    on_chip(model, images(1, SIZE, seed=2))  # LayerNorm takes whole multiples of one scale


def test_weights_are_rounded_with_the_float32_scale(nano: Captured) -> None:
    """A scale between two codes' scales: large magnitudes show the difference of a rounding."""
    graph = nano("class_token")[1]
    for method in ("base_ptq", "fq_vit"):
        model = quantized(graph, method, float32_scales=True)
        for name, weight in model.weights.items():
            real = graph.parameters[name].double().numpy()
            codes = np.clip(np.rint(real / weight.scale[:, None]), -128, 127)
            assert np.array_equal(weight.codes, codes), name


# --- widths ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", NAMES)
@pytest.mark.parametrize("float_ops", ["integer", "declared"])
def test_sixteen_bit_activations_with_fifteen_bit_probabilities(
    method: str, float_ops: str, nano: Captured
) -> None:
    graph = nano("class_token")[1]
    wide = {"activation_bits": 16, "residual_bits": 16, "softmax_bits": 15, "aocq": FITTED}
    model = quantized(graph, method, float_ops=float_ops, **wide)
    widths = {
        quantizer.bits if isinstance(quantizer, LevelQuantizer) else quantizer.type.bits
        for name, quantizer in model.activations.items()
        if graph.node(name).op is not FloatOp.SOFTMAX
    }
    assert widths == {16}
    probabilities = model.activations["blocks.0.attn.probabilities"]
    if isinstance(probabilities, LevelQuantizer):
        assert method == "fq_vit"  # codes so wide have no room for twin ranges
        assert probabilities.bits == 15
    elif method in {"base_ptq", "aocq"} or float_ops == "integer":
        assert probabilities.type == IntType(bits=15, signed=False)
        assert probabilities.scale == 2.0**-15
    else:
        assert probabilities.type == IntType(bits=15)
    narrow = quantized(graph, method, float_ops=float_ops, aocq=FITTED)
    gained = sqnr(model, images(8, SIZE), graph) - sqnr(narrow, images(8, SIZE), graph)
    assert gained > (0 if method == "fq_vit" else 3)  # its powers of two after softmax stay


@pytest.mark.parametrize("method", NAMES)
def test_probabilities_have_the_width_of_activations_unless_told(
    method: str, nano: Captured
) -> None:
    graph = nano("class_token")[1]
    name = "blocks.0.attn.probabilities"
    told, untold = (
        quantized(graph, method, activation_bits=6, softmax_bits=bits) for bits in (6, None)
    )
    assert told.activations == untold.activations
    assert ANY_CHIP.probability_bits(Recipe(activation_bits=6)) == 6
    other = quantized(graph, method, activation_bits=6, softmax_bits=5)
    assert other.activations[name] != told.activations[name]
    assert {
        n for n in told.activations if told.activations[n].type != other.activations[n].type
    } <= {name}


# --- profiles -------------------------------------------------------------------------------------


def chip(**tables: dict[str, Any]) -> NpuProfile:
    """Return the 8-bit example chip with other values in some tables."""
    plain = load_profile("edge_npu_int8").model_dump(mode="json")
    return NpuProfile.model_validate(
        {**plain, **{name: {**plain[name], **table} for name, table in tables.items()}}
    )


RESTRICTED: dict[str, tuple[dict[str, dict[str, Any]], dict[str, Any], str]] = {
    "activation.granularity": (
        {"activation": {"granularity": "per_tensor"}},
        {"activation_granularity": "per_tensor"},
        'activation.granularity = "per_tensor", the model has scales by channel or head',
    ),
    "weight.scale": (
        {"weight": {"scale": "power_of_two"}},
        {"weight_scale": "power_of_two"},
        'weight.scale = "power_of_two", the model has weights of any scale',
    ),
    "activation.scale": (
        {"activation": {"scale": "power_of_two"}},
        {"activation_scale": "power_of_two"},
        'activation.scale = "power_of_two", the model has activations of any scale',
    ),
    "rescale.scale_type": (
        {"rescale": {"scale_type": "float32"}},
        {"float32_scales": True},
        "rescale.scale_type wants scales in float32, the model has others",
    ),
    "softmax.output_bits": (
        {"softmax": {"output_bits": 7}},
        {"softmax_bits": 7},
        "softmax.output_bits = 7, the model's probabilities have 8",
    ),
}


@pytest.mark.parametrize("key", RESTRICTED)
def test_a_model_without_a_chips_restriction_is_refused_by_its_key(
    key: str, nano: Captured
) -> None:
    tables, recipe, message = RESTRICTED[key]
    profile = chip(**tables)
    graph = nano("class_token")[1]
    free = quantized(graph, "aocq")
    with pytest.raises(InputError) as caught:
        lower(free, profile)
    assert str(caught.value).startswith(f"profile edge_npu_int8: {message}; quantize for this")
    with pytest.raises(InputError) as early:  # known before any image is decoded
        check_recipe(free.recipe, free.limits, profile)
    assert str(early.value) == str(caught.value)
    limits = limits_of(profile, free.recipe)
    unrestricted = limits_of(load_profile("edge_npu_int8"), free.recipe)
    assert limits == replace(unrestricted, **recipe)
    check_recipe(free.recipe, limits, profile)
    lower(quantized(graph, "aocq", **recipe), profile)


def test_all_restrictions_that_a_model_lacks_are_named_at_once(nano: Captured) -> None:
    tables: dict[str, dict[str, Any]] = {}
    for found, _, _ in RESTRICTED.values():
        for name, table in found.items():
            tables[name] = {**tables.get(name, {}), **table}
    with pytest.raises(InputError) as caught:
        lower(quantized(nano("class_token")[1], "aocq"), chip(**tables))
    assert all(message in str(caught.value) for _, _, message in RESTRICTED.values())


def test_a_model_that_has_one_scale_per_tensor_anyway_is_taken(nano: Captured) -> None:
    model = quantized(nano("class_token")[1], "base_ptq")
    assert model.limits.activation_granularity == "per_channel"
    lower(model, chip(activation={"granularity": "per_tensor"}))


def test_powers_of_two_are_float32_too() -> None:
    profile = chip(rescale={"scale_type": "float32_ratio"})
    recipe, unrestricted = for_chip(load_profile("edge_npu_int8"))
    both = {"weight_scale": "power_of_two", "activation_scale": "power_of_two"}
    check_recipe(recipe, replace(unrestricted, **both), profile)
    for one in both:
        with pytest.raises(InputError, match="scales in float32"):
            check_recipe(recipe, replace(unrestricted, **{one: "power_of_two"}), profile)


def test_one_kind_of_op_with_scales_in_float32_is_enough() -> None:
    plain = load_profile("edge_npu_int8").model_dump(mode="json")
    other = {"linear": {"rescale": {"scale_type": "float32"}}}
    profile = NpuProfile.model_validate({**plain, "ops": other})
    assert limits_of(profile, Recipe()).float32_scales
    assert not limits_of(load_profile("edge_npu_int8"), Recipe()).float32_scales


@pytest.mark.parametrize(
    ("chip_bits", "output_bits", "bits", "wanted"),
    [(8, 8, 8, None), (8, 7, 8, 7), (16, 15, 16, 15), (16, 16, 16, None), (8, 8, 4, None)],
)
def test_probabilities_are_as_wide_as_the_chips_unless_all_else_is_narrower(
    chip_bits: int, output_bits: int, bits: int, wanted: int | None
) -> None:
    profile = chip(
        activation={"bits": chip_bits, "residual_bits": max(chip_bits, 8)},
        softmax={"output_bits": output_bits},
    )
    recipe, limits = for_chip(profile, activation_bits=bits)
    assert limits.softmax_bits == wanted
    if bits == chip_bits:
        check_recipe(recipe, limits, profile)
