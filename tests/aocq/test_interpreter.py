# SPDX-License-Identifier: Apache-2.0
"""Any part of a float graph runs on its own, and a transformation is applied where it says."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import MappingProxyType

import numpy as np
import pytest
import torch
from tiny_models import VARIANTS, images, input_size, network
from torch import Tensor, nn

from aocq.capture import FloatGraph, FloatNode, FloatOp, run
from aocq.capture.interpreter import apply
from aocq.capture.residual_stream import residual_stream
from simulator.numerics.hadamard import hadamard_matrix

Captured = Callable[[str], tuple[nn.Module, FloatGraph]]


@pytest.mark.parametrize("variant", ["class_token", "mean_then_norm", "distilled", "qk_norm"])
def test_a_part_of_the_graph_equals_the_whole(variant: str, small: Captured) -> None:
    _, graph = small(variant)
    inner, end = "blocks.1.mlp.fc1", graph.output.name
    stream = graph.node("blocks.1.norm1").inputs[0]
    whole = run(graph, {"image": images(3, input_size())}, [stream, inner, end])
    part = run(graph, {stream: whole[stream]}, [inner, end])
    assert torch.equal(part[inner], whole[inner])
    assert torch.equal(part[end], whole[end])
    between = run(graph, {stream: whole[stream]}, ["blocks.1.attn.context"])
    again = run(graph, {"image": images(3, input_size())}, ["blocks.1.attn.context"])
    assert torch.equal(between["blocks.1.attn.context"], again["blocks.1.attn.context"])


def test_a_fed_tensor_may_be_fetched_and_is_not_computed(small: Captured) -> None:
    _, graph = small("class_token")
    value = torch.full((2, 17, 48), 7.0)
    assert run(graph, {"blocks.0.norm1": value}, ["blocks.0.norm1"])["blocks.0.norm1"] is value


def test_nothing_runs_that_the_fetches_do_not_need(small: Captured) -> None:
    _, graph = small("class_token")
    ran: list[str] = []
    stream = graph.node("blocks.1.norm1").inputs[0]
    run(
        graph,
        {stream: torch.zeros(1, 17, 48)},
        ["blocks.1.attn.qkv"],
        transform=lambda node, x: ran.append(node.name) or x,
    )
    assert ran == ["blocks.1.norm1", "blocks.1.attn.qkv"]


def test_a_fetch_that_needs_the_image_says_so(small: Captured) -> None:
    _, graph = small("class_token")
    with pytest.raises(KeyError, match="image"):
        run(graph, {"blocks.0.norm1": torch.zeros(1, 17, 48)}, ["head"])


def test_a_fetch_of_no_node_is_an_error(small: Captured) -> None:
    _, graph = small("class_token")
    with pytest.raises(KeyError, match=r"blocks\.7"):
        run(graph, {"image": images(1, input_size())}, ["blocks.7"])
    with pytest.raises(KeyError, match=r"blocks\.7"):
        graph.node("blocks.7")


def test_a_transformation_sees_every_result_and_none_that_was_fed(small: Captured) -> None:
    _, graph = small("registers")
    seen: dict[str, tuple[int, ...]] = {}

    def note(node: FloatNode, x: Tensor) -> Tensor:
        assert node.name not in seen
        seen[node.name] = tuple(x.shape)
        return x

    run(graph, {"image": images(2, input_size())}, [graph.output.name], transform=note)
    assert seen == {node.name: (2, *node.shape) for node in graph.nodes if node.name != "image"}


def test_what_a_transformation_returns_is_what_the_next_nodes_read(small: Captured) -> None:
    """An attention whose result is taken away equals a network without that attention."""
    model, graph = small("class_token")
    inputs = images(2, input_size())

    def silence(node: FloatNode, x: Tensor) -> Tensor:
        return x * 0 if node.name == "blocks.0.attn.proj" else x

    result = run(graph, {"image": inputs}, ["blocks.0.attn.proj", "head"], transform=silence)
    without = network()
    without.load_state_dict(model.state_dict())
    without.blocks[0].attn.proj.weight.data.zero_()
    without.blocks[0].attn.proj.bias.data.zero_()
    assert not result["blocks.0.attn.proj"].any()
    torch.testing.assert_close(result["head"], without(inputs), rtol=1e-5, atol=1e-5)


def test_parameters_can_be_replaced_for_one_run(small: Captured) -> None:
    model, graph = small("class_token")
    inputs = images(2, input_size())
    zeros = {"head.weight": torch.zeros(10, 48)}
    result = run(graph, {"image": inputs}, ["head"], parameters=zeros)["head"]
    torch.testing.assert_close(result, model.head.bias.expand(2, 10))
    later = run(graph, {"image": inputs}, ["head"])["head"]
    torch.testing.assert_close(later, model(inputs), rtol=1e-5, atol=1e-5)


SUMS = {"blocks.0.add", "blocks.0.add_1", "blocks.1.add", "blocks.1.add_1"}


@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_the_residual_stream_is_every_sum_of_every_block(variant: str, small: Captured) -> None:
    """Also the last sum of networks that pool before the final normalization."""
    _, graph = small(variant)
    stream = residual_stream(graph)
    assert stream >= SUMS
    assert not any(".attn" in name or ".mlp" in name or ".norm" in name for name in stream)


def test_the_residual_stream_begins_at_the_tokens(small: Captured) -> None:
    assert residual_stream(small("class_token")[1]) == {*SUMS, "add", "concat"}
    assert residual_stream(small("registers")[1]) == {*SUMS, "add", "concat"}
    assert residual_stream(small("mean_without_class_token")[1]) == {*SUMS, "add"}
    # A normalization before the blocks is where their stream begins.
    assert residual_stream(small("pre_norm")[1]) == {*SUMS, "norm_pre", "add", "concat"}


@pytest.mark.parametrize(("channels", "order"), [(48, 48), (48, 12), (64, 16), (40, 20), (6, 2)])
def test_a_hadamard_node_is_a_product_with_its_matrix(channels: int, order: int) -> None:
    node = FloatNode(
        name="rotated",
        op=FloatOp.HADAMARD,
        inputs=("x",),
        attributes=MappingProxyType({"order": order}),
        shape=(5, channels),
    )
    codes = torch.randint(-128, 128, (2, 5, channels), dtype=torch.float64)
    matrix = torch.from_numpy(hadamard_matrix(order).astype(np.float64))
    blocks = torch.block_diag(*[matrix] * (channels // order))
    found = apply(node, [codes], {}, 2)
    assert torch.equal(found, codes @ blocks / math.sqrt(order))
    torch.testing.assert_close(apply(node, [found], {}, 2), codes)
