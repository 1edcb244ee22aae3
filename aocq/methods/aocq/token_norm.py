# SPDX-License-Identifier: Apache-2.0
"""Token-norm reconstruction loss: extreme tokens do not drown the others (AOCQ's loss level).

The next operation is a LayerNorm, whose first-order response to an error is the error divided by
the token's deviation: what counts is the error relative to the token's norm. Reconstruction of the
paper's "token-norm function" (FITEE 2025, doi 10.1631/FITEE.2400994), whose text is not public.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from aocq.capture import FloatGraph, FloatOp
from aocq.methods.quantizers import ActivationQuantizer, Quantizer
from aocq.recipes.aocq_options import AocqOptions

# Relative to the mean norm: keeps tokens of almost no deviation from taking all the weight.
SMALLEST_NORM = 1e-2


def token_weights(y: Tensor, options: AocqOptions, importance: Tensor | float = 1.0) -> Tensor:
    """Return the weight of every token of ``y`` [..., tokens, C], with mean 1, [..., tokens, 1].

    ``w_t = importance_t / (‖y_t - mean(y_t)‖ + ε)^q`` with ``q = norm_exponent``, which is 0 for
    plain MSE; ``importance`` [..., tokens, 1] is that of
    :func:`aocq.methods.aocq.tokens.token_importance`.
    """
    exponent = options.norm_exponent if options.loss == "token_norm" else 0.0
    norms = (y - y.mean(-1, keepdim=True)).norm(dim=-1, keepdim=True)
    if not bool(norms.any()):  # a single channel, or nothing but constant tokens
        norms = torch.ones_like(norms)
    weights: Tensor = importance * (norms + SMALLEST_NORM * norms.mean()) ** -exponent
    return weights / weights.mean()


def channel_factors(
    graph: FloatGraph, name: str, quantizer: Quantizer | None, options: AocqOptions
) -> Tensor:
    """Return the channel factors of the loss by ``loss_channels``, [C] or [1].

    1 for a tensor without α, or that no LayerNorm reads.
    """
    plain = torch.ones(1)
    alpha = quantizer.alpha if isinstance(quantizer, ActivationQuantizer) else ()
    if options.loss_channels == "alpha" and alpha:
        return 1 / torch.tensor(alpha)
    if options.loss_channels == "gamma":
        for node in graph.nodes:
            if node.op is FloatOp.LAYERNORM and name in node.inputs and node.attributes["weight"]:
                gamma: Tensor = graph.parameters[node.attributes["weight"]]
                return gamma.abs()
    return plain


@dataclass(frozen=True, slots=True)
class BlockLoss:
    """``Σ w_t ‖c ⊙ (ŷ_t - y_t)‖²``, relative to ``Σ w_t ‖c ⊙ y_t‖²``, for a block's result ŷ.

    Attributes
    ----------
    target
        y, the float network's, [images, ..., tokens, C]
    weights
        w, as of :func:`token_weights`
    channels
        c, [C] or [1]
    """

    target: Tensor
    weights: Tensor
    channels: Tensor

    def __call__(self, result: Tensor, images: Tensor | slice = slice(None)) -> Tensor:
        """Return the loss of ``result``, which belongs to some of the images, or to all."""
        error, power = self.sums(result, images)
        return error / power

    def sums(self, result: Tensor, images: Tensor | slice) -> tuple[Tensor, Tensor]:
        """Return error and power: both sums of the quotient."""
        return self.error(result, images), self.power(images)

    def error(self, result: Tensor, images: Tensor | slice = slice(None)) -> Tensor:
        """Return the sum above the quotient's line."""
        target, weights = self.target[images], self.weights[images]
        return (weights * (self.channels * (result - target)) ** 2).sum()

    def power(self, images: Tensor | slice = slice(None)) -> Tensor:
        """Return the sum below the quotient's line."""
        target, weights = self.target[images], self.weights[images]
        return (weights * (self.channels * target) ** 2).sum()


def block_loss(
    graph: FloatGraph,
    name: str,
    target: Tensor,
    quantizer: Quantizer | None,
    importance: Tensor,
    options: AocqOptions,
) -> BlockLoss:
    """Return the loss of a block that ends in ``name``.

    Parameters
    ----------
    target
        the float network's values of ``name``
    quantizer
        that of ``name``, if it has one of its own
    importance
        of its tokens, see :func:`aocq.methods.aocq.tokens.token_importance`

    Notes
    -----
    No LayerNorm reads a dense result (tokens of columns): its tokens count alike. Its columns are
    quantities of their own, such as class logits and lengths, and each counts by its deviation.
    """
    if options.loss == "token_norm" and name == graph.output.name and target.ndim > 2:
        alike = (importance / importance.mean()).to(target).expand_as(target[..., :1])
        return BlockLoss(target, alike, 1 / column_deviations(target.flatten(0, -2)))
    weights = token_weights(target, options, importance.to(target))
    return BlockLoss(target, weights, channel_factors(graph, name, quantizer, options).to(target))


def column_deviations(rows: Tensor) -> Tensor:
    """Return the deviation of every column of [N, C] from its mean; 1 where it is constant."""
    found = rows.std(0, correction=0)
    return torch.where(found > 0, found, torch.ones_like(found))
