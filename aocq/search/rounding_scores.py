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
what the float network does, and one back-propagation of e (and one of F e) meets all errors. The
noise of a node alone, ||J δ||², takes some more: it is the mean of (dᵀ J δ)² over directions d of
random signs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from aocq.capture import FloatGraph, run
from aocq.capture.parts import parts_of

PROBES = 4  # directions of random signs for every image


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
    alone
        power that the logits' error would have, were it the only error
    """

    noise: float
    divergence: float
    alone: float

    def times(self, factor: float) -> Score:
        """Return the score of an error with so many times the power."""
        return Score(
            noise=factor * self.noise,
            divergence=factor * self.divergence,
            alone=factor * self.alone,
        )


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
    *,
    seed: int = 0,
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
    seed
        of the random signs
    """
    generator = torch.Generator().manual_seed(seed)
    totals = [torch.zeros(len(network.nodes), 3, dtype=torch.float64) for network in networks]
    noise, power = [0.0] * len(networks), 0.0
    for part in parts_of(len(images)):
        back = _BackPropagation.through(graph, images[part], networks)
        power += float(back.logits.square().sum())
        random = [back.to_nodes(_signs(back.logits, generator)) for _ in range(PROBES)]
        for number, network in enumerate(networks):
            error = network.logits[part].double() - back.logits
            noise[number] += float(error.square().sum())
            with torch.no_grad():
                errors = network.errors(images[part], back.known)
            ends = back.to_nodes(error), back.to_nodes(_fisher(back.logits, error) / 2)
            for place, (name, moved) in enumerate(zip(network.nodes, errors, strict=True)):
                if name in back.reached:
                    shares = [_moves(pulled[name], moved).sum() for pulled in ends]
                    alone = [_moves(pulled[name], moved).square().sum() for pulled in random]
                    totals[number][place] += torch.stack([*shares, torch.stack(alone).mean()])
        on_progress(part.stop - part.start)
    count = len(images)
    return [
        Shares(
            scores=[
                Score(noise=a / count, divergence=b / count, alone=c / count)
                for a, b, c in total.tolist()
            ],
            noise=own_noise / count,
            power=power / count,
        )
        for total, own_noise in zip(totals, noise, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class _BackPropagation:
    """A run of the float network, and the way back from its logits to nodes.

    Attributes
    ----------
    reached
        those of the nodes that depend on the images; others, such as a class token, are the same in
        all of them
    known
        values of nodes, without their gradients
    """

    output: Tensor
    values: Mapping[str, Tensor]
    reached: Sequence[str]
    known: Mapping[str, Tensor]

    @classmethod
    def through(
        cls, graph: FloatGraph, images: Tensor, networks: Sequence[RoundingErrors]
    ) -> _BackPropagation:
        """Run images [count, ...] through a network."""
        nodes = list(dict.fromkeys(name for network in networks for name in network.nodes))
        reads = {name for network in networks for name in network.reads}
        leaf, output = images.clone().requires_grad_(), graph.output.name
        with torch.enable_grad():
            values = run(graph, {graph.input.name: leaf}, {output, *nodes, *reads})
        return cls(
            output=values[output],
            values=values,
            reached=[name for name in nodes if values[name].requires_grad],
            known={name: value.detach() for name, value in values.items()},
        )

    @property
    def logits(self) -> Tensor:
        """Logits [images, ..., classes], float64."""
        return self.output.detach().double()

    def to_nodes(self, direction: Tensor) -> dict[str, Tensor]:
        """Return ``Jᵀ direction`` at the nodes that are reached, by name."""
        found = torch.autograd.grad(
            self.output,
            [self.values[name] for name in self.reached],
            grad_outputs=direction.to(self.output),
            retain_graph=True,
        )
        return dict(zip(self.reached, found, strict=True))


def _signs(logits: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randint(0, 2, logits.shape, generator=generator) * 2 - 1


def _moves(pulled: Tensor, error: Tensor) -> Tensor:
    """Return how far an error moves each image's logits in a direction, [images]."""
    return (pulled * error).double().flatten(1).sum(1)


def _fisher(logits: Tensor, error: Tensor) -> Tensor:
    """Return ``(diag(p) - p pᵀ) error`` of predictions p, along the last dimension."""
    p = logits.softmax(-1)
    return p * (error - (p * error).sum(-1, keepdim=True))
