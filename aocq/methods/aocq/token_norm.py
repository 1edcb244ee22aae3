# SPDX-License-Identifier: Apache-2.0
"""The loss level: a reconstruction loss in which extreme tokens do not drown the others.

The next operation is a LayerNorm, whose first-order response to an error is the error divided by
the token's deviation: what counts is the error relative to the token's norm. Reconstruction of the
paper's "token-norm function" (FITEE 2025, doi 10.1631/FITEE.2400994), whose text is not public.
"""

from __future__ import annotations

from torch import Tensor

from aocq.methods.aocq.options import AocqOptions

# Relative to the mean norm: keeps tokens of almost no deviation from taking all the weight.
SMALLEST_NORM = 1e-2


def token_weights(y: Tensor, options: AocqOptions, importance: Tensor | float = 1.0) -> Tensor:
    """Return the weight of every token of ``y`` [..., tokens, C], with mean 1, [..., tokens, 1].

    ``w_t = importance_t / (‖y_t - mean(y_t)‖ + ε)^q`` with ``q = norm_exponent``, which is 0 for
    plain MSE; ``importance`` [tokens, 1] is that of
    :func:`aocq.methods.aocq.tokens.token_importance`.
    """
    exponent = options.norm_exponent if options.loss == "token_norm" else 0.0
    norms = (y - y.mean(-1, keepdim=True)).norm(dim=-1, keepdim=True)
    weights: Tensor = importance * (norms + SMALLEST_NORM * norms.mean()) ** -exponent
    return weights / weights.mean()


def block_loss(
    result: Tensor, target: Tensor, weights: Tensor, channels: Tensor | float = 1.0
) -> Tensor:
    """Return ``mean_t w_t ‖c ⊙ (ŷ_t - y_t)‖²``, relative to ``mean_t w_t ‖c ⊙ y_t‖²``.

    Shapes: ``result``, ``target`` [..., tokens, C]; ``weights`` as of :func:`token_weights`;
    ``channels`` c, [C] or 1.
    """
    error = (weights * (channels * (result - target)) ** 2).sum()
    return error / (weights * (channels * target) ** 2).sum()
