# SPDX-License-Identifier: Apache-2.0
"""Passes keep the float network, in float64, whatever its parameters; a wrong fold is noticed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import pytest
import torch
from families import EXAMPLES
from tiny_models import images, with_random_parameters
from torch import Tensor, nn

from aocq.capture import FloatGraph, FloatOp, capture, run
from aocq.capture.verify import verify
from aocq.recipes.aocq_options import AocqOptions
from aocq.recipes.limits import ChipLimits
from aocq.transforms.apply import (
    FUNCTIONS,
    NORMS,
    PRODUCTS,
    changes_network,
    made_by,
    transformed,
)
from aocq.transforms.heads import rotate_heads, rotate_queries_and_keys, rotate_values
from aocq.transforms.online import balance_inputs, balanced, rotate_inputs
from aocq.transforms.operands import requantize_inputs, requantize_products
from aocq.transforms.orders import has_matrix, largest_order
from aocq.transforms.statistics import channel_statistics
from aocq.zoo.models import timm

Captured = Callable[[str], tuple[nn.Module, FloatGraph]]

ALL = FUNCTIONS | PRODUCTS | NORMS
# Of plain ViTs, and of other families.
NETWORKS = (
    *("class_token", "mean_then_norm", "registers", "layer_scale", "distilled", "qk_norm"),
    *("no_biases", "one_head"),
    *("swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256", "cait_xxs24_224"),
    *("beit_base_patch16_224", "vit_relpos_small_patch16_224", "levit_128s"),
)
CHIP = ChipLimits(hadamard_order=8192, row_scale="multiplier", block=16)


@cache
def example(name: str) -> FloatGraph:
    stated = EXAMPLES[name]
    built = timm.create_model(name, pretrained=False, **stated.arguments)
    return capture(with_random_parameters(built), name, stated.input_size)


@pytest.fixture(params=NETWORKS)
def network(request: pytest.FixtureRequest, small: Captured) -> FloatGraph:
    """A network with float64 parameters."""
    name = request.param
    graph = example(name) if name in EXAMPLES else small(name)[1]
    return doubled(graph)


def doubled(graph: FloatGraph) -> FloatGraph:
    parameters = {
        key: value.double() if value.is_floating_point() else value
        for key, value in graph.parameters.items()
    }
    return replace(graph, parameters=parameters)


def logits(graph: FloatGraph) -> Tensor:
    batch = images(2, graph.input.shape).double()
    return run(graph, {graph.input.name: batch}, [graph.output.name])[graph.output.name]


def distance(a: FloatGraph, b: FloatGraph) -> float:
    """The largest difference of logits, relative to the largest of them."""
    ours, theirs = logits(a), logits(b)
    return float((ours - theirs).abs().max() / theirs.abs().max())


def balanced_channels(graph: FloatGraph) -> FloatGraph:
    names = [place.name for place in balanced(graph, made_by(graph, ALL))]
    seen = channel_statistics(graph, names, images(3, graph.input.shape, seed=2).double())
    return balance_inputs(graph, made_by(graph, ALL), seen)


def rotated_inputs(graph: FloatGraph, block: int = 0) -> FloatGraph:
    return rotate_inputs(graph, made_by(graph, ALL), 8192, block)


PASSES: dict[str, Callable[[FloatGraph], FloatGraph]] = {
    "values": rotate_values,
    "queries and keys": rotate_queries_and_keys,
    "inputs": rotated_inputs,
    "inputs in blocks": lambda graph: rotated_inputs(graph, 4),
    "balance": balanced_channels,
    "everything": lambda graph: rotated_inputs(rotate_heads(balanced_channels(graph))),
    "operands": lambda graph: requantize_inputs(requantize_products(graph), made_by(graph, ALL)),
}


@pytest.mark.parametrize("name", PASSES)
def test_a_pass_keeps_the_network(name: str, network: FloatGraph) -> None:
    before = {key: value.clone() for key, value in network.parameters.items()}
    changed = PASSES[name](network)
    assert distance(changed, network) < 1e-9
    assert all(torch.equal(value, before[key]) for key, value in network.parameters.items())


def changed_parameters(graph: FloatGraph, before: FloatGraph) -> list[str]:
    return [
        name
        for name, value in graph.parameters.items()
        if name not in before.parameters or not torch.equal(value, before.parameters[name])
    ]


@pytest.mark.parametrize("name", ["values", "queries and keys", "inputs", "balance"])
def test_every_fold_counts(name: str, small: Captured) -> None:
    """Each changed parameter alone, left as it was, makes another network."""
    graph = doubled(small("class_token")[1])
    changed = PASSES[name](graph)
    names = changed_parameters(changed, graph)
    assert len(names) == {"values": 6, "queries and keys": 4, "inputs": 8, "balance": 20}[name]
    for parameter in names:
        value = graph.parameters[parameter]
        wrong = replace(changed, parameters={**changed.parameters, parameter: value})
        assert distance(wrong, graph) > 1e-4, parameter


def test_queries_are_rotated_and_their_normalization_forbids_it(small: Captured) -> None:
    """Swin v2 divides them by their length, which rotations keep; a LayerNorm has its own γ."""
    swin = example("swinv2_tiny_window8_256")
    assert len(changed_parameters(rotate_queries_and_keys(swin), swin)) == 8
    normed = small("qk_norm")[1]
    assert not changed_parameters(rotate_queries_and_keys(normed), normed)
    assert len(changed_parameters(rotate_values(normed), normed)) == 6


def test_only_what_leads_to_the_logits_and_the_stream_stays_unrotated(small: Captured) -> None:
    graph = rotated_inputs(small("distilled")[1])
    rotated = {node.inputs[0] for node in graph.nodes if node.op is FloatOp.HADAMARD}
    plain = {node.name for node in graph.nodes if node.op is FloatOp.LINEAR} - {
        node.name
        for node in graph.nodes
        if node.op is FloatOp.LINEAR and graph.node(node.inputs[0]).op is FloatOp.HADAMARD
    }
    assert plain == {"patch_embed.proj", "head", "head_dist"}
    assert {name for name in rotated if "norm1" in name} == {"blocks.0.norm1", "blocks.1.norm1"}
    assert {node.attributes["order"] for node in graph.nodes if node.op is FloatOp.HADAMARD} == {
        48,
        192,
    }


def test_padded_windows_are_not_balanced() -> None:
    """A zero beside the tokens would no longer be the mean that was taken away."""
    graph = example("swin_tiny_patch4_window7_224")
    found = {place.source.name for place in balanced(graph, made_by(graph, NORMS))}
    padded = {node.name for node in graph.nodes if node.op is FloatOp.PAD}
    assert padded
    assert "layers.0.blocks.0.norm1" not in found
    assert "layers.0.blocks.0.norm2" in found


def test_balanced_channels_have_alike_shares(small: Captured) -> None:
    """Behind the pass σ ‖w‖ is the same for all channels' squares: α² = σ / ‖w‖."""
    graph = doubled(small("class_token")[1])
    changed = balanced_channels(graph)
    name = "blocks.1.norm2"
    batch = images(3, graph.input.shape, seed=2).double()
    seen = channel_statistics(changed, [name], batch)[name]
    cost = changed.parameters["blocks.1.mlp.fc1.weight"].double().square().sum(0).sqrt()
    ratio = seen.deviation / cost
    assert float(ratio.max() / ratio.min()) < 1.001
    assert float(seen.mean.abs().max()) < 1e-3


@pytest.mark.parametrize(
    ("width", "most", "order"),
    [(192, 8192, 192), (768, 64, 64), (1152, 8192, 384), (36, 8192, 12), (7, 8192, 1), (48, 1, 1)],
)
def test_the_largest_order_divides_the_channels(width: int, most: int, order: int) -> None:
    assert largest_order(width, most) == order
    assert has_matrix(order)


def test_a_recipe_asks_for_passes_and_a_chip_allows_them(small: Captured) -> None:
    graph = small("class_token")[1]
    batch = images(2, graph.input.shape)

    def nodes(options: AocqOptions, limits: ChipLimits = CHIP) -> tuple[int, int]:
        changed = transformed(graph, options, limits, batch)
        verify(changed)
        assert distance(doubled(changed), doubled(graph)) < 1e-4
        ops = [node.op for node in changed.nodes]
        return ops.count(FloatOp.HADAMARD), ops.count(FloatOp.REQUANTIZE)

    assert not changes_network(AocqOptions(), CHIP)
    # LayerNorms of a rotated stream yield rotated values: fc2's and proj's inputs are left.
    assert nodes(AocqOptions(hadamard="all", rotate_stream="always")) == (4, 0)
    assert nodes(AocqOptions(rotate_heads=True)) == (0, 0)
    assert nodes(AocqOptions(hadamard="fc2")) == (2, 0)
    assert nodes(AocqOptions(hadamard="all", rotate_heads=True)) == (8, 0)
    assert nodes(AocqOptions(row_steps="scores")) == (0, 6)
    assert nodes(AocqOptions(row_steps="attention")) == (0, 8)
    assert nodes(AocqOptions(row_steps="all", block_steps=True)) == (0, 14)
    assert nodes(AocqOptions(row_steps="all", hadamard="all")) == (8, 6)
    assert nodes(AocqOptions(row_steps="all"), ChipLimits(hadamard_order=64)) == (0, 0)
