# SPDX-License-Identifier: Apache-2.0
"""Weights learned by back-propagation: derivatives, and never a worse block than before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tiny_rounded import Network
from torch import Tensor, nn

from aocq.capture import FloatGraph, run
from aocq.methods.aocq import learned_weights, reconstruction
from aocq.methods.aocq.blocks import blocks
from aocq.methods.aocq.initial_scales import octave_scores
from aocq.methods.aocq.learned_weights import SoftWeight, StraightThroughWeight
from aocq.methods.aocq.reconstruction import Judge, reconstruct
from aocq.methods.aocq.rounding import RoundedBlock, Streams, linear_nodes
from aocq.methods.aocq.straight_through import Drop, StraightThrough, with_factor
from aocq.methods.aocq.token_norm import BlockLoss, block_loss
from aocq.methods.quantizers import ActivationQuantizer, LevelQuantizer
from aocq.methods.scale_form import ScaleForm
from aocq.recipes.aocq_options import AocqOptions
from aocq.recipes.limits import ANY_CHIP
from aocq.recipes.recipe import Recipe
from simulator.numerics.integer_type import IntType

Captured = Callable[[str], tuple[nn.Module, FloatGraph]]
SOFT = AocqOptions(rounding="adaround", adaround_steps=60)
# Everything judges: these networks have few images.
STRAIGHT = AocqOptions(rounding="reconstruct", reconstruction_steps=60, held_out_share=0.0)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def uniform(**fields: Any) -> ActivationQuantizer:
    return ActivationQuantizer(
        **{"type": IntType(bits=8), "scale": 0.01, "zero_point": -3, **fields}
    )


# --- derivatives ----------------------------------------------------------------------------------


@pytest.mark.parametrize("zero_point", [-128, -3, 0])
@pytest.mark.parametrize("alpha", [(), (1.0, 0.5, 0.25)])
def test_the_derivative_of_a_quantizer_is_1_where_it_does_not_clip(
    alpha: tuple[float, ...], zero_point: int, nano: Captured
) -> None:
    quantizer = uniform(zero_point=zero_point, alpha=alpha)
    graph = nano("class_token")[1]
    node = graph.nodes[1]
    x = (2 * normal(50, 3)).requires_grad_()
    slopes = normal(50, 3, seed=1)
    result = StraightThrough(graph, {node.name: quantizer})(node, x)
    assert torch.equal(result, quantizer(x.detach()))
    result.backward(slopes)
    lowest, highest = (quantizer.real(torch.tensor(float(end))) for end in (-128, 127))
    inside = (x >= lowest) & (x <= highest)
    assert 0 < int(inside.sum()) < inside.numel()
    assert x.grad is not None
    assert torch.equal(x.grad, slopes * inside)


@pytest.mark.parametrize("factor", [1.0, 0.8])
def test_the_derivative_of_a_step_is_that_of_lsq(factor: float, nano: Captured) -> None:
    """The rounding error inside the range, the last code outside (arXiv 1902.08153, eq. 3)."""
    quantizer = uniform(alpha=(1.0, 0.5, 0.25))
    graph = nano("class_token")[1]
    node = graph.nodes[1]
    x, slopes = 2 * normal(50, 3), normal(50, 3, seed=1)
    learned = torch.tensor(factor, requires_grad=True)
    result = StraightThrough(graph, {node.name: quantizer}, {node.name: learned})(node, x)
    assert torch.equal(result, with_factor(quantizer, float(learned.detach()))(x))
    result.backward(slopes)
    scales = quantizer.scales()
    codes = x.double() / (scales * float(learned.detach()))
    rounded = codes.round().clamp(*quantizer.span)
    inside = codes == codes.clamp(*quantizer.span)
    wanted = (slopes * scales * torch.where(inside, rounded - codes, rounded)).sum()
    assert learned.grad is not None
    torch.testing.assert_close(learned.grad.double(), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("levelled", [False, True])
def test_what_is_dropped_stays_in_float(levelled: bool, nano: Captured) -> None:
    quantizer = (
        LevelQuantizer(levels=(0, 1, 2, 4), thresholds=(0.5, 1.5, 3.0), scale=0.1, bits=2)
        if levelled
        else uniform()
    )
    graph = nano("class_token")[1]
    node = graph.nodes[1]
    choice = (torch.rand(200, generator=torch.Generator().manual_seed(2)) < 0.5).float()
    x = (2 * normal(50, 3)).requires_grad_()
    drop = Drop(choice, torch.Generator().manual_seed(0))
    quantized = Drop(choice, torch.Generator().manual_seed(0))(x) == 1
    assert 0.3 < float(quantized.float().mean()) < 0.7
    result = StraightThrough(graph, {node.name: quantizer}, {}, drop)(node, x)
    wanted = torch.where(quantized, quantizer(x.detach()), x)
    torch.testing.assert_close(result, wanted)
    result.sum().backward()
    assert x.grad is not None
    if levelled:
        assert bool((x.grad == 1).all())
    else:
        inside = (x >= 0.01 * -125) & (x <= 0.01 * 130)
        assert torch.equal(x.grad == 1, inside | ~quantized)


def test_what_has_no_quantizer_stays_as_it_is(nano: Captured) -> None:
    graph = nano("class_token")[1]
    x = torch.ones(2)
    assert StraightThrough(graph, {})(graph.nodes[1], x) is x


# --- layers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [False, True])
def test_a_layer_that_learned_nothing_is_what_it_was(alpha: bool, nano: Captured) -> None:
    network = Network(nano("class_token")[1], 32, alpha=alpha)
    before = network.layer("blocks.0.mlp.fc1")
    unit = torch.ones(len(before.weight.codes))
    straight = StraightThroughWeight.of(before, ScaleForm(), unit)
    for learned in (straight, SoftWeight.of(before, 0.1, torch.device("cpu"))):
        after = learned.result()
        np.testing.assert_array_equal(after.weight.codes, before.weight.codes)
        np.testing.assert_array_equal(after.weight.scale, before.weight.scale)
        assert after.weight.alpha == before.weight.alpha
    torch.testing.assert_close(
        straight.weight(), before.weight.dequantized().float(), rtol=1e-6, atol=1e-8
    )


def test_codes_are_rounded_straight_through_within_their_range(nano: Captured) -> None:
    network = Network(nano("class_token")[1], 32)
    before = network.layer("blocks.0.mlp.fc1")
    unit = torch.ones(len(before.weight.codes))
    learned = StraightThroughWeight.of(before, ScaleForm(), unit)
    learned.sought.data[0, :4] = torch.tensor([-8.4, -7.6, 6.6, 7.6])
    learned.weight().sum().backward()
    scale = torch.from_numpy(before.weight.scale).float()[:, None]
    slopes = scale.expand_as(learned.sought).clone()
    slopes[0, [0, 3]] = 0.0
    assert learned.sought.grad is not None
    torch.testing.assert_close(learned.sought.grad, slopes)
    assert learned.codes()[0, :4].tolist() == [-8, -8, 7, 7]


# --- blocks ---------------------------------------------------------------------------------------


def block_of(network: Network) -> tuple[Any, Streams, RoundedBlock]:
    block = blocks(network.graph)[1]
    layers = {n.name: network.layer(n.name) for n in linear_nodes(network.graph, block)}
    return block, network.streams(block), RoundedBlock(layers)


def learn(
    network: Network, options: AocqOptions, **limits: Any
) -> tuple[RoundedBlock, RoundedBlock]:
    """Return a block before and after; ``limits`` hold for what is learned."""
    block, streams, start = block_of(network)
    network.limits = replace(network.limits, **limits)
    recipe = Recipe(weight_bits=4, aocq=options)
    taken: list[int] = []
    later = blocks(network.graph)[2 : 2 + options.look_ahead]
    result = later[-1].result if later else block.result
    target = run(network.graph, {block.source: streams.real}, [result])[result]
    judge = Judge(tuple(name for own in later for name in own.nodes), result, target)
    fake_quantized, threads = network.fake_quantized(), torch.get_num_threads()
    found = reconstruct(
        fake_quantized, block, judge, streams, start, recipe, lambda: taken.append(1)
    )
    assert len(taken) == options.learning_steps
    assert torch.get_num_threads() == threads
    return start, found


def loss_with(network: Network, found: RoundedBlock, options: AocqOptions) -> float:
    block, streams, _ = block_of(network)
    fake_quantized = network.fake_quantized()
    target = run(network.graph, {block.source: streams.real}, [block.result])[block.result]
    importance = fake_quantized.importance[block.result]
    own = network.quantizers[block.result]
    loss = block_loss(network.graph, block.result, target, own, importance, options)
    fake_quantized.quantizers = {**network.quantizers}
    fake_quantized.take_block(block, found)
    held = fake_quantized({block.source: streams.quantized}, [block.result])[block.result]
    return float(loss(held))


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("options", [SOFT, STRAIGHT], ids=["adaround", "reconstruct"])
def test_what_is_learned_lowers_the_loss_of_the_block(
    options: AocqOptions, alpha: bool, nano: Captured
) -> None:
    network = Network(nano("class_token")[1], 32, alpha=alpha)
    options = replace(options, class_token_weight=1.0)
    start, found = learn(network, options)
    losses = [loss_with(network, state, options) for state in (start, found)]
    assert losses[1] < losses[0]
    assert found.losses == pytest.approx(losses, rel=1e-4)
    for name, after in found.layers.items():
        before = start.layers[name]
        assert after.weight.codes.min() >= -8
        assert after.weight.codes.max() <= 7
        assert after.weight.alpha == before.weight.alpha
        assert (after.weight.codes != before.weight.codes).any()
        same_scales = np.array_equal(after.weight.scale, before.weight.scale)
        assert same_scales == (options is SOFT or options.rounding == "adaround")
        if options.rounding == "adaround":
            sought = before.sought.clamp(-8, 7).numpy()
            assert np.abs(after.weight.codes - sought).max() <= 1
            assert after.bias is before.bias
        else:
            assert after.bias is not None
            assert before.bias is not None
            assert not torch.equal(after.bias, before.bias.float())
    changed = {
        name
        for name, quantizer in found.quantizers.items()
        if quantizer.scale != network.quantizers[name].scale
    }
    steps = {"norm1", "attn.qkv", "norm2", "mlp.fc1", "mlp.act"}
    wanted = {f"blocks.0.{name}" for name in steps} if options.rounding == "reconstruct" else set()
    assert changed >= wanted
    assert blocks(network.graph)[1].result not in changed


@pytest.mark.parametrize("options", [SOFT, STRAIGHT], ids=["adaround", "reconstruct"])
def test_the_error_may_be_measured_behind_blocks_in_float(
    options: AocqOptions, nano: Captured
) -> None:
    """Behind the tiny network's block are the logits; nothing but the block is quantized."""
    network = Network(nano("class_token")[1], 32)
    graph, (block, streams, _) = network.graph, block_of(network)
    start, found = learn(network, replace(options, look_ahead=1))
    assert found.losses[1] < found.losses[0]
    own = {name: network.quantizers[name] for name in block.nodes if name in network.quantizers}
    result = graph.output.name
    target = run(graph, {block.source: streams.real}, [result])[result]
    for state, expected in zip((start, found), found.losses, strict=True):
        fake_quantized = network.fake_quantized()
        fake_quantized.quantizers = dict(own)
        fake_quantized.take_block(block, state)
        held = fake_quantized({block.source: streams.quantized}, [result])[result]
        error = ((held - target) ** 2).sum(-1) / (
            (target - target.mean(-1, keepdim=True)) ** 2
        ).sum(-1)
        power = (target**2).sum(-1) / ((target - target.mean(-1, keepdim=True)) ** 2).sum(-1)
        assert float(error.sum() / power.sum()) == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("held_out", [0.0, 0.25])
@pytest.mark.parametrize("rounding", ["adaround", "reconstruct"])
def test_what_does_harm_is_not_taken(
    rounding: Any, held_out: float, nano: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps far too long: what the closed form found is kept, layer by layer."""
    monkeypatch.setattr(reconstruction, "PUBLISHED_RATE", 1e6)
    monkeypatch.setattr(reconstruction, "LONGEST_RATE", 1e6)
    monkeypatch.setattr(learned_weights, "CODES_RATE", 1e6)
    options = replace(
        STRAIGHT,
        rounding=rounding,
        adaround_steps=3,
        reconstruction_steps=3,
        held_out_share=held_out,
    )
    start, found = learn(Network(nano("class_token")[1], 32), options)
    assert found.layers is start.layers
    assert not found.quantizers
    assert found.losses[0] == found.losses[1]


@pytest.mark.parametrize("rounding", ["adaround", "reconstruct"])
def test_a_loss_that_is_no_number_is_not_taken(
    rounding: Any, nano: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BlockLoss, "error", lambda _, result, __: result.sum() * torch.nan)
    options = replace(STRAIGHT, rounding=rounding, adaround_steps=1, reconstruction_steps=1)
    start, found = learn(Network(nano("class_token")[1], 32), options)
    assert found.layers is start.layers


@pytest.mark.parametrize(
    ("images", "share", "held_out"),
    [(10, 0.2, [0, 5]), (10, 0.0, []), (3, 0.2, []), (250, 0.2, list(range(0, 250, 5)))],
)
def test_images_that_judge_are_not_learned_from(
    images: int, share: float, held_out: list[int]
) -> None:
    training, judging = reconstruction.split(images, share)
    everything = list(range(images))
    assert judging.tolist() == (held_out or everything)
    assert training.tolist() == [image for image in everything if image not in held_out]


@pytest.mark.parametrize("activations", ["any", "power_of_two"])
@pytest.mark.parametrize("weights", ["any", "power_of_two"])
def test_scales_that_a_chip_restricts_are_not_learned(
    weights: Any, activations: Any, nano: Captured
) -> None:
    network = Network(nano("class_token")[1], 32)
    restricted = {"weight_scale": weights, "activation_scale": activations}
    start, found = learn(network, replace(STRAIGHT, reconstruction_steps=40), **restricted)
    assert bool(found.quantizers) == (activations == "any")
    same = [
        np.array_equal(after.weight.scale, start.layers[name].weight.scale)
        for name, after in found.layers.items()
    ]
    assert all(same) == any(same) == (weights == "power_of_two")


def test_an_octave_of_scores_keeps_its_number_of_codes(nano: Captured) -> None:
    """A softmax that shifts by whole octaves would have to be handed other codes otherwise."""
    network = Network(nano("class_token")[1], 32)
    options = replace(STRAIGHT, reconstruction_steps=20)
    (scores, *_) = octave_scores(network.graph, replace(ANY_CHIP, octave_codes=8))
    _, free = learn(network, options)
    assert scores in free.quantizers
    _, held = learn(network, options, octave_codes=8)
    assert held.quantizers.keys() == free.quantizers.keys() - {scores}


def test_scales_of_files_in_float32_stay_such_numbers(nano: Captured) -> None:
    network = Network(nano("class_token")[1], 32)
    options = replace(STRAIGHT, reconstruction_steps=40)
    _, found = learn(network, options, float32_scales=True)
    assert found.quantizers
    for quantizer in found.quantizers.values():
        assert quantizer.scale == float(np.float32(quantizer.scale))
    for layer in found.layers.values():
        assert np.array_equal(layer.weight.scale, layer.weight.scale.astype(np.float32))
