# SPDX-License-Identifier: Apache-2.0
"""Which channels of which tensor form which head: found by tracing, known from timm's layout."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

from aocq.capture import FloatGraph, run
from aocq.methods.operands import row_blocks, trace_operand

Captured = Callable[[str], tuple[nn.Module, FloatGraph]]


@pytest.mark.parametrize(("product", "side", "first"), [("scores", 0, 0), ("scores", 1, 24)])
def test_heads_of_q_and_k_are_channels_of_the_joint_layer(
    product: str, side: int, first: int, nano: Captured
) -> None:
    """timm's layer yields Q, K, V in a row, each head by head: 3 x 3 heads of 8 channels."""
    _, graph = nano("class_token")
    found = trace_operand(graph, graph.node(f"blocks.0.attn.{product}"), side)
    assert (found.source, found.axis) == ("blocks.0.attn.qkv", -1)
    assert found.heads == tuple(
        tuple(range(first + 8 * head, first + 8 * head + 8)) for head in range(3)
    )
    assert found.factor == pytest.approx(8**-0.5 if side == 0 else 1.0)


def test_probabilities_are_told_apart_by_their_own_dimension_and_values_by_channels(
    nano: Captured,
) -> None:
    _, graph = nano("class_token")
    left, right = (trace_operand(graph, graph.node("blocks.0.attn.context"), i) for i in (0, 1))
    assert (left.source, left.axis) == ("blocks.0.attn.probabilities", -3)
    assert left.heads == ((0,), (1,), (2,))
    assert (right.source, right.heads[2]) == ("blocks.0.attn.qkv", tuple(range(64, 72)))


def test_a_normalized_operand_comes_from_its_normalization(nano: Captured) -> None:
    _, graph = nano("qk_norm")
    found = trace_operand(graph, graph.node("blocks.0.attn.scores"), 1)
    assert (found.source, found.axis) == ("blocks.0.attn.k_norm", -3)
    assert found.heads == ((0,), (1,), (2,))


def test_scaling_the_traced_channels_scales_that_head_and_no_other(small: Captured) -> None:
    _, graph = small("class_token")
    product = graph.node("blocks.1.attn.scores")
    operand = trace_operand(graph, product, 0)
    qkv = torch.randn(
        1, *graph.node(operand.source).shape, generator=torch.Generator().manual_seed(0)
    )
    louder = qkv.clone()
    louder[..., list(operand.heads[1])] *= 3
    before = run(graph, {operand.source: qkv}, [product.name])[product.name]
    after = run(graph, {operand.source: louder}, [product.name])[product.name]
    torch.testing.assert_close(after[:, 1], 3 * before[:, 1])
    assert torch.equal(after[:, 0], before[:, 0])
    assert torch.equal(after[:, 2], before[:, 2])


def test_rows_of_the_joint_layer_form_three_blocks_and_other_layers_one(nano: Captured) -> None:
    for variant in ("class_token", "qk_norm", "one_head"):
        _, graph = nano(variant)
        blocks = row_blocks(graph, graph.node("blocks.0.attn.qkv"))
        assert blocks == tuple(tuple(range(24 * i, 24 * i + 24)) for i in range(3)), variant
    for name, rows in (("blocks.0.attn.proj", 24), ("blocks.0.mlp.fc1", 96), ("head", 10)):
        assert row_blocks(graph, graph.node(name)) == (tuple(range(rows)),)


@pytest.mark.parametrize(
    ("parts", "blocks"),
    [
        (((0, 36), (36, 72)), 2),
        (((0, 24), (24, 72)), 1),  # not alike
        (((0, 48), (24, 72)), 1),  # shared rows
        (((0, 24), (24, 48)), 1),  # rows without a reader
    ],
)
def test_only_readers_that_share_rows_out_evenly_make_blocks(
    parts: tuple[tuple[int, int], ...], blocks: int, nano: Captured
) -> None:
    _, graph = nano("class_token")
    act, part = graph.node("blocks.0.mlp.act"), graph.node("blocks.0.attn.slice")
    nodes = list(graph.nodes[: graph.nodes.index(graph.node("blocks.0.attn.qkv")) + 1])
    for start, stop in parts:
        cut = {"axis": 1, "start": start, "stop": stop}
        shape = (5, stop - start)
        nodes += [
            replace(
                part,
                name=f"part_{start}",
                inputs=("blocks.0.attn.qkv",),
                attributes=cut,
                shape=shape,
            ),
            replace(act, name=f"act_{start}", inputs=(f"part_{start}",), shape=shape),
        ]
    changed = replace(graph, nodes=tuple(nodes))
    found = row_blocks(changed, changed.node("blocks.0.attn.qkv"))
    assert len(found) == blocks
    assert sorted(row for block in found for row in block) == list(range(72))
