# SPDX-License-Identifier: Apache-2.0
"""Attention roll-out against the definition, one value at a time."""

from __future__ import annotations

import pytest
import torch

from aocq.capture.token_grid import TokenGrid
from aocq.jobs.attention_rollout import rollout


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


@pytest.mark.parametrize("prefix", [0, 1, 2])
def test_rollout_is_the_product_of_all_attentions(prefix):
    grid = TokenGrid(prefix=prefix, rows=2, columns=3)
    attention = [probabilities(2, 3, grid.tokens) for _ in range(3)]
    attention[1] = attention[1].flip(-1)
    found = rollout(attention, grid)
    for image in range(2):
        whole = by_definition([each[image].tolist() for each in attention], grid.tokens)
        row = whole[0] if prefix else [sum(column) / 6 for column in zip(*whole, strict=True)]
        patches = torch.tensor(row[prefix:], dtype=torch.float64)
        expected = (patches / patches.max()).reshape(2, 3)
        torch.testing.assert_close(found[image], expected, atol=1e-12, rtol=0)


def test_rounded_probabilities_are_shares_again():
    """Codes of a row do not sum to 1: a row that lacks some is scaled, not weakened."""
    grid = TokenGrid(prefix=1, rows=1, columns=2)
    whole = probabilities(1, 2, 3)
    rows = torch.tensor([0.7, 0.9, 1.1], dtype=torch.float64)[:, None]
    averaged = whole.mean(1, keepdim=True)
    found, expected = (rollout([each] * 2, grid) for each in (averaged * rows, averaged))
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("shape", [(1, 4, 2, 3, 3), (1, 2, 4, 4), (1, 2, 1, 5)])
def test_windows_and_class_attention_have_none(shape):
    grid = TokenGrid(prefix=1, rows=2, columns=2)
    assert rollout([torch.ones(shape)], grid) is None
