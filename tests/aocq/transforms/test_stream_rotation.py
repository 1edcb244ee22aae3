# SPDX-License-Identifier: Apache-2.0
"""The residual stream rotated offline: the same network, its channels mixed."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from aocq.capture import FloatGraph, FloatOp, run
from aocq.capture.residual_stream import residual_stream
from aocq.recipes.aocq_options import AocqOptions
from aocq.recipes.limits import ChipLimits
from aocq.transforms.apply import changes_network, transformed
from aocq.transforms.stream import mean_keeping_rotation, rotate_stream, stretches

sys.path.insert(0, str(Path(__file__).parents[2] / "golden"))

from networks import DEMO, EXAMPLES, captured, images_of

# Their stream is written or read by something that no rotation passes.
KEPT = {"swinv2_tiny_window8_256", "levit_128s"}


def _wide(network: str) -> FloatGraph:
    graph = captured(network)
    parameters = {name: value.double() for name, value in graph.parameters.items()}
    return replace(graph, parameters=parameters)


def _values(graph: FloatGraph, images: Tensor, *names: str) -> list[Tensor]:
    found = run(graph, {graph.input.name: images}, names)
    return [found[name] for name in names]


@pytest.mark.parametrize("width", [1, 2, 24, 45, 192])
def test_a_rotation_keeps_means_and_lengths_and_has_no_large_entries(width: int) -> None:
    rotation = mean_keeping_rotation(width)
    ones, identity = torch.ones(width).double(), torch.eye(width).double()
    torch.testing.assert_close(rotation @ rotation.T, identity)
    torch.testing.assert_close(ones @ rotation, ones)
    torch.testing.assert_close(rotation @ ones, ones)
    if width > 40:
        assert rotation.abs().max() < 6 / width**0.5


@pytest.mark.parametrize("network", [DEMO, *EXAMPLES])
def test_the_network_stays_the_same(network: str) -> None:
    graph = _wide(network)
    rotated = rotate_stream(graph)
    images = images_of(network, 2)
    (before,), (after,) = (_values(g, images, g.output.name) for g in (graph, rotated))
    torch.testing.assert_close(after, before, rtol=1e-9, atol=1e-9 * float(before.abs().max()))
    assert [node.name for node in rotated.nodes] == [node.name for node in graph.nodes]
    changed = {
        name
        for name, value in graph.parameters.items()
        if not torch.equal(value, rotated.parameters.get(name, torch.empty(0)))
    }
    assert bool(changed) == bool(stretches(graph)) == (network not in KEPT)


def test_every_tensor_of_the_stream_is_rotated_and_no_gamma_is_left() -> None:
    graph = _wide(DEMO)
    rotated = rotate_stream(graph)
    names = sorted(residual_stream(graph))
    rotation = mean_keeping_rotation(graph.node(names[0]).shape[-1])
    images = images_of(DEMO, 2)
    for before, after in zip(
        _values(graph, images, *names), _values(rotated, images, *names), strict=True
    ):
        torch.testing.assert_close(after, before @ rotation)
    for node in rotated.nodes:
        if node.op is FloatOp.LAYERNORM:
            gamma, beta = (rotated.parameters[node.attributes[key]] for key in ("weight", "bias"))
            assert bool((gamma == 1).all())
            assert bool((beta == 0).all())


def test_a_channel_that_is_far_larger_than_others_is_spread() -> None:
    graph = _wide(DEMO)
    parameters = dict(graph.parameters)
    for node in graph.nodes:
        if node.op is FloatOp.CONSTANT:
            large = parameters[node.attributes["parameter"]].clone()
            large[..., 3] += 100
            parameters[node.attributes["parameter"]] = large
    graph = replace(graph, parameters=parameters)
    name = next(node.inputs[0] for node in graph.nodes if node.op is FloatOp.LAYERNORM)
    images = images_of(DEMO, 2)
    (before,), (after,) = (_values(g, images, name) for g in (graph, rotate_stream(graph)))
    assert after.abs().max() < before.abs().max() / 2


def test_a_stream_that_something_else_reads_stays_as_it_is() -> None:
    graph = _wide(DEMO)
    first = next(node for node in graph.nodes if node.op is FloatOp.LAYERNORM)
    nodes = tuple(
        replace(node, inputs=first.inputs) if first.name in node.inputs else node
        for node in graph.nodes
    )
    assert stretches(replace(graph, nodes=nodes)) == []


def test_it_is_rotated_where_a_chip_has_no_factors_or_it_is_asked_for() -> None:
    balanced, single = ChipLimits(), ChipLimits(activation_granularity="per_tensor")
    without = ChipLimits(channel_factor="none")
    options = AocqOptions()
    assert not changes_network(options, balanced)
    assert changes_network(options, single)
    assert changes_network(options, without)
    assert not changes_network(replace(options, rotate_stream="never"), single)
    assert changes_network(replace(options, rotate_stream="always"), balanced)
    graph, images = _wide(DEMO), images_of(DEMO, 2)
    rotated = transformed(graph, options, single, images)
    wanted = rotate_stream(graph)
    for name, value in wanted.parameters.items():
        assert torch.equal(rotated.parameters[name], value)
