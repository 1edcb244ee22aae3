# SPDX-License-Identifier: Apache-2.0
"""A network as a chain of blocks: nothing lost, one tensor between neighbours."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tiny_models import SMALL, images, input_size
from torch import nn

from aocq.capture import FloatGraph, FloatOp, run
from aocq.capture.residual_stream import residual_stream, stream_terms
from aocq.methods.aocq.blocks import blocks, segments, within

Captured = Callable[[str], tuple[nn.Module, FloatGraph]]
VARIANTS = (
    "class_token",
    "mean_of_all_tokens",
    "mean_then_norm",
    "mean_without_class_token",
    "registers",
    "distilled",
    "pre_norm",
    "layer_scale",
    "qk_norm",
)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_node_is_in_exactly_one_block(variant: str, small: Captured) -> None:
    graph = small(variant)[1]
    chain = blocks(graph)
    assert [block.name for block in chain] == ["stem", "blocks.0", "blocks.1", "head"]
    listed = [name for block in chain for name in block.nodes]
    assert listed == [node.name for node in graph.nodes if node.op is not FloatOp.INPUT]


@pytest.mark.parametrize("variant", VARIANTS)
def test_blocks_are_joined_by_single_tensors_of_the_stream(variant: str, small: Captured) -> None:
    graph = small(variant)[1]
    chain = blocks(graph)
    assert chain[0].source == graph.input.name
    assert chain[-1].result == graph.output.name
    assert [block.source for block in chain[1:]] == [block.result for block in chain[:-1]]
    assert {block.result for block in chain[:-1]} <= residual_stream(graph)
    for block in chain:
        assert block.result in block.nodes
        read = {name for node in block.nodes for name in graph.node(node).inputs}
        assert read - set(block.nodes) == {block.source}


@pytest.mark.parametrize("variant", VARIANTS)
def test_block_by_block_is_the_whole_network(variant: str, small: Captured) -> None:
    graph = small(variant)[1]
    x = images(3, input_size(SMALL))
    whole = run(graph, {graph.input.name: x}, [graph.output.name])[graph.output.name]
    for block in blocks(graph):
        x = run(graph, {block.source: x}, [block.result])[block.result]
    assert torch.equal(x, whole)


@pytest.mark.parametrize("variant", VARIANTS)
def test_segments_are_a_chain_through_their_block(variant: str, small: Captured) -> None:
    graph = small(variant)[1]
    x = images(3, input_size(SMALL))
    for block in blocks(graph):
        parts = segments(graph, block)
        assert [name for part in parts for name in part.nodes] == list(block.nodes)
        assert (parts[0].source, parts[-1].result) == (block.source, block.result)
        assert [part.source for part in parts[1:]] == [part.result for part in parts[:-1]]
        whole = run(graph, {block.source: x}, [block.result])[block.result]
        for part in parts:
            x = run(graph, {part.source: x}, [part.result])[part.result]
        assert torch.equal(x, whole)


def test_attention_and_the_mlp_are_segments(small: Captured) -> None:
    graph = small("class_token")[1]
    attention, mlp = segments(graph, blocks(graph)[1])
    assert (attention.result, mlp.result) == ("blocks.0.add", "blocks.0.add_1")
    assert "blocks.0.attn.proj" in attention.nodes
    assert "blocks.0.mlp.fc1" in mlp.nodes


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_block_runs_without_the_other_blocks(variant: str, small: Captured) -> None:
    graph = small(variant)[1]
    x = images(3, input_size(SMALL))
    for block in blocks(graph):
        own = within(graph, block)
        others = {node.name for node in own.nodes} - set(block.nodes)
        assert {graph.node(name).op for name in others} <= {FloatOp.CONSTANT}
        alone = run(own, {block.source: x}, [block.result])[block.result]
        x = run(graph, {block.source: x}, [block.result])[block.result]
        assert torch.equal(alone, x)


@pytest.mark.parametrize(
    ("variant", "ends"),
    [
        ("class_token", {"patch_embed.proj", "cls_token", "pos_embed"}),
        ("registers", {"patch_embed.proj", "cls_token", "reg_token", "pos_embed"}),
        ("distilled", {"patch_embed.proj", "cls_token", "dist_token", "pos_embed"}),
        ("mean_without_class_token", {"patch_embed.proj", "pos_embed"}),
    ],
)
def test_what_is_added_to_the_stream(variant: str, ends: set[str], small: Captured) -> None:
    graph = small(variant)[1]
    found = stream_terms(graph)
    layers = {f"blocks.{i}.{name}" for i in (0, 1) for name in ("attn.proj", "mlp.fc2")}
    assert set(found) == ends | layers
    assert found["blocks.1.mlp.fc2"].name == "blocks.1.add_1"
    for name, total in found.items():
        assert name in total.inputs
