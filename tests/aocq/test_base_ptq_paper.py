# SPDX-License-Identifier: Apache-2.0
"""BasePTQ as papers have it: what is quantized, and that the search finds the best candidate."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from asked import asked
from fake_quantized import left_in_float, logits, on_chip, sqnr
from tiny_models import NANO, images, input_size
from torch import nn
from torch.nn import functional

from aocq.capture import FloatGraph, FloatOp, run
from aocq.methods import METHODS, QuantizedModel
from aocq.methods.layer_search import (
    Grid,
    LinearLayer,
    Product,
    Search,
    full_scale,
    search_linear,
    search_product,
    uniform_candidates,
    weight_codes,
)
from aocq.methods.objectives import cosine
from aocq.methods.quantizers import ActivationQuantizer
from aocq.recipes.recipe import Recipe

Captured = Callable[[str], tuple[nn.Module, FloatGraph]]
SIZE = input_size(NANO)


def quantized(graph: FloatGraph, **recipe: object) -> QuantizedModel:
    recipe = {"residual_bits": 8, **recipe}
    return METHODS["base_ptq_paper"](graph, images(6, SIZE), *asked(**recipe))


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def search(objective=cosine, bits: int = 4, rounds: int = 1, count: int = 7) -> Search:  # type: ignore[no-untyped-def]
    return Search(
        grid=Grid(low=0.5, high=1.2, count=count),
        objective=objective,
        rounds=rounds,
        weight_bits=bits,
        activation_bits=bits,
    )


def fake(x: torch.Tensor, scale: float, bits: int) -> torch.Tensor:
    half = 1 << (bits - 1)
    return torch.clamp(torch.round(x / scale), -half, half - 1) * scale


def test_the_grid_never_tries_its_last_point() -> None:
    shares = Grid(low=0.5, high=1.2).shares()
    assert len(shares) == 100
    assert shares[0] == 0.5
    assert shares[-1] == pytest.approx(0.5 + 99 * 0.007)


def test_the_full_scale_lets_the_largest_value_reach_half_a_code_beyond() -> None:
    assert float(full_scale(torch.tensor(7.5), 4)) == 1.0
    assert float(full_scale(torch.tensor(0.0), 8)) > 0


def test_a_linear_search_takes_the_argmax_of_the_cosine() -> None:
    """Brute force in float64 with torch's own cosine, block by block."""
    x, weight, bias = noise(30, 12), noise(6, 12, seed=1), noise(6, seed=2)
    real = functional.linear(x, weight, bias)
    setting = search()
    layer = LinearLayer(x=x, weight=weight, bias=bias, real=real, gradient=None, blocks=3)
    inputs = uniform_candidates(x, setting)
    found = search_linear(layer, inputs, setting)

    shares = [0.5 + i * 0.1 for i in range(7)]
    first = float(x.abs().max()) / 7.5
    assert inputs.first == pytest.approx(first)
    wanted = []
    for block in range(3):
        rows = slice(2 * block, 2 * block + 2)
        full = float(weight[rows].abs().max()) / 7.5
        scores = [
            functional.cosine_similarity(
                real[:, rows],
                functional.linear(fake(x, first, 4), fake(weight[rows], full * s, 4), bias[rows]),
                dim=-1,
            ).sum()
            for s in shares
        ]
        wanted.append(full * shares[int(torch.stack(scores).argmax())])
    assert found.weight.tolist() == pytest.approx(wanted)
    codes = weight_codes(weight, found.weight, 4)
    again = codes * found.weight.repeat_interleave(2)[:, None]
    scores = [
        functional.cosine_similarity(
            real.double(),
            functional.linear(fake(x.double(), first * s, 4), again, bias.double()),
            dim=-1,
        ).sum()
        for s in shares
    ]
    assert found.input == pytest.approx(first * shares[int(torch.stack(scores).argmax())])


def test_a_product_search_takes_the_argmax_for_each_head() -> None:
    a, b = noise(3, 2, 5, 8) * torch.tensor([1.0, 9.0])[:, None, None], noise(3, 2, 8, 6, seed=1)
    setting = search()
    found = search_product(Product(a=a, b=b, real=a @ b, gradient=None), setting)
    shares = [0.5 + i * 0.1 for i in range(7)]
    for head in range(2):
        left, right = a[:, head], b[:, head]
        real = left @ right
        fixed = fake(right, float(right.abs().max()) / 7.5, 4)
        full = float(left.abs().max()) / 7.5
        scores = torch.stack(
            [
                functional.cosine_similarity(real, fake(left, full * s, 4) @ fixed, dim=-1).sum()
                for s in shares
            ]
        )
        assert float(found.a[head]) == pytest.approx(full * shares[int(scores.argmax())])
    assert float(found.a[1]) > 4 * float(found.a[0])


def test_rounds_end_where_one_changed_nothing_and_give_what_all_would() -> None:
    x, weight = noise(40, 8), noise(4, 8, seed=1)
    layer = LinearLayer(
        x=x, weight=weight, bias=torch.zeros(4), real=x @ weight.T, gradient=None, blocks=1
    )
    results = []
    for rounds in (1, 2, 3, 9):
        setting = search(rounds=rounds, count=40)
        results.append(search_linear(layer, uniform_candidates(x, setting), setting))
    assert results[-1].rounds < 9
    assert results[-1].rounds >= results[0].rounds == 1


def test_what_is_quantized_and_what_stays_in_float(nano: Captured) -> None:
    _, graph = nano("class_token")
    model = quantized(graph)
    assert set(model.activations) == {
        "blocks.0.norm1",
        "blocks.0.attn.qkv",
        "blocks.0.attn.probabilities",
        "blocks.0.attn.context",
        "blocks.0.norm2",
        "blocks.0.mlp.act",
        "norm",
    }
    assert {q.zero_point for q in model.activations.values()} == {0}
    assert set(model.weights) == {
        node.attributes["weight"] for node in graph.nodes if node.op is FloatOp.LINEAR
    }
    assert FloatOp.INPUT in left_in_float(model)


def test_scales_differ_by_head_and_by_q_k_and_v(nano: Captured) -> None:
    _, graph = nano("class_token")
    model = quantized(graph)
    qkv = model.activations["blocks.0.attn.qkv"]
    assert isinstance(qkv, ActivationQuantizer)
    by_head = np.array(qkv.alpha).reshape(9, 8)
    assert (by_head == by_head[:, :1]).all()
    assert len(np.unique(by_head)) > 3
    probabilities = model.activations["blocks.0.attn.probabilities"]
    assert isinstance(probabilities, ActivationQuantizer)
    assert (len(probabilities.alpha), probabilities.axis) == (3, -3)
    assert probabilities.type.signed, "half of the codes are never used, as in the paper"
    rows = model.weights["blocks.0.attn.qkv.weight"].scale
    assert len(np.unique(rows)) == 3
    assert len(np.unique(rows[:24])) == 1
    assert model.weights["patch_embed.proj.weight"].scale.shape == (1,)


def test_found_scales_are_those_of_the_layers_alone(nano: Captured) -> None:
    """The scale of fc2's input, searched again by hand on float values."""
    _, graph = nano("class_token")
    model = quantized(graph, weight_bits=4)
    values = run(graph, {"image": images(6, SIZE)}, ["blocks.0.mlp.act", "blocks.0.mlp.fc2"])
    x = values["blocks.0.mlp.act"].flatten(0, 1)
    layer = LinearLayer(
        x=x,
        weight=graph.parameters["blocks.0.mlp.fc2.weight"],
        bias=graph.parameters["blocks.0.mlp.fc2.bias"],
        real=values["blocks.0.mlp.fc2"].flatten(0, 1),
        gradient=None,
        blocks=1,
    )
    setting = Search(
        grid=Grid(low=0.5, high=1.2),
        objective=cosine,
        rounds=1,
        weight_bits=4,
        activation_bits=8,
    )
    found = search_linear(layer, uniform_candidates(x, setting), setting)
    assert model.activations["blocks.0.mlp.act"].scale == pytest.approx(found.input, rel=1e-5)
    assert model.weights["blocks.0.mlp.fc2.weight"].scale[0] == pytest.approx(
        float(found.weight[0]), rel=1e-5
    )


@pytest.mark.parametrize(("weight_bits", "activation_bits"), [(8, 8), (4, 8), (3, 3)])
def test_all_widths_run(weight_bits: int, activation_bits: int, nano: Captured) -> None:
    _, graph = nano("class_token")
    model = quantized(graph, weight_bits=weight_bits, activation_bits=activation_bits)
    assert {w.bits for w in model.weights.values()} == {weight_bits}
    wanted = {(8, 8): 22, (4, 8): 12, (3, 3): 4}[weight_bits, activation_bits]
    assert sqnr(model, images(20, SIZE, seed=2)) > wanted


@pytest.mark.parametrize("variant", ["class_token", "qk_norm", "distilled", "no_biases"])
def test_in_integers_nothing_stays_in_float_and_the_chip_computes_fake_quantization(
    variant: str, nano: Captured
) -> None:
    _, graph = nano(variant)
    model = quantized(graph, float_ops="integer")
    assert not left_in_float(model)
    assert not any(getattr(q, "alpha", ()) for q in model.activations.values())
    inputs = images(8, SIZE, seed=2)
    np.testing.assert_allclose(on_chip(model, inputs), logits(model, inputs).numpy(), atol=1e-9)


def test_heads_that_share_a_scale_share_the_largest(nano: Captured) -> None:
    _, graph = nano("class_token")
    apart = quantized(graph).activations["blocks.0.attn.qkv"]
    shared = quantized(graph, float_ops="integer").activations["blocks.0.attn.qkv"]
    assert isinstance(apart, ActivationQuantizer)
    assert shared.scale == pytest.approx(float(apart.scales().max()))


def test_a_profile_without_row_scales_gets_one_scale_per_matrix(nano: Captured) -> None:
    _, graph = nano("class_token")
    model = quantized(graph, float_ops="integer", weight_granularity="per_tensor")
    assert {w.scale.shape for w in model.weights.values()} == {(1,)}


def test_a_symmetric_profile_gets_no_zero_point(nano: Captured) -> None:
    _, graph = nano("class_token")
    model = quantized(graph, float_ops="integer", zero_point="symmetric")
    assert {q.zero_point for q in model.activations.values()} == {0}


def test_only_the_first_32_images_are_used_and_every_layer_is_reported(nano: Captured) -> None:
    _, graph = nano("class_token")
    steps: list[tuple[int, int]] = []
    many = METHODS["base_ptq_paper"](
        graph, images(40, SIZE), *asked(), lambda done, of: steps.append((done, of))
    )
    few = METHODS["base_ptq_paper"](graph, images(40, SIZE)[:32], Recipe())
    assert many.activations == few.activations
    assert many.calibration_images == 32
    assert steps == [(done, 8) for done in range(1, 9)]
    assert [entry["layer"] for entry in many.log][-1] == "head"
