# SPDX-License-Identifier: Apache-2.0
"""Shares of single rounding errors in the noise of a quantized network's logits.

An error δ at the result of a node moves the logits by J δ, to first order, J being the Jacobian of
the float network there. The errors of all nodes add up to that of the logits, e ≈ Σ J δ, and so
does the noise: ||e||² = Σ eᵀ J δ. The share of a node, eᵀ J δ, is its noise of its own, ||J δ||²,
and its products with all others: an error that makes up for earlier ones, as AOCQ's closed form
chooses them, is credited with what it makes up for. (It is the node's Shapley value in the noise:
the mean of what noise falls by, over all orders in which errors may be taken away.)

With the Fisher information of the predictions p in the space of logits, F = diag(p) - p pᵀ, half of
(F e)ᵀ J δ is the node's share of the divergence KL(p || p'), in nats, to second order. F is exact:
no labels have to be drawn.

Both shares of all nodes take one pass over images: e of each image is what the integers yield less
what the float network does, and one back-propagation of e (and one of F e) meets all errors.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from aocq.capture import FloatGraph, run
from aocq.capture.parts import parts_of


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundingErrors:
    """The errors that rounded numbers make in one quantized network, and what comes of them.

    Attributes
    ----------
    nodes
        at whose results they arise; a node may have several
    reads
        nodes of the float network whose values they depend on
    errors
        of images [count, ...] and of these values by name: the error at each of the nodes, in the
        shape of its result
    logits
        of the quantized network, [all images, ..., classes]
    """

    nodes: Sequence[str]
    reads: Collection[str]
    errors: Callable[[Tensor, Mapping[str, Tensor]], Sequence[Tensor]]
    logits: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """An error's share of what its network's logits lack, a mean over images.

    Attributes
    ----------
    noise
        of the power of the logits' error, summed over the logits of an image
    divergence
        of the divergence of the predictions, in nats
    """

    noise: float
    divergence: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """What the errors of one quantized network do, and what all of its errors do.

    Attributes
    ----------
    scores
        of single errors, in their order
    noise
        power of the logits' error
    power
        of the float network's logits
    """

    scores: Sequence[Score]
    noise: float
    power: float


def rounding_shares(
    graph: FloatGraph,
    images: Tensor,
    networks: Sequence[RoundingErrors],
    on_progress: Callable[[int], None] = lambda images: None,
) -> list[Shares]:
    """Return the shares of the errors of several quantized networks, in their order.

    Parameters
    ----------
    graph
        the float network that all of them are of
    images
        preprocessed, float32 [count, channels, height, width]
    on_progress
        called with a number of images that are done
    """
    output = graph.output.name
    places = list(dict.fromkeys(name for network in networks for name in network.nodes))
    reads = {name for network in networks for name in network.reads}
    totals = [torch.zeros(len(network.nodes), 2, dtype=torch.float64) for network in networks]
    noise, power = [0.0] * len(networks), 0.0
    for part in parts_of(len(images)):
        leaf = images[part].clone().requires_grad_()
        with torch.enable_grad():
            values = run(graph, {graph.input.name: leaf}, {output, *places, *reads})
        known = {name: value.detach() for name, value in values.items()}
        logits = known[output].double()
        power += float(logits.square().sum())
        # What no image reaches, such as a class token, is the same in all of them.
        reached = [name for name in places if values[name].requires_grad]
        for number, network in enumerate(networks):
            error = network.logits[part].double() - logits
            noise[number] += float(error.square().sum())
            with torch.no_grad():
                own = network.errors(images[part], known)
            for kind, direction in enumerate((error, _fisher(logits, error) / 2)):
                gradients = torch.autograd.grad(
                    values[output],
                    [values[name] for name in reached],
                    grad_outputs=direction.to(values[output]),
                    retain_graph=True,
                )
                of_place = dict(zip(reached, gradients, strict=True))
                for place, (name, moved) in enumerate(zip(network.nodes, own, strict=True)):
                    if name in of_place:
                        share = (of_place[name] * moved).double().sum()
                        totals[number][place, kind] += share
        on_progress(part.stop - part.start)
    count = len(images)
    return [
        Shares(
            scores=[Score(noise=a / count, divergence=b / count) for a, b in total.tolist()],
            noise=own_noise / count,
            power=power / count,
        )
        for total, own_noise in zip(totals, noise, strict=True)
    ]


def _fisher(logits: Tensor, error: Tensor) -> Tensor:
    """Return ``(diag(p) - p pᵀ) error`` of predictions p, along the last dimension."""
    p = logits.softmax(-1)
    return p * (error - (p * error).sum(-1, keepdim=True))
