# SPDX-License-Identifier: Apache-2.0
"""Channel factors and token weights: what they cover, what they cost, what they leave alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from asked import asked
from tiny_models import NANO, images, input_size
from torch import Tensor, nn

from aocq.capture import FloatGraph, FloatNode, FloatOp, run
from aocq.capture.float_graph import ARITHMETIC
from aocq.capture.residual_stream import arithmetic_source
from aocq.methods.aocq.balance import (
    SHRINK,
    ChannelRange,
    balanced_quantizer,
    clipped_magnitude,
    form,
    linear_input_quantizer,
    snap,
    stream_quantizer,
)
from aocq.methods.aocq.token_norm import BlockLoss, channel_factors, token_weights
from aocq.methods.quantizers import ActivationQuantizer, QuantizedWeight
from aocq.recipes.aocq_options import AocqOptions
from aocq.recipes.limits import ANY_CHIP, ChipLimits
from aocq.recipes.recipe import Recipe
from simulator.numerics.integer_type import IntType

Captured = Callable[[str], tuple[nn.Module, FloatGraph]]


def recipe(
    alpha: str = "free", chip: str = "multiplier", bits: int = 8, **plain: object
) -> tuple[Recipe, ChipLimits]:
    return asked(aocq={"alpha": alpha}, channel_factor=chip, channel_factor_bits=bits, **plain)


def drawn(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# --- the form of α --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("alpha", "chip", "bits", "wanted"),
    [
        ("none", "multiplier", 8, "none"),
        ("free", "none", 8, "none"),
        ("pot3", "none", 8, "none"),
        ("free", "multiplier", 8, "free"),
        ("free", "shift", 3, "pot7"),
        ("free", "shift", 2, "pot3"),
        ("pot7", "shift", 2, "pot3"),
        ("pot5", "shift", 3, "pot5"),
        ("pot7", "multiplier", 8, "pot7"),
        ("pot7", "multiplier", 4, "pot3"),
    ],
)
def test_the_chip_limits_the_form_of_factors(alpha: str, chip: str, bits: int, wanted: str) -> None:
    assert form(*recipe(alpha, chip, bits)) == wanted


@pytest.mark.parametrize("bits", [4, 8])
def test_multipliers_cover_every_channel_in_whole_parts(bits: int) -> None:
    steps = 2**bits - 1
    magnitude = torch.rand(500, generator=drawn(0), dtype=torch.float64) ** 6 + 1e-9
    relative = magnitude / magnitude.max()
    alpha = snap(magnitude, *recipe(bits=bits))
    whole = alpha * steps
    torch.testing.assert_close(whole, whole.round(), rtol=0, atol=1e-9)
    assert bool(((whole.round() >= 1) & (whole.round() <= steps)).all())
    assert bool((alpha >= relative * (1 - 1e-6)).all())
    assert bool((alpha < relative + 1.001 / steps).all())


def test_multipliers_of_whole_parts_stay_as_they_are() -> None:
    wanted = torch.arange(1, 256, dtype=torch.float64) / 255
    assert torch.equal(snap(wanted * 7.3, *recipe()), wanted)


@pytest.mark.parametrize(("alpha", "most"), [("pot3", 3), ("pot5", 5), ("free", 7)])
@pytest.mark.parametrize("chip", ["shift", "multiplier"])
def test_powers_of_two_cover_every_channel_and_end_at_their_reach(
    alpha: str, most: int, chip: str
) -> None:
    if (alpha, chip) == ("free", "multiplier"):
        alpha = "pot7"
    magnitude = torch.rand(500, generator=drawn(1), dtype=torch.float64) ** 6 + 1e-9
    relative = magnitude / magnitude.max()
    found = snap(magnitude, *recipe(alpha, chip, 3 if chip == "shift" else 8))
    unit = 2.0**most if chip == "shift" else 255.0
    exponents = torch.log2(found * unit)
    assert torch.equal(exponents, exponents.round())
    assert (float(exponents.min()), float(exponents.max())) == (0, most)
    reach = found / found.max()
    assert bool((reach >= relative * (1 - 1e-6)).all())
    assert bool((reach <= torch.clamp(relative * 2.0001, min=2.0**-most)).all())


def test_powers_of_two_stay_as_they_are() -> None:
    wanted = 2.0 ** torch.arange(-7, 1, dtype=torch.float64)
    assert torch.equal(snap(wanted * 3, *recipe(chip="shift", bits=3)), wanted)
    beyond = torch.tensor([1.0, 2.0**-20], dtype=torch.float64)
    assert snap(beyond, *recipe(chip="shift", bits=3)).tolist() == [1.0, 2.0**-7]


@pytest.mark.parametrize(("chip", "bits"), [("multiplier", 8), ("shift", 3)])
def test_nothing_within_the_magnitude_is_clipped(chip: str, bits: int) -> None:
    magnitude = torch.rand(64, generator=drawn(2), dtype=torch.float64) ** 4 + 1e-3
    quantizer = stream_quantizer(magnitude, *recipe(chip=chip, bits=bits, residual_bits=8))
    x = magnitude * torch.linspace(-1, 1, 101, dtype=torch.float64)[:, None]
    error = (quantizer(x) - x).abs()
    assert bool((error <= quantizer.scales() * 0.5001).all())
    single = balanced_quantizer(magnitude, 8, torch.ones(64, dtype=torch.float64))
    wide = magnitude < 0.1 * magnitude.max()
    assert float(error[:, wide].mean()) < 0.5 * float((single(x) - x).abs()[:, wide].mean())


# --- clipping -------------------------------------------------------------------------------------


def test_clipping_is_the_best_of_all_shares() -> None:
    x = torch.randn(300, 12, generator=drawn(3), dtype=torch.float64)
    x[::37] *= 5
    weights = torch.rand(300, 1, generator=drawn(4), dtype=torch.float64)
    seen = ChannelRange(x.amin(0), x.amax(0))
    found = clipped_magnitude(x, seen, weights, 4)

    def cost(channel: int, reach: float) -> float:
        step = reach / 7
        real = x[:, channel].numpy()
        held = np.clip(np.rint(real / step), -8, 7) * step
        return float((weights[:, 0].numpy() * (held - real) ** 2).sum())

    for channel in range(12):
        full = float(x[:, channel].abs().max())
        costs = {share: cost(channel, full * share) for share in SHRINK}
        assert cost(channel, float(found[channel])) == pytest.approx(min(costs.values()), rel=1e-9)
    assert bool((found < seen.magnitude * 0.99).any())


def test_a_token_without_weight_does_not_widen_the_range() -> None:
    x = torch.randn(300, 4, generator=drawn(5), dtype=torch.float64)
    x[0] = 2 * x.abs().amax(0)
    seen = ChannelRange(x.amin(0), x.amax(0))
    weights = torch.ones(300, 1, dtype=torch.float64)
    all_alike = clipped_magnitude(x, seen, weights, 8)
    weights[0] = 0
    assert bool((clipped_magnitude(x, seen, weights, 8) < all_alike).all())


# --- inputs of linear layers ----------------------------------------------------------------------


def channel_range(channels: int, seed: int, *, one_sided: bool = False) -> ChannelRange:
    high = torch.rand(channels, generator=drawn(seed), dtype=torch.float64) ** 3 + 1e-3
    low = -(torch.rand(channels, generator=drawn(seed + 100), dtype=torch.float64) ** 3)
    return ChannelRange(torch.full_like(high, -0.01) if one_sided else low, high)


@pytest.mark.parametrize("zero_point", ["symmetric", "asymmetric"])
def test_exponent_0_is_one_scale(zero_point: str) -> None:
    seen = channel_range(20, 0)
    ones = torch.ones(20, dtype=torch.float64)
    limits = ChipLimits(zero_point=zero_point)
    found = linear_input_quantizer(seen, ones, 0.0, 8, limits, through_table=True)
    assert (found.alpha, found.table_scale) == ((), 0.0)
    x = torch.stack([seen.low, seen.high])
    assert float((found(x) - x).abs().max()) <= found.scale * 0.501


@pytest.mark.parametrize("exponent", [0.25, 0.75, 1.0])
def test_factors_follow_the_ranges_by_the_exponent(exponent: float) -> None:
    seen = channel_range(20, 1)
    ones = torch.ones(20, dtype=torch.float64)
    limits = ChipLimits(zero_point="symmetric")
    found = linear_input_quantizer(seen, ones, exponent, 8, limits, through_table=False)
    relative = seen.magnitude / seen.magnitude.max()
    torch.testing.assert_close(torch.tensor(found.alpha, dtype=torch.float64), relative**exponent)
    assert (found.zero_point, found.table_scale) == (0, 0.0)
    x = torch.stack([seen.low, seen.high])
    assert bool(((found(x) - x).abs() <= found.scales() * 0.501).all())


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("exponent", [0.25, 0.75, 1.0])
def test_wide_codes_of_a_table_reach_further_than_any_code(seed: int, exponent: float) -> None:
    """Clipping the table's 16-bit codes never changes what they are rescaled to."""
    one_sided = seed % 2 == 0
    seen = channel_range(20, seed, one_sided=one_sided)
    columns = torch.rand(20, generator=drawn(seed), dtype=torch.float64)
    found = linear_input_quantizer(seen, columns, exponent, 8, ANY_CHIP, through_table=True)
    assert found.table_scale > 0
    assert (found.zero_point < 0) == one_sided
    spread = torch.randn(4000, 20, generator=drawn(seed), dtype=torch.float64)
    for reach in (0.3, 1.0, 30.0):
        x = spread * seen.magnitude.max() * reach
        wide = torch.clamp(torch.round(x / found.table_scale), -(2**15), 2**15 - 1)
        codes = torch.round(wide * found.table_scale / found.scales()) + found.zero_point
        codes = torch.clamp(codes, found.type.low, found.type.high)
        assert torch.equal(codes, found.codes(x))


def test_a_zero_point_pays_where_values_are_of_one_sign() -> None:
    seen = channel_range(20, 7, one_sided=True)
    columns = torch.rand(20, generator=drawn(8), dtype=torch.float64)
    uniform = torch.rand(2000, 20, generator=drawn(9), dtype=torch.float64)
    x = seen.low + uniform * (seen.high - seen.low)
    cost = {}
    for zero_point in ("symmetric", "asymmetric"):
        limits = ChipLimits(zero_point=zero_point)
        found = linear_input_quantizer(seen, columns, 1.0, 8, limits, through_table=True)
        cost[zero_point] = float(((found(x) - x) ** 2 * columns).sum())
    assert cost["asymmetric"] < 0.6 * cost["symmetric"]


def test_columns_decide_about_the_zero_point() -> None:
    """One channel is positive, one has both signs: the one that costs more has its way."""
    seen = ChannelRange(torch.tensor([0.0, -1.0]).double(), torch.tensor([1.0, 1.0]).double())
    found = [
        linear_input_quantizer(
            seen, torch.tensor(columns).double(), 1.0, 8, ANY_CHIP, through_table=False
        ).zero_point
        for columns in ([1.0, 1e-9], [1e-9, 1.0])
    ]
    assert found[0] < -64
    assert found[1] == 0


# --- token norm -----------------------------------------------------------------------------------


def stream_values(seed: int = 0) -> Tensor:
    y = torch.randn(2, 9, 16, generator=drawn(seed), dtype=torch.float64)
    y[:, 3] *= 40
    return y


@pytest.mark.parametrize("exponent", [0.5, 1.0, 2.0])
def test_token_weights_fall_with_the_norm_and_have_mean_1(exponent: float) -> None:
    y = stream_values()
    weights = token_weights(y, AocqOptions(norm_exponent=exponent))
    assert weights.shape == (2, 9, 1)
    assert float(weights.mean()) == pytest.approx(1)
    norms = (y - y.mean(-1, keepdim=True)).norm(dim=-1).flatten()
    order = norms.argsort()
    assert bool((weights.flatten()[order].diff() < 0).all())
    ordinary, extreme = order[0], order[-1]
    ratio = float(weights.flatten()[ordinary] / weights.flatten()[extreme])
    assert ratio == pytest.approx(float(norms[extreme] / norms[ordinary]) ** exponent, rel=0.3)


def test_token_weights_do_not_see_what_layernorm_does_not_see() -> None:
    y = stream_values()
    offsets = 100 * torch.randn(2, 9, 1, generator=drawn(1), dtype=torch.float64)
    torch.testing.assert_close(
        token_weights(y + offsets, AocqOptions()), token_weights(y, AocqOptions())
    )


def test_a_single_channel_has_no_norm_to_divide_by() -> None:
    weights = token_weights(torch.randn(3, 5, 1), AocqOptions(), 2.0)
    assert torch.equal(weights, torch.ones(3, 5, 1))


@pytest.mark.parametrize("options", [AocqOptions(norm_exponent=0), AocqOptions(loss="mse")])
def test_all_tokens_count_alike_without_the_norm(options: AocqOptions) -> None:
    y = stream_values()
    assert torch.equal(token_weights(y, options), torch.ones(2, 9, 1, dtype=torch.float64))


@pytest.mark.parametrize("options", [AocqOptions(), AocqOptions(loss="mse")])
def test_loss_is_0_exactly_where_nothing_differs(options: AocqOptions) -> None:
    y = stream_values()
    loss = BlockLoss(y, token_weights(y, options), torch.ones(1))
    assert float(loss(y.clone())) == 0
    for token in range(9):
        other = y.clone()
        other[1, token, 5] += 1e-6
        assert float(loss(other)) > 0
    assert float(loss(torch.zeros_like(y))) == pytest.approx(1)


def test_channels_can_be_weighted() -> None:
    y = stream_values()
    other = y.clone()
    other[..., 2] += 1
    channels = torch.ones(16, dtype=torch.float64)
    channels[2] = 0
    weights = token_weights(y, AocqOptions())
    assert float(BlockLoss(y, weights, torch.ones(1))(other)) > 0
    assert float(BlockLoss(y, weights, channels)(other)) == 0


def test_a_loss_of_some_images_sees_those_only() -> None:
    y = stream_values()
    other = y.clone()
    other[0] += 1
    loss = BlockLoss(y, token_weights(y, AocqOptions()), torch.ones(1))
    for second in (slice(1, 2), torch.tensor([1])):
        assert float(loss(other[second], second)) == 0
    error, power = loss.sums(other[:1], slice(0, 1))
    rest, more = loss.sums(other[1:], slice(1, None))
    assert float(loss(other)) == pytest.approx(float((error + rest) / (power + more)))


def test_factors_of_channels_are_those_that_are_asked_for(small: Captured) -> None:
    graph = small("class_token")[1]
    name = "blocks.0.add_1"
    quantizer = ActivationQuantizer(
        type=IntType(bits=8), scale=1.0, zero_point=0, alpha=(0.5,) * 47 + (1.0,)
    )
    bare = replace(quantizer, alpha=())

    def factors(asked: str, name: str, quantizer: ActivationQuantizer) -> list[float]:
        options = AocqOptions(**{"loss_channels": asked})
        found: list[float] = channel_factors(graph, name, quantizer, options).tolist()
        return found

    assert factors("none", name, quantizer) == [1]
    assert factors("alpha", name, quantizer) == [2] * 47 + [1]
    assert factors("alpha", name, bare) == [1]
    gamma = graph.parameters["blocks.1.norm1.weight"].abs().tolist()
    assert factors("gamma", name, quantizer) == gamma
    assert factors("gamma", "head", bare) == [1]


def test_an_extreme_token_matters_less_under_the_norm() -> None:
    """The same relative error in every token: by MSE, the extreme token is all of the loss."""
    y = stream_values()
    share = {}
    for loss in ("mse", "token_norm"):
        weights = token_weights(y, AocqOptions(**{"loss": loss}))
        block_loss = BlockLoss(y, weights, torch.ones(1))
        alone = y.clone()
        alone[:, 3] *= 1.01
        share[loss] = float(block_loss(alone) / block_loss(y * 1.01))
    assert share["mse"] > 0.98
    assert share["token_norm"] < 2 / 9


# --- α changes nothing but the rounding -----------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    "variant", ["class_token", "mean_then_norm", "registers", "distilled", "pre_norm"]
)
def test_fine_steps_with_any_factors_are_the_float_network(
    variant: str, seed: int, nano: Captured
) -> None:
    """α goes in with the quantizers and comes out in the columns of the weights."""
    graph = nano(variant)[1]
    rng = np.random.default_rng(seed)
    x = images(4, input_size(NANO)).double()
    kind = IntType(bits=24)
    parameters = {name: value.double() for name, value in graph.parameters.items()}
    arithmetic = [node for node in graph.nodes if node.op in ARITHMETIC]
    real = run(graph, {"image": x}, [node.name for node in arithmetic], parameters=parameters)
    quantizers = {}
    for node in arithmetic:
        alpha = torch.from_numpy(10 ** rng.uniform(-0.7, 0.7, node.shape[-1]))
        reach = 1.1 * float((real[node.name] / alpha).abs().max())
        quantizers[node.name] = ActivationQuantizer(
            type=kind, scale=reach / kind.high, zero_point=0, alpha=tuple(alpha.tolist())
        )
    held = dict(parameters)
    for node in graph.nodes:
        if node.op is not FloatOp.LINEAR:
            continue
        weight = parameters[node.attributes["weight"]]
        source = quantizers[arithmetic_source(graph, node.inputs[0]).name].alpha
        alpha = source if len(source) == weight.shape[1] else ()
        columns = weight.numpy() * np.array(alpha or (1.0,))
        scale = np.abs(columns).max(axis=1) / kind.high
        codes = np.rint(columns / scale[:, None])
        fine = QuantizedWeight(bits=8, codes=codes, scale=scale, alpha=alpha)
        held[node.attributes["weight"]] = fine.dequantized()

    def fake_quantize(node: FloatNode, value: Tensor) -> Tensor:
        return quantizers[node.name](value) if node.name in quantizers else value

    output = graph.output.name
    image = quantizers["image"](x)
    found = run(graph, {"image": image}, [output], transform=fake_quantize, parameters=held)[output]
    wanted = run(graph, {"image": x}, [output], parameters=parameters)[output]
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4 * float(wanted.abs().max()))
