# SPDX-License-Identifier: Apache-2.0
"""Gradients of a loss at inner tensors of the float network: the weights of PTQ4ViT's errors.

The paper's loss is the divergence of the quantized network's predictions from the float ones'. At
the float network it has its minimum, so its gradient is 0 there and weighs nothing. Both readings
below draw a direction in the space of logits instead and send it back through the network.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from aocq.capture import FloatGraph, run

BATCH = 4


def sampled_label_direction(logits: Tensor, seed: int) -> Tensor:
    """Return ``p - onehot(y)`` with labels y drawn from the network's own predictions p.

    It is the gradient of the cross-entropy to y; its second moment is the true Fisher information
    ``diag(p) - p pᵀ``. A dense result has a prediction, and so a label, for each token.

    Parameters
    ----------
    logits
        [images, ..., classes]
    """
    generator = torch.Generator().manual_seed(seed)
    probabilities = logits.double().softmax(-1).flatten(0, -2)
    labels = torch.multinomial(probabilities, 1, generator=generator)
    found = probabilities.scatter_add(1, labels, -torch.ones_like(probabilities))
    return found.reshape(logits.shape).to(logits)


def perturbed_direction(logits: Tensor, seed: int) -> Tensor:
    """Return ``(diag(p) - p pᵀ) ε`` with normal ε: the paper's gradient at logits moved by ε.

    To first order it is what ``softmax(logits + ε) - softmax(logits)`` becomes for small ε. The
    scale of ε is left out: it changes no choice between candidates.

    Parameters
    ----------
    logits
        [images, classes]
    """
    generator = torch.Generator().manual_seed(seed)
    p = logits.double().softmax(-1)
    moved = torch.randn(p.shape, generator=generator, dtype=p.dtype)
    return (p * (moved - (p * moved).sum(-1, keepdim=True))).to(logits)


def gradients(
    graph: FloatGraph, images: Tensor, directions: Tensor, names: Collection[str]
) -> dict[str, Tensor]:
    """Return ``Jᵀ d`` at the results of nodes, J being the Jacobian of the logits.

    Parameters
    ----------
    images
        [images, channels, height, width]
    directions
        d, [images, ..., classes]
    names
        nodes that the logits depend on

    Returns
    -------
    dict
        by name, [images, ...] in the shape of the node's result
    """
    parts: dict[str, list[Tensor]] = {name: [] for name in names}
    for batch, direction in zip(images.split(BATCH), directions.split(BATCH), strict=True):
        leaf = batch.detach().clone().requires_grad_()
        with torch.enable_grad():
            values = run(graph, {graph.input.name: leaf}, {*names, graph.output.name})
            found = torch.autograd.grad(
                values[graph.output.name],
                [values[name] for name in names],
                grad_outputs=direction,
            )
        for name, gradient in zip(names, found, strict=True):
            parts[name].append(gradient)
    return {name: torch.cat(found) for name, found in parts.items()}
