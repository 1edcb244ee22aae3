# SPDX-License-Identifier: Apache-2.0
"""Which tokens lead to the logits, and how much each one counts."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from test_aocq_blocks import VARIANTS
from tiny_models import SMALL, images, input_size
from torch import Tensor, nn

from aocq.capture import FloatGraph, FloatNode, run
from aocq.methods.aocq.tokens import token_importance, tokens_read
from aocq.recipes.aocq_options import AocqOptions

Captured = Callable[[str], tuple[nn.Module, FloatGraph]]


def tokens_with_gradient(graph: FloatGraph) -> dict[str, Tensor]:
    """Return for every node which of its tokens change the result, by back-propagation."""
    added: dict[str, Tensor] = {}

    def offset(node: FloatNode, x: Tensor) -> Tensor:
        added[node.name] = torch.zeros_like(x, requires_grad=True)
        return x + added[node.name]

    x = images(2, input_size(SMALL))
    result = run(graph, {graph.input.name: x}, [graph.output.name], transform=offset)
    torch.manual_seed(0)
    (result[graph.output.name] * torch.randn_like(result[graph.output.name])).sum().backward()
    found = {}
    for name, zeros in added.items():
        assert zeros.grad is not None
        tokens = zeros.grad.abs().sum(-1).reshape(zeros.shape[0], -1)
        found[name] = tokens.sum(0) > 0
    return found


@pytest.mark.parametrize("variant", VARIANTS)
def test_tokens_that_are_read_are_those_with_a_gradient(variant: str, small: Captured) -> None:
    graph = small(variant)[1]
    read, moved = tokens_read(graph), tokens_with_gradient(graph)
    for node in graph.nodes:
        if node.name in moved:
            # No token with a gradient is missed; where tokens stay tokens, none is added either.
            assert not bool((moved[node.name] & ~read[node.name]).any()), node.name
            if len(node.shape) == 2:
                assert torch.equal(moved[node.name], read[node.name]), node.name


def test_only_the_class_token_is_read_behind_the_last_attention(small: Captured) -> None:
    read = tokens_read(small("class_token")[1])
    for name in ("blocks.1.attn.proj", "blocks.1.mlp.fc1", "blocks.1.mlp.fc2", "blocks.1.add_1"):
        assert torch.nonzero(read[name]).flatten().tolist() == [0]
    assert bool(read["blocks.1.attn.qkv"].all())
    assert bool(read["blocks.0.add_1"].all())


def test_tokens_that_nothing_reads_count_as_one_token_together(small: Captured) -> None:
    graph = small("class_token")[1]
    found = token_importance(graph, AocqOptions(class_token_weight=1.0))
    weights = found["blocks.1.mlp.fc2"]
    assert weights.shape == (len(weights), 1)
    assert float(weights[0]) == 1
    assert float(weights[1:].sum()) == pytest.approx((len(weights) - 1) / len(weights))
    assert bool((found["blocks.0.mlp.fc2"] == 1).all())


def test_the_class_token_counts_as_often_as_asked(small: Captured) -> None:
    graph = small("class_token")[1]
    found = token_importance(graph, AocqOptions(class_token_weight=5.0))
    assert found["blocks.0.mlp.fc2"][:2].flatten().tolist() == [5, 1]
    assert float(found["blocks.1.mlp.fc2"][0]) == 5


@pytest.mark.parametrize("variant", ["mean_of_all_tokens", "mean_then_norm"])
def test_a_network_that_takes_a_mean_has_no_class_token(variant: str, small: Captured) -> None:
    graph = small(variant)[1]
    found = token_importance(graph, AocqOptions(class_token_weight=5.0))
    assert all(float(weights.max()) == 1 for weights in found.values())
