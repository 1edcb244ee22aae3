# SPDX-License-Identifier: Apache-2.0
"""Rounding in closed form: less output error than rounding to nearest, from the same moments."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from asked import recipe_of
from tiny_rounded import Network
from torch import Tensor, nn

from aocq.capture import FloatGraph, FloatOp, run
from aocq.methods.aocq import closed_form
from aocq.methods.aocq import rounding as rounding_stage
from aocq.methods.aocq.blocks import blocks, segments
from aocq.methods.aocq.closed_form import (
    Moments,
    centred,
    damp,
    descend,
    refit_scales,
    round_columns,
    row_scales,
)
from aocq.methods.aocq.rounding import (
    float_targets,
    linear_nodes,
    round_block,
    round_layer,
)
from aocq.methods.aocq.tokens import tokens_read
from aocq.methods.ranges import SHRINK, quantize_weight
from aocq.recipes.recipe import Recipe

Captured = Callable[[str], tuple[nn.Module, FloatGraph]]


def drawn(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=drawn(seed), dtype=torch.float64)


def correlated(tokens: int, channels: int, seed: int = 0) -> Tensor:
    """Inputs of a few common causes and some noise, as activations have them."""
    causes = normal(tokens, channels // 4, seed=seed)
    mixed = causes @ normal(channels // 4, channels, seed=seed + 1)
    return mixed + 0.3 * normal(tokens, channels, seed=seed + 2)


def output_error(weight: Tensor, held: Tensor, second: Tensor) -> float:
    return float(torch.trace((weight - held) @ second @ (weight - held).T))


def rounded(weight: Tensor, scales: Tensor, bits: int) -> Tensor:
    high = 2 ** (bits - 1) - 1
    return torch.clamp(torch.round(weight / scales[:, None]), -high - 1, high)


# --- moments --------------------------------------------------------------------------------------


def test_moments_are_weighted_sums_over_all_tokens() -> None:
    x, y = normal(60, 7), normal(60, 3, seed=1)
    weights = torch.rand(60, 1, generator=drawn(2), dtype=torch.float64)
    moments = Moments.empty(3, 7)
    for part in (slice(0, 11), slice(11, 60)):
        moments.add(x[part], y[part], weights[part])
    inputs, targets = torch.zeros(8, 8).double(), torch.zeros(3).double()
    for token in range(60):
        one = torch.cat([x[token], torch.ones(1).double()])
        inputs += weights[token] * torch.outer(one, one)
        targets += weights[token] * y[token]
    torch.testing.assert_close(moments.inputs, inputs)
    torch.testing.assert_close(moments.targets, targets)


def test_centred_moments_are_about_the_weighted_mean() -> None:
    x = normal(60, 7) + 5
    weights = torch.rand(60, 1, generator=drawn(2), dtype=torch.float64)
    moments = Moments.empty(3, 7)
    moments.add(x, normal(60, 3), weights)
    about = x - (weights * x).sum(0) / weights.sum()
    wanted = (weights * about).T @ about
    torch.testing.assert_close(centred(moments), wanted, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_a_single_token_is_enough_to_round(scale: float) -> None:
    """About their mean its inputs are nothing, up to float32's last digits."""
    x = scale * torch.randn(1, 24, generator=drawn(0))
    moments = Moments.empty(10, 24)
    moments.add(x, torch.randn(1, 10, generator=drawn(1)), torch.ones(1, 1))
    weight = normal(10, 24, seed=2)
    scales = weight.abs().amax(1) / 7
    codes, _ = round_columns(weight, centred(moments), scales, 4)
    assert float((codes - weight / scales[:, None]).abs().mean()) < 0.4


def test_a_token_counts_as_often_as_its_weight() -> None:
    x, y = normal(20, 5), normal(20, 2, seed=1)
    once, twice = Moments.empty(2, 5), Moments.empty(2, 5)
    once.add(x, y, torch.full((20, 1), 2.0).double())
    twice.add(torch.cat([x, x]), torch.cat([y, y]), torch.ones(40, 1).double())
    torch.testing.assert_close(once.inputs, twice.inputs)
    torch.testing.assert_close(once.targets, twice.targets)


# --- rounding column after column -----------------------------------------------------------------


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("channels", [16, 96])
def test_columns_one_after_the_other_have_less_output_error(channels: int, bits: int) -> None:
    weight = normal(20, channels, seed=3)
    x = correlated(1000, channels)
    second = x.T @ x
    scales = weight.abs().amax(1) / (2 ** (bits - 1) - 1)
    codes, sought = round_columns(weight, second, scales, bits)
    assert torch.equal(codes, codes.round())
    high = 2 ** (bits - 1) - 1
    assert bool(((codes >= -high - 1) & (codes <= high)).all())
    inside = (sought > -high - 1) & (sought < high)
    assert float((codes - sought)[inside].abs().max()) <= 0.5
    nearest = rounded(weight, scales, bits)
    found = output_error(weight, codes * scales[:, None], second)
    assert found < 0.5 * output_error(weight, nearest * scales[:, None], second)


@pytest.mark.parametrize("bits", [4, 8])
def test_columns_that_have_nothing_in_common_are_rounded_to_nearest(bits: int) -> None:
    weight = normal(20, 70, seed=3)
    second = torch.diag(torch.rand(70, generator=drawn(4), dtype=torch.float64) + 0.1)
    scales = weight.abs().amax(1) / (2 ** (bits - 1) - 1)
    codes, sought = round_columns(weight, second, scales, bits)
    assert torch.equal(codes, rounded(weight, scales, bits))
    torch.testing.assert_close(sought, weight / scales[:, None])


def test_codes_stay_in_range_where_scales_are_far_too_small() -> None:
    weight = normal(20, 32, seed=3)
    x = correlated(500, 32)
    codes, _ = round_columns(weight, x.T @ x, torch.full((20,), 1e-2).double(), 4)
    assert (float(codes.min()), float(codes.max())) == (-8, 7)


def test_inputs_that_are_never_there_do_no_harm() -> None:
    weight = normal(4, 12, seed=3)
    scales = weight.abs().amax(1) / 7
    x = correlated(300, 12)
    x[:, [2, 9]] = 0
    for second in (x.T @ x, torch.zeros(12, 12).double()):
        codes, _ = round_columns(weight, second, scales, 4)
        assert bool(codes.isfinite().all())
    assert torch.equal(codes, rounded(weight, scales, 4))


@pytest.mark.parametrize("at_once", [1, 7, 100])
def test_columns_at_once_are_a_matter_of_speed(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    weight = normal(20, 70, seed=3)
    x = correlated(1000, 70)
    second = x.T @ x
    scales = weight.abs().amax(1) / 7

    def found() -> tuple[Tensor, ...]:
        codes, sought = round_columns(weight, second, scales, 4)
        return codes, sought, *descend(codes, weight, second, scales, 4, 2)

    wanted = found()
    monkeypatch.setattr(closed_form, "COLUMNS_AT_ONCE", at_once)
    for now, before in zip(found(), wanted, strict=True):
        torch.testing.assert_close(now, before, rtol=0, atol=1e-9)


# --- coordinate descent ---------------------------------------------------------------------------


def row_errors(codes: Tensor, weight: Tensor, second: Tensor, scales: Tensor) -> Tensor:
    error = codes * scales[:, None] - weight
    return ((error @ damp(second)) * error).sum(1)


@pytest.mark.parametrize("bits", [3, 4, 8])
def test_descent_lowers_the_error_of_every_row_that_it_changes(bits: int) -> None:
    weight = normal(40, 48, seed=3)
    x = correlated(1000, 48)
    second = x.T @ x
    scales = row_scales(weight, second.diagonal(), bits)
    codes, _ = round_columns(weight, second, scales, bits)
    found, sought = descend(codes, weight, second, scales, bits, 2)
    before, after = (row_errors(c, weight, second, scales) for c in (codes, found))
    changed = (found != codes).any(1)
    assert bool(changed.any())
    assert bool((after[changed] < before[changed]).all())
    assert torch.equal(found, found.round())
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    assert (float(found.min()) >= low, float(found.max()) <= high) == (True, True)
    assert torch.equal(found, torch.clamp(sought.round(), low, high))


def test_descent_is_one_column_after_the_other() -> None:
    """As written down in the paper: no blocks, nothing transposed."""
    weight = normal(6, 90, seed=3)
    x = correlated(300, 90)
    second, scales = x.T @ x, weight.abs().amax(1) / 7
    codes = rounded(weight, scales, 4)
    found, sought = descend(codes, weight, second, scales, 4, 2)
    damped, values = damp(second), torch.zeros_like(codes)
    for _ in range(2):
        for column in torch.argsort(damped.diagonal(), descending=True).tolist():
            slope = (codes * scales[:, None] - weight) @ damped[:, column]
            values[:, column] = codes[:, column] - slope / (damped[column, column] * scales)
            codes[:, column] = values[:, column].round().clamp(-8, 7)
    assert torch.equal(found, codes)
    torch.testing.assert_close(sought, values, rtol=0, atol=1e-9)


def test_descent_ends_where_no_single_code_is_better() -> None:
    weight = normal(6, 5, seed=3)
    x = correlated(300, 5)
    second = x.T @ x
    scales = weight.abs().amax(1) / 3
    found, _ = descend(torch.zeros(6, 5).double(), weight, second, scales, 3, 20)
    least = row_errors(found, weight, second, scales)
    for column in range(5):
        for code in range(-4, 4):
            other = found.clone()
            other[:, column] = code
            assert bool((row_errors(other, weight, second, scales) >= least - 1e-9).all())


def test_no_pass_leaves_the_codes_as_they_were() -> None:
    codes = normal(6, 5, seed=3).round()
    x = correlated(300, 5)
    found, sought = descend(codes, codes + 0.3, x.T @ x, torch.ones(6).double(), 4, 0)
    assert torch.equal(found, codes)
    assert torch.equal(sought, codes)


# --- scales of rows -------------------------------------------------------------------------------


def test_row_scales_are_the_best_of_all_shares() -> None:
    weight = normal(8, 40, seed=3)
    weight[:, 0] *= 4
    importance = torch.rand(40, generator=drawn(4), dtype=torch.float64)
    found = row_scales(weight, importance, 4)

    def cost(row: int, scale: float) -> float:
        real = weight[row].numpy()
        held = np.clip(np.rint(real / scale), -8, 7) * scale
        return float(((held - real) ** 2 * importance.numpy()).sum())

    for row in range(8):
        full = float(weight[row].abs().max()) / 7
        least = min(cost(row, full * share) for share in SHRINK)
        assert cost(row, float(found[row])) == pytest.approx(least, rel=1e-9)


def test_a_column_of_no_importance_is_clipped() -> None:
    weight = normal(8, 40, seed=3)
    weight[:, 0] = 3 * weight.abs().amax(1)
    importance = torch.ones(40).double()
    careful = row_scales(weight, importance, 8)
    importance[0] = 0
    assert bool((row_scales(weight, importance, 8) < 0.5 * careful).all())


def test_rows_of_zeros_have_a_scale() -> None:
    found = row_scales(torch.zeros(3, 5).double(), torch.ones(5).double(), 4)
    assert bool((found > 0).all())


@pytest.mark.parametrize("faint", [0.0, 1e-10, 1e-5])
def test_faint_rows_have_scales_for_their_bias_and_leave_others_alone(faint: float) -> None:
    """Not 1, at which a bias is lost and which would serve all rows where they share a scale."""
    weight = torch.randn(4, 50, dtype=torch.float64, generator=torch.manual_seed(0))
    plain = row_scales(weight, torch.ones(50).double(), 8)
    weight[2] *= faint
    found = row_scales(weight, torch.ones(50).double(), 8)
    assert torch.equal(found[[0, 1, 3]], plain[[0, 1, 3]])
    largest = weight.abs().amax() / 127
    assert 0.29 * 2.0**-12 * largest <= found[2] <= 2.0**-12 * largest
    nearest = quantize_weight(weight, 8, "per_channel", "mse").scale
    assert 0.29 * 2.0**-12 * largest <= nearest[2] <= 2.0**-12 * largest


def test_refitted_scales_do_not_raise_the_error() -> None:
    weight = normal(20, 32, seed=3)
    x = correlated(500, 32)
    second = x.T @ x
    scales = 0.8 * weight.abs().amax(1) / 7
    codes, _ = round_columns(weight, second, scales, 4)
    fitted = refit_scales(codes, weight, second, scales)
    gained = 0
    for row in range(20):
        rows = slice(row, row + 1)
        before = output_error(weight[rows], codes[rows] * scales[row], second)
        after = output_error(weight[rows], codes[rows] * fitted[row], second)
        assert after <= before * (1 + 1e-12)
        gained += after < 0.999 * before
        for factor in (0.99, 1.01):
            near = output_error(weight[rows], codes[rows] * fitted[row] * factor, second)
            assert after < near
    assert gained > 10


def test_rows_without_codes_keep_their_scale() -> None:
    codes = torch.zeros(2, 4).double()
    scales = torch.tensor([0.3, 0.4]).double()
    found = refit_scales(codes, normal(2, 4), torch.eye(4).double(), scales)
    assert torch.equal(found, scales)


# --- layers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["class_token", "mean_then_norm", "distilled"])
def test_linear_nodes_are_all_layers_in_order(variant: str, nano: Captured) -> None:
    graph = nano(variant)[1]
    found = [node for block in blocks(graph) for node in linear_nodes(graph, block)]
    assert found == [node for node in graph.nodes if node.op is FloatOp.LINEAR]


def test_fake_quantization_rounds_every_tensor_and_takes_integer_weights(
    nano: Captured,
) -> None:
    network = Network(nano("class_token")[1], 4)
    fake_quantized = network.fake_quantized()
    image = network.quantizers["image"](network.images)
    name = "blocks.0.mlp.fc1"
    found = fake_quantized({"image": image}, [name])[name]
    steps = found / network.quantizers[name].scale
    torch.testing.assert_close(steps, steps.round(), rtol=0, atol=1e-3)
    weight = network.graph.parameters[f"{name}.weight"]
    fake_quantized.parameters[f"{name}.weight"] = torch.zeros_like(weight)
    fake_quantized.parameters[f"{name}.bias"] = torch.zeros(len(weight))
    assert float(fake_quantized({"image": image}, [name])[name].abs().max()) == 0


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("name", ["blocks.0.attn.qkv", "blocks.0.mlp.fc1"])
def test_layers_in_closed_form_have_less_error_than_nearest(
    name: str, alpha: bool, nano: Captured
) -> None:
    network = Network(nano("class_token")[1], 256, alpha=alpha)
    error = {
        rounding: network.result_error(name, network.layer(name, rounding=rounding))
        for rounding in ("nearest", "gptq")
    }
    assert error["gptq"] < 0.9 * error["nearest"]


def test_nearest_is_the_plain_rounding_of_balanced_columns(nano: Captured) -> None:
    network = Network(nano("class_token")[1], 8, alpha=True)
    found = network.layer("blocks.0.mlp.fc1", rounding="nearest")
    alpha = network.quantizers["blocks.0.norm2"].alpha
    weight = network.graph.parameters["blocks.0.mlp.fc1.weight"].double()
    columns = weight * torch.tensor(alpha, dtype=torch.float64)
    wanted = quantize_weight(columns, 4, "per_channel", "mse")
    assert found.weight.alpha == alpha
    np.testing.assert_array_equal(found.weight.codes, wanted.codes)
    np.testing.assert_array_equal(found.weight.scale, wanted.scale)
    step = torch.from_numpy(wanted.scale)[:, None] / torch.tensor(alpha, dtype=torch.float64)
    assert float(((found.weight.dequantized() - weight) / step).abs().median()) < 0.5


@pytest.mark.parametrize("count", [4, 256])
def test_balanced_columns_carry_the_factors_of_the_input(count: int, nano: Captured) -> None:
    """From few images or many: the weights stand for the float ones."""
    network = Network(nano("class_token")[1], count, alpha=True)
    found = network.layer("blocks.0.mlp.fc1", weight_bits=8)
    weight = network.graph.parameters["blocks.0.mlp.fc1.weight"].double()
    assert found.weight.alpha == network.quantizers["blocks.0.norm2"].alpha
    relative = (found.weight.dequantized() - weight).norm() / weight.norm()
    assert float(relative) < 0.1
    assert network.layer("blocks.0.attn.qkv").weight.alpha == ()


@pytest.mark.parametrize("rounding", ["nearest", "gptq"])
@pytest.mark.parametrize(("granularity", "scales"), [("per_tensor", 1), ("per_channel", 96)])
def test_a_chip_with_one_scale_gets_one(
    granularity: str, scales: int, rounding: str, nano: Captured
) -> None:
    network = Network(nano("class_token")[1], 64)
    options = {"rounding": rounding, "weight_granularity": granularity}
    found = network.layer("blocks.0.mlp.fc1", **options)
    assert found.weight.scale.shape == (scales,)
    assert found.weight.bits == 4
    assert found.weight.codes.min() >= -8
    assert found.weight.codes.max() <= 7
    assert len(set(found.weight.scale)) == scales
    real = network.graph.parameters["blocks.0.mlp.fc1.weight"].double()
    fine = network.layer("blocks.0.mlp.fc1", **options, weight_bits=8).weight.dequantized()
    assert float((fine - real).norm() / real.norm()) < 0.03


def test_a_layer_without_bias_gets_none(nano: Captured) -> None:
    network = Network(nano("no_biases")[1], 64)
    assert network.layer("blocks.0.attn.qkv").bias is None


def test_ends_of_branches_make_up_for_the_error_of_the_stream(nano: Captured) -> None:
    """The sum behind a branch is nearer to the float stream than with weights to nearest."""
    network = Network(nano("class_token")[1], 512)
    name, total = "blocks.0.mlp.fc2", "blocks.0.add_1"
    image = network.quantizers["image"](network.images)
    real = run(network.graph, {"image": network.images}, [total])[total]
    read = tokens_read(network.graph)[total]
    error = {}
    for rounding in ("nearest", "gptq"):
        found = network.layer(name, rounding=rounding, loss="mse")
        fake_quantized = network.fake_quantized()
        fake_quantized.parameters[f"{name}.weight"] = found.weight.dequantized().float()
        if found.bias is not None:
            fake_quantized.parameters[f"{name}.bias"] = found.bias.float()
        held = fake_quantized({"image": image}, [total])[total]
        error[rounding] = float(((held - real) ** 2)[:, read].mean())
    assert error["gptq"] < error["nearest"]


def test_token_weights_reach_the_ends_of_branches_only(nano: Captured) -> None:
    network = Network(nano("class_token")[1], 64)
    for name, differs in (("blocks.0.mlp.fc2", True), ("blocks.0.mlp.fc1", False)):
        codes = [network.layer(name, loss=loss).weight.codes for loss in ("mse", "token_norm")]
        assert np.array_equal(*codes) != differs


@pytest.mark.parametrize("rounding", ["nearest", "gptq"])
def test_a_block_is_its_layers_one_after_the_other(rounding: str, nano: Captured) -> None:
    """Each under the integer weights before it, from the block's start on."""
    network = Network(nano("class_token")[1], 64)
    block, recipe = blocks(network.graph)[1], recipe_of(weight_bits=4, aocq={"rounding": rounding})
    streams, done = network.streams(block), list[int]()
    fake_quantized = network.fake_quantized()
    results, behind = round_block(
        fake_quantized, block, streams, recipe, {}, lambda: done.append(1)
    )
    assert len(segments(network.graph, block)) == 2
    assert list(results) == [node.name for node in linear_nodes(network.graph, block)]
    assert len(done) == len(results)
    plain = network.fake_quantized()
    targets = float_targets(network.fake_quantized(), block, streams)
    for node in linear_nodes(network.graph, block):
        feeds = {block.source: streams.quantized}
        alone = round_layer(plain, feeds, node, targets, recipe)
        np.testing.assert_array_equal(alone.weight.codes, results[node.name].weight.codes)
        np.testing.assert_array_equal(alone.weight.scale, results[node.name].weight.scale)
        plain.take(node, alone)
    real = run(network.graph, {block.source: streams.real}, [block.result])[block.result]
    held = plain({block.source: streams.quantized}, [block.result])[block.result]
    torch.testing.assert_close(behind.real, real)
    assert torch.equal(behind.quantized, held)
    assert not torch.equal(behind.quantized, behind.real)


@pytest.mark.parametrize("most", [0, rounding_stage.MOST_KEPT])
def test_inputs_are_kept_for_what_follows_unless_they_are_too_large(
    most: int, nano: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounding_stage, "MOST_KEPT", most)
    network = Network(nano("class_token")[1], 16)
    block, recipe = blocks(network.graph)[1], Recipe(weight_bits=4)
    streams = network.streams(block)
    targets = float_targets(network.fake_quantized(), block, streams)
    node = network.graph.node("blocks.0.mlp.fc1")
    feeds, own = {block.source: streams.quantized}, network.fake_quantized()
    found = round_layer(own, feeds, node, targets, recipe)
    wanted = own({block.source: streams.quantized}, [node.inputs[0]])[node.inputs[0]]
    assert list(feeds) == [block.source, *([node.inputs[0]] if most else [])]
    if most:
        assert torch.equal(feeds[node.inputs[0]], wanted)
    again = round_layer(own, feeds, node, targets, recipe)
    np.testing.assert_array_equal(again.weight.codes, found.weight.codes)
    np.testing.assert_array_equal(again.weight.scale, found.weight.scale)


def test_finished_layers_are_taken_as_they_are(nano: Captured) -> None:
    network = Network(nano("class_token")[1], 16)
    block, recipe = blocks(network.graph)[1], Recipe(weight_bits=4)
    streams = network.streams(block)
    first, behind = round_block(network.fake_quantized(), block, streams, recipe, {}, lambda: None)
    again, same = round_block(network.fake_quantized(), block, streams, recipe, first, lambda: None)
    assert all(again[name] is first[name] for name in first)
    assert torch.equal(behind.quantized, same.quantized)
    assert torch.equal(behind.real, same.real)
