# SPDX-License-Identifier: Apache-2.0
"""After both stages: biases and the scales of weight rows, learned on the logits of the network.

The paper's stages end with the rounding. This last step is ours: all codes and all activation
scales stay, so that the chip computes the same operations; only the constants of its rescaling and
its biases learn from the error that all blocks make together. Images that it does not learn from
decide after how many epochs it stops, which may be none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from aocq.capture import FloatGraph, FloatOp, run
from aocq.methods.aocq.adaround import straight_through
from aocq.methods.quantized_model import Recipe
from aocq.methods.quantizers import ActivationQuantizer, QuantizedWeight

# One image of so many is kept apart, to judge by.
HELD_OUT = 8
BATCH = 10
# Of Adam: relative for scales; for biases relative to their layer's mean magnitude.
SCALE_RATE, BIAS_RATE = 2e-3, 6e-3

Weights = Mapping[str, QuantizedWeight]
Parameters = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Network:
    """The quantized network as a function of what is tuned.

    Attributes
    ----------
    factors
        by weight name, on the scales of its rows, [N, 1] or [1, 1]
    biases
        by bias name, [N]
    """

    graph: FloatGraph
    quantizers: Mapping[str, ActivationQuantizer]
    weights: Mapping[str, Tensor]
    factors: Parameters
    biases: Parameters

    def logits(self, images: Tensor) -> Tensor:
        """Return the logits of simulated quantization, with gradients straight through rounding."""
        source, target = self.graph.input.name, self.graph.output.name
        scaled = {name: weight * self.factors[name] for name, weight in self.weights.items()}
        feeds = {source: self.quantizers[source](images)}
        return run(
            self.graph,
            feeds,
            [target],
            transform=straight_through(self.quantizers),
            parameters=scaled | self.biases,
        )[target]

    def parameters(self) -> list[Tensor]:
        """Return everything that is tuned."""
        return [*self.factors.values(), *self.biases.values()]


def tune(
    graph: FloatGraph,
    quantizers: Mapping[str, ActivationQuantizer],
    weights: Weights,
    biases: Mapping[str, Tensor],
    images: Tensor,
    recipe: Recipe,
    on_step: Callable[[int], None],
) -> tuple[dict[str, QuantizedWeight], dict[str, Tensor]]:
    """Return weights with tuned scales, and tuned biases.

    Parameters
    ----------
    weights, biases
        what the second stage found; a bias that it left alone is tuned from the float one
    images
        [count, channels, height, width]; fewer than ``HELD_OUT`` are too few, and nothing is tuned
    on_step
        called with the number of images done since the last call
    """
    held, learned = _split(images)
    if not len(held):
        on_step(tuning_images(len(images), recipe))
        return dict(weights), dict(biases)
    network = _network(graph, quantizers, weights, biases)
    with torch.no_grad():
        held_target, target = (_float_logits(graph, part) for part in (held, learned))
    adam = torch.optim.Adam(_groups(network))
    steps = recipe.aocq.tuning_epochs * math.ceil(len(learned) / BATCH)
    fall = torch.optim.lr_scheduler.LambdaLR(
        adam, lambda step: 0.5 * (1 + math.cos(math.pi * step / max(steps, 1)))
    )
    generator = torch.Generator().manual_seed(recipe.seed)
    best, least = _copies(network), _error(network, held, held_target)
    for _ in range(recipe.aocq.tuning_epochs):
        for chosen in torch.randperm(len(learned), generator=generator).split(BATCH):
            loss = _loss(network.logits(learned[chosen]), target[chosen])
            adam.zero_grad()
            loss.backward()
            adam.step()
            fall.step()
            on_step(len(chosen))
        error = _error(network, held, held_target)
        on_step(len(held))
        if error < least:
            best, least = _copies(network), error
    factors = dict(zip(network.factors, best, strict=False))
    tuned = {
        name: replace(weight, scale=weight.scale * factors[name][:, 0].double().cpu().numpy())
        for name, weight in weights.items()
    }
    return tuned, dict(zip(network.biases, best[len(network.factors) :], strict=True))


def tuning_images(count: int, recipe: Recipe) -> int:
    """Return how many images :func:`tune` reports in all, of ``count`` for calibration."""
    return count * recipe.aocq.tuning_epochs


def _split(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the images to judge by, and those to learn from."""
    apart = torch.arange(len(images)) % HELD_OUT == HELD_OUT - 1
    return images[apart], images[~apart]


def _network(
    graph: FloatGraph,
    quantizers: Mapping[str, ActivationQuantizer],
    weights: Weights,
    biases: Mapping[str, Tensor],
) -> Network:
    device = next(iter(graph.parameters.values())).device
    names = [
        node.attributes["bias"]
        for node in graph.nodes
        if node.op is FloatOp.LINEAR and node.attributes["bias"]
    ]
    return Network(
        graph=graph,
        quantizers=quantizers,
        weights={name: weight.dequantized().float().to(device) for name, weight in weights.items()},
        factors={
            name: torch.ones(len(weight.scale), 1, device=device).requires_grad_()
            for name, weight in weights.items()
        },
        biases={
            name: biases.get(name, graph.parameters[name])
            .detach()
            .float()
            .to(device)
            .clone()
            .requires_grad_()
            for name in names
        },
    )


def _groups(network: Network) -> list[dict[str, object]]:
    """Return Adam's parameters, each with the length of its steps."""
    scales = [{"params": [factor], "lr": SCALE_RATE} for factor in network.factors.values()]
    biases = [
        {"params": [bias], "lr": BIAS_RATE * float(bias.detach().abs().mean())}
        for bias in network.biases.values()
    ]
    return [*scales, *biases]


def _loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return the squared error relative to the squared logits."""
    return ((logits - target) ** 2).sum() / (target**2).sum()


def _error(network: Network, images: Tensor, target: Tensor) -> float:
    with torch.no_grad():
        logits = torch.cat([network.logits(part) for part in images.split(BATCH)])
        return float(_loss(logits, target))


def _float_logits(graph: FloatGraph, images: Tensor) -> Tensor:
    source, target = graph.input.name, graph.output.name
    return torch.cat([run(graph, {source: part}, [target])[target] for part in images.split(BATCH)])


def _copies(network: Network) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in network.parameters()]
