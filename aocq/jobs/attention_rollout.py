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

from aocq.capture.token_grid import TokenGrid
from aocq.jobs.class_activation import scaled


def rollout(attention: Sequence[Tensor], grid: TokenGrid) -> Tensor | None:
    """Return how much of each patch is in the class token, 0..1, float64 [count, rows, columns].

    Without a class token: in the mean of all tokens. None where not every token attends to every
    other in all attentions, as in windows or in attention of the class token alone.

    Parameters
    ----------
    attention
        probabilities of every softmax, in order, [count, heads, tokens, tokens]
    grid
        where the patches are among the tokens
    """
    tokens = grid.tokens
    if any(found.ndim != 4 or found.shape[-2:] != (tokens, tokens) for found in attention):
        return None
    mixed = torch.eye(tokens, dtype=torch.float64)
    whole = mixed.expand(len(attention[0]), tokens, tokens)
    for found in attention:
        heads = found.double().mean(1)
        heads = heads / heads.sum(-1, keepdim=True)  # rounded to codes, a row's sum is not quite 1
        whole = (heads + mixed) / 2 @ whole
    row = whole[:, 0] if grid.prefix else whole.mean(1)
    return scaled(row[:, grid.prefix :].unflatten(1, (grid.rows, grid.columns)))
