# SPDX-License-Identifier: Apache-2.0
"""Attention roll-out: how much of each patch reaches the output, through all attentions.

Abnar and Zuidema, arXiv 2005.00928: the probabilities of a block, averaged over its heads, are one
half of what its tokens are made of, the tokens themselves the other, for the sake of the residual
stream; the matrices of all blocks are multiplied.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from aocq.capture import FloatGraph
from aocq.capture.residual_stream import residual_stream
from aocq.capture.token_grid import TokenGrid
from aocq.jobs.class_activation import scaled
from aocq.methods.aocq.tokens import tokens_read


def rows_read(graph: FloatGraph, grid: TokenGrid) -> Tensor:
    """Return which tokens behind the last block the result is made of, bool [tokens].

    A class token, or what is pooled; the patches of a dense result, which has a row for each token,
    and where no block ends in tokens of the grid.

    Parameters
    ----------
    grid
        where the patches are among the tokens
    """
    read, stream = tokens_read(graph), residual_stream(graph)
    patches = torch.arange(grid.tokens) >= grid.prefix
    behind = (read[node.name] for node in reversed(graph.nodes) if node.name in stream)
    rows = next((found for found in behind if len(found) == grid.tokens), patches)
    return rows & patches if len(graph.output.shape) > 1 else rows


def rollout(attention: Sequence[Tensor], grid: TokenGrid, rows: Tensor) -> Tensor | None:
    """Return how much of each patch reaches the result, 0..1, float64 [count, rows, columns].

    None where not every token attends to every other in all attentions, as in windows or in
    attention of the class token alone.

    Parameters
    ----------
    attention
        probabilities of every softmax, in order, [count, heads, tokens, tokens]
    grid
        where the patches are among the tokens
    rows
        tokens whose mean is the result, bool [tokens]: see :func:`rows_read`
    """
    tokens = grid.tokens
    if any(found.ndim != 4 or found.shape[-2:] != (tokens, tokens) for found in attention):
        return None
    mixed = torch.eye(tokens, dtype=torch.float64)
    whole = mixed.expand(len(attention[0]), tokens, tokens)
    for found in attention:
        heads = found.double().mean(1)
        sums = heads.sum(-1, keepdim=True)  # rounded to codes, a row's sum is not quite 1
        heads = torch.where(sums > 0, heads / sums, mixed)  # of zeros, the residual is all there is
        whole = (heads + mixed) / 2 @ whole
    row = whole[:, rows].mean(1)
    return scaled(row[:, grid.prefix :].unflatten(1, (grid.rows, grid.columns)))
