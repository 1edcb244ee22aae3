# SPDX-License-Identifier: Apache-2.0
"""Attention roll-out against the definition, one value at a time."""

from __future__ import annotations

import pytest
import torch
from families import EXAMPLES
from tiny_models import SMALL, input_size, network, with_random_parameters
from tiny_quantized import TINY

from aocq.capture import FloatGraph, capture
from aocq.capture.token_grid import TokenGrid
from aocq.jobs.attention_rollout import rollout, rows_read
from aocq.zoo.models import timm


def by_definition(attention, tokens):
    """Of one image, in plain Python: products of (A + I) / 2."""
    whole = [[float(i == j) for j in range(tokens)] for i in range(tokens)]
    for heads in attention:
        mixed = [
            [(sum(head[i][j] for head in heads) / len(heads) + (i == j)) / 2 for j in range(tokens)]
            for i in range(tokens)
        ]
        whole = [
            [sum(mixed[i][k] * whole[k][j] for k in range(tokens)) for j in range(tokens)]
            for i in range(tokens)
        ]
    return whole


def probabilities(count, heads, tokens):
    generator = torch.Generator().manual_seed(3)
    scores = torch.randn(count, heads, tokens, tokens, generator=generator, dtype=torch.float64)
    return (3 * scores).softmax(-1)


CLASS_TOKEN = [0]
PATCHES = [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("rows", [CLASS_TOKEN, PATCHES, [0, 1], [0, *PATCHES]])
def test_rollout_is_the_product_of_all_attentions(rows):
    grid = TokenGrid(prefix=1, rows=2, columns=3)
    attention = [probabilities(2, 3, grid.tokens) for _ in range(3)]
    attention[1] = attention[1].flip(-1)
    found = rollout(attention, grid, mask(grid, rows))
    for image in range(2):
        whole = by_definition([each[image].tolist() for each in attention], grid.tokens)
        row = [sum(whole[i][j] for i in rows) / len(rows) for j in range(grid.tokens)]
        patches = torch.tensor(row[1:], dtype=torch.float64)
        expected = (patches / patches.max()).reshape(2, 3)
        torch.testing.assert_close(found[image], expected, atol=1e-12, rtol=0)


def mask(grid, rows):
    found = torch.zeros(grid.tokens, dtype=torch.bool)
    found[rows] = True
    return found


def test_rounded_probabilities_are_shares_again():
    """Codes of a row do not sum to 1: a row that lacks some is scaled, not weakened."""
    grid = TokenGrid(prefix=1, rows=1, columns=2)
    whole = probabilities(1, 2, 3)
    rows = torch.tensor([0.7, 0.9, 1.1], dtype=torch.float64)[:, None]
    averaged = whole.mean(1, keepdim=True)
    read = mask(grid, CLASS_TOKEN)
    found, expected = (rollout([each] * 2, grid, read) for each in (averaged * rows, averaged))
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)


def test_a_row_of_zeros_hands_on_its_own_token():
    """Where all probabilities round to 0, a block passes on the residual alone."""
    grid = TokenGrid(prefix=1, rows=1, columns=2)
    first, second = probabilities(1, 2, 3), probabilities(1, 2, 3).flip(-1)
    first[:, :, 0] = 0
    found = rollout([second, first], grid, mask(grid, CLASS_TOKEN))
    torch.testing.assert_close(found, rollout([second], grid, mask(grid, CLASS_TOKEN)))


@pytest.mark.parametrize("shape", [(1, 4, 2, 3, 3), (1, 2, 4, 4), (1, 2, 1, 5)])
def test_windows_and_class_attention_have_none(shape):
    grid = TokenGrid(prefix=1, rows=2, columns=2)
    assert rollout([torch.ones(shape)], grid, mask(grid, CLASS_TOKEN)) is None


@pytest.mark.parametrize(
    ("name", "prefix", "rows"),
    [
        ("vit_tiny_patch16_224", 1, [0]),
        ("vit_small_patch14_reg4_dinov2", 5, [0]),  # registers are behind the class token
        ("vit_relpos_small_patch16_224", 0, [0, 1, 2, 3]),
        ("naflexvit_base_patch16_gap", 4, [4, 5, 6, 7]),  # registers and no class token
    ],
)
def test_rows_are_those_that_the_head_reads(name, prefix, rows):
    stated = EXAMPLES[name]
    built = timm.create_model(name, pretrained=False, **stated.arguments)
    graph = capture(with_random_parameters(built), name, stated.input_size)
    grid = TokenGrid(prefix=prefix, rows=2, columns=2)
    assert rows_read(graph, grid).nonzero().flatten().tolist() == rows


def test_a_class_token_that_is_not_pooled_is_no_row():
    graph = capture(network("mean_then_norm"), "pooled", input_size(SMALL))
    grid = TokenGrid(prefix=1, rows=4, columns=4)
    assert rows_read(graph, grid).tolist() == [False] + [True] * 16


def test_rows_of_a_dense_result_are_the_patches():
    graph = capture(network("class_token", TINY), "tiny", input_size(TINY))
    norm = next(node for node in graph.nodes if node.name == "norm")
    upto = graph.nodes[: graph.nodes.index(norm) + 1]
    dense = FloatGraph(name="dense", nodes=upto, parameters=graph.parameters)
    grid = TokenGrid(prefix=1, rows=2, columns=2)
    assert rows_read(dense, grid).tolist() == [False, True, True, True, True]
