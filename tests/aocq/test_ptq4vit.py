# SPDX-License-Identifier: Apache-2.0
"""PTQ4ViT, as its paper and as its released code have it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from asked import asked
from fake_quantized import left_in_float, logits, on_chip, sqnr
from tiny_models import NANO, images, input_size
from torch import Tensor, nn
from torch.nn import functional

from aocq.capture import FloatGraph, FloatOp, run
from aocq.methods import METHODS, QuantizedModel
from aocq.methods.fisher import gradients, perturbed_direction, sampled_label_direction
from aocq.methods.layer_search import (
    Grid,
    InputCandidates,
    LinearLayer,
    Product,
    Search,
    search_linear,
    search_product_with_levels,
    uniform_candidates,
)
from aocq.methods.objectives import hessian_guided
from aocq.methods.quantizers import LevelQuantizer
from aocq.methods.twin_ranges import (
    gelu_twin,
    negative_scale,
    softmax_exponents,
    softmax_twin,
    softmax_twin_released,
    tied_multiples,
    untied_multiples,
)

Captured = Callable[[str], tuple[nn.Module, FloatGraph]]
SIZE = input_size(NANO)
BOTH = ("ptq4vit_paper", "ptq4vit_released")


def quantized(method: str, graph: FloatGraph, **recipe: object) -> QuantizedModel:
    recipe = {"residual_bits": 8, **recipe}
    return METHODS[method](graph, images(6, SIZE), *asked(**recipe))


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def probabilities(seed: int = 0) -> Tensor:
    """197 at a time, half of them far below 2^-8."""
    return (2 * noise(50, 197, seed=seed)).double().softmax(-1)


WIDTHS = [(8, m) for m in softmax_exponents(8)] + [(4, 3), (4, 13), (3, 0), (3, 14)]


@pytest.mark.parametrize(("bits", "m"), WIDTHS)
def test_the_ranges_after_softmax_exclude_each_other(bits: int, m: int) -> None:
    """Against the formulas: Δ2 = 1 / (2^(b-1) - 1) and Δ1 = 2^-m Δ2, the threshold 2^-m."""
    twin = softmax_twin(m, bits)
    steps = (1 << (bits - 1)) - 1
    coarse, fine = 1 / steps, 2.0**-m / steps
    assert twin.scale == pytest.approx(fine)
    assert len(twin.levels) <= 1 << bits
    assert twin.type.bits <= 16
    x = probabilities().flatten()
    wanted = torch.where(
        x < 2.0**-m,
        torch.round(x / fine) * fine,
        torch.round(x / coarse).clamp(min=1) * coarse,
    )
    torch.testing.assert_close(twin(x), wanted, rtol=1e-12, atol=1e-15)
    assert (sorted(twin.levels), sorted(twin.thresholds)) == (
        list(twin.levels),
        list(twin.thresholds),
    )


@pytest.mark.parametrize(("bits", "m"), WIDTHS)
def test_the_released_quantizer_adds_both_ranges(bits: int, m: int) -> None:
    released = softmax_twin_released(m, bits)
    steps = (1 << (bits - 1)) - 1
    coarse, fine = 1 / steps, 2.0**-m / steps
    x = probabilities().flatten()
    wanted = (
        torch.round(x.clamp(2.0**-m, 1) / coarse) * coarse
        + torch.round(x.clamp(0, 2.0**-m) / fine) * fine
    )
    torch.testing.assert_close(released(x), wanted, rtol=1e-12, atol=1e-15)
    assert released.type.bits <= 16
    assert len(released.levels) <= 1 << bits


def test_the_released_quantizer_adds_an_offset_that_the_paper_does_not_have() -> None:
    """With m = 4: 8 codes of 1/127, about 2^-4, on top of every probability, and of 0."""
    x = probabilities().flatten()
    assert float(softmax_twin_released(4, 8)(torch.zeros(1).double())) == pytest.approx(8 / 127)
    assert float((softmax_twin_released(4, 8)(x) - x).mean()) == pytest.approx(1 / 16, rel=0.05)
    assert abs(float((softmax_twin(4, 8)(x) - x).mean())) < 1e-4


def test_the_best_threshold_without_the_offset_is_the_larger_one() -> None:
    x = probabilities()

    def best(quantizer: Callable[[int, int], LevelQuantizer]) -> tuple[float, int]:
        return min(
            (float((quantizer(m, 8)(x) - x).square().mean().sqrt()), m)
            for m in softmax_exponents(8)
        )

    paper, released = best(softmax_twin), best(softmax_twin_released)
    assert paper[0] < released[0] / 3
    assert paper[1] < released[1]


@pytest.mark.parametrize(("bits", "multiple", "fraction"), [(8, 4, 1), (8, 11, 8), (4, 1, 1)])
def test_gelu_has_a_fixed_scale_below_zero_and_its_own_above(
    bits: int, multiple: int, fraction: int
) -> None:
    twin = gelu_twin(multiple, fraction, bits)
    codes = 1 << (bits - 1)
    negative = 0.16997124 / codes
    positive = negative * multiple / fraction
    x = functional.gelu(3 * noise(4000).double())
    wanted = (
        torch.round(x / positive).clamp(0, codes - 1) * positive
        + torch.round(x / negative).clamp(-codes, 0) * negative
    )
    torch.testing.assert_close(twin(x), wanted, rtol=1e-12, atol=1e-15)
    assert len(twin.levels) == 1 << bits
    assert negative_scale(bits) == negative


def test_the_papers_scales_are_tied_by_powers_of_two_and_the_released_ones_are_not() -> None:
    steps = [(0.01 + 0.0119 * i) * 6 / 127.5 for i in range(100)]
    tied, one = tied_multiples(steps, 8)
    assert one == 1
    assert all(multiple & (multiple - 1) == 0 for multiple in tied)
    assert max(tied) * negative_scale(8) == pytest.approx(max(steps), rel=0.42)
    free, fraction = untied_multiples(steps, 8)
    assert any(multiple & (multiple - 1) for multiple in free)
    assert len(free) > 5 * len(tied)
    unit = negative_scale(8) / fraction
    assert all(min(abs(m * unit - step) for m in free) <= max(unit / 2, unit) for step in steps)
    for multiples, parts in ((tied, one), (free, fraction)):
        assert all(gelu_twin(m, parts, 8).type.bits <= 16 for m in multiples)
    huge, coarse = untied_multiples([30.0 / 127.5], 8)
    assert coarse < 8
    assert gelu_twin(huge[0], coarse, 8).type.bits <= 16


def test_the_weight_of_errors_is_not_zero_on_the_cpu(nano: Captured) -> None:
    """The paper's own gradient is: softmax minus softmax of the same logits."""
    _, graph = nano("class_token")
    inputs = images(6, SIZE)
    values = run(graph, {"image": inputs}, ["head"])["head"]
    layers = [n.name for n in graph.nodes if n.op in {FloatOp.LINEAR, FloatOp.MATMUL}]
    as_published = values.softmax(-1) - values.softmax(-1)
    none = gradients(graph, inputs, as_published, layers)
    assert not any(gradient.any() for gradient in none.values())
    for draw in (sampled_label_direction, perturbed_direction):
        found = gradients(graph, inputs, draw(values, 0), layers)
        for name in layers:
            assert found[name].shape == (6, *graph.node(name).shape)
            assert (found[name].flatten(1).abs().amax(dim=1) > 1e-9).all(), name


def test_gradients_are_those_of_the_cross_entropy(nano: Captured) -> None:
    """A step against the gradient at an inner tensor, measured at the loss."""
    _, graph = nano("class_token")
    inputs = images(6, SIZE)
    real = run(graph, {"image": inputs}, ["head", "blocks.0.add"])
    direction = sampled_label_direction(real["head"], 3)
    labels = (direction - real["head"].softmax(-1)).argmin(dim=-1)
    gradient = gradients(graph, inputs, direction, ["blocks.0.attn.proj"])["blocks.0.attn.proj"]
    move = 1e-3 * noise(*gradient.shape)

    def loss(sign: float) -> Tensor:
        moved = run(graph, {"blocks.0.add": real["blocks.0.add"] + sign * move}, ["head"])["head"]
        return functional.cross_entropy(moved.double(), labels, reduction="sum")

    slope = float(loss(1) - loss(-1)) / 2
    assert slope == pytest.approx(float((gradient * move).sum()), rel=2e-2)


def test_labels_are_drawn_from_the_predictions_and_by_the_seed() -> None:
    logit = torch.tensor([[2.0, 0.0, -1.0]]).expand(4000, 3)
    direction = sampled_label_direction(logit, 0)
    assert torch.equal(direction, sampled_label_direction(logit, 0))
    assert not torch.equal(direction, sampled_label_direction(logit, 1))
    p = logit[0].softmax(-1)
    torch.testing.assert_close(direction.sum(-1), torch.zeros(4000), rtol=0, atol=1e-6)
    counts = (p - direction).mean(dim=0)
    torch.testing.assert_close(counts, p, rtol=0, atol=0.03)
    fisher = direction.T @ direction / 4000
    torch.testing.assert_close(fisher, torch.diag(p) - torch.outer(p, p), rtol=0, atol=0.03)


def test_the_released_direction_is_the_first_order_of_a_softmax_difference() -> None:
    logit = noise(5, 7)
    epsilon = torch.randn(5, 7, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    tiny = 1e-6
    exact = ((logit + tiny * epsilon).softmax(-1) - logit.double().softmax(-1)) / tiny
    torch.testing.assert_close(perturbed_direction(logit, 2).double(), exact, rtol=1e-4, atol=1e-5)


def test_the_search_takes_the_least_weighted_error() -> None:
    x, weight, bias, weighing = noise(30, 12), noise(6, 12, seed=1), noise(6), noise(30, 6, seed=3)
    real = functional.linear(x, weight, bias)
    setting = Search(
        grid=Grid(low=0.01, high=1.2, count=30),
        objective=hessian_guided,
        rounds=1,
        weight_bits=4,
        activation_bits=8,
    )
    layer = LinearLayer(x=x, weight=weight, bias=bias, real=real, gradient=weighing, blocks=6)
    inputs = uniform_candidates(x, setting)
    found = search_linear(layer, inputs, setting)
    seen = torch.clamp(torch.round(x / inputs.first), -128, 127) * inputs.first
    for row in range(6):
        full = float(weight[row].abs().max()) / 7.5
        errors = []
        for i in range(30):
            step = full * (0.01 + i * 1.19 / 30)
            rounded = torch.clamp(torch.round(weight[row] / step), -8, 7) * step
            off = real[:, row] - (seen @ rounded + bias[row])
            errors.append(float((off * weighing[:, row]).square().sum()))
        assert float(found.weight[row]) == pytest.approx(
            full * (0.01 + int(np.argmin(errors)) * 1.19 / 30)
        )


def test_without_a_gradient_all_candidates_tie_and_the_first_one_wins() -> None:
    """What the released code would do on a machine without rounding noise."""
    x, weight = noise(30, 12), noise(6, 12, seed=1)
    setting = Search(
        grid=Grid(low=0.01, high=1.2),
        objective=hessian_guided,
        rounds=3,
        weight_bits=8,
        activation_bits=8,
    )
    layer = LinearLayer(
        x=x,
        weight=weight,
        bias=torch.zeros(6),
        real=x @ weight.T,
        gradient=torch.zeros(30, 6),
        blocks=1,
    )
    found = search_linear(layer, uniform_candidates(x, setting), setting)
    assert float(found.weight[0]) == pytest.approx(0.01 * float(weight.abs().max()) / 127.5)
    assert found.input == pytest.approx(0.01 * float(x.abs().max()) / 127.5)


@pytest.mark.parametrize("seed", range(6))
def test_both_ranges_enter_the_products_of_the_search(seed: int) -> None:
    """A layer behind GELU: the scale chosen is that of least error under the twin quantizer."""
    x = functional.gelu(0.6 * noise(60, 12, seed=seed) - 0.5)
    weight, weighing = noise(5, 12, seed=seed + 10).abs(), noise(60, 5, seed=2)
    real = x @ weight.T
    setting = Search(
        grid=Grid(low=0.01, high=1.2, count=20),
        objective=hessian_guided,
        rounds=1,
        weight_bits=8,
        activation_bits=4,
    )
    unit = negative_scale(4)
    multiples = list(range(1, 12))
    inputs = InputCandidates(
        scales=tuple(m * unit for m in multiples),
        first=8 * unit,
        low=0,
        high=7,
        fixed=torch.round(x / unit).clamp(-8, 0) * unit,
    )
    layer = LinearLayer(
        x=x, weight=weight, bias=torch.zeros(5), real=real, gradient=weighing, blocks=1
    )
    found = search_linear(layer, inputs, setting)
    full = float(weight.abs().max()) / 127.5
    candidates = [full * (0.01 + i * 1.19 / 20) for i in range(20)]
    seen = gelu_twin(8, 1, 4)(x)
    errors = []
    for step in candidates:
        rounded = torch.clamp(torch.round(weight / step), -128, 127) * step
        errors.append(float(((real - seen @ rounded.T) * weighing).square().sum()))
    assert float(found.weight[0]) == pytest.approx(candidates[int(np.argmin(errors))])
    step = float(found.weight[0])
    rounded = torch.clamp(torch.round(weight / step), -128, 127) * step
    errors = [
        float(((real - gelu_twin(m, 1, 4)(x) @ rounded.T) * weighing).square().sum())
        for m in multiples
    ]
    assert found.input == pytest.approx(multiples[int(np.argmin(errors))] * unit)


def test_the_threshold_is_searched_with_the_values_in_float() -> None:
    a, b = probabilities()[:20, :20].float().reshape(2, 2, 10, 10), noise(2, 2, 10, 6)
    weighing = noise(2, 2, 10, 6, seed=4)
    product = Product(a=a, b=b, real=a @ b, gradient=weighing)
    setting = Search(
        grid=Grid(low=0.01, high=1.2),
        objective=hessian_guided,
        rounds=3,
        weight_bits=8,
        activation_bits=8,
    )
    levels = [softmax_twin(m, 8) for m in softmax_exponents(8)]
    found = search_product_with_levels(product, levels, setting)
    errors = [float(((a @ b - twin(a) @ b) * weighing).square().sum()) for twin in levels]
    assert found.a == levels[int(np.argmin(errors))]
    assert found.b.shape == (2,)


@pytest.mark.parametrize("method", BOTH)
def test_twin_levels_are_where_the_paper_has_them(method: str, nano: Captured) -> None:
    _, graph = nano("class_token")
    model = quantized(method, graph)
    twins = {n for n, q in model.activations.items() if isinstance(q, LevelQuantizer)}
    assert twins == {"blocks.0.attn.probabilities", "blocks.0.mlp.act"}
    gelu = model.activations["blocks.0.mlp.act"]
    assert isinstance(gelu, LevelQuantizer)
    positive = gelu.levels[-1] // 127
    ratio = positive * gelu.scale / negative_scale(8)
    assert gelu.levels[0] * gelu.scale == pytest.approx(-0.16997124)
    assert (float(np.log2(ratio)).is_integer()) == (method == "ptq4vit_paper")
    stem = model.weights["patch_embed.proj.weight"].scale
    assert len(np.unique(stem)) > 3, "a scale for each channel"
    assert FloatOp.INPUT in left_in_float(model)
    zero = float(model.activations["blocks.0.attn.probabilities"](torch.zeros(1).double()))
    assert zero == 0 or method == "ptq4vit_released"


def test_activations_other_than_gelu_have_one_range(nano: Captured) -> None:
    _, graph = nano("relu")
    model = quantized("ptq4vit_paper", graph)
    assert not isinstance(model.activations["blocks.0.mlp.act"], LevelQuantizer)


@pytest.mark.parametrize("method", BOTH)
@pytest.mark.parametrize(("weight_bits", "activation_bits"), [(8, 8), (4, 8), (3, 3)])
def test_all_widths_run(
    method: str, weight_bits: int, activation_bits: int, nano: Captured
) -> None:
    _, graph = nano("class_token")
    model = quantized(method, graph, weight_bits=weight_bits, activation_bits=activation_bits)
    wanted = {(8, 8): 22, (4, 8): 11, (3, 3): 3}[weight_bits, activation_bits]
    assert sqnr(model, images(20, SIZE, seed=2)) > wanted


def test_the_seed_decides(nano: Captured) -> None:
    _, graph = nano("class_token")
    first, again, other = (
        quantized("ptq4vit_paper", graph, weight_bits=4, seed=seed) for seed in (0, 0, 1)
    )
    assert first.log == again.log
    assert first.log != other.log


@pytest.mark.parametrize("method", BOTH)
@pytest.mark.parametrize("variant", ["class_token", "qk_norm", "relu"])
def test_in_integers_nothing_stays_in_float_and_the_chip_computes_fake_quantization(
    method: str, variant: str, nano: Captured
) -> None:
    _, graph = nano(variant)
    model = quantized(method, graph, float_ops="integer")
    assert not left_in_float(model)
    inputs = images(8, SIZE, seed=2)
    np.testing.assert_allclose(on_chip(model, inputs), logits(model, inputs).numpy(), atol=1e-9)
