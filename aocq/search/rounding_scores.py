# SPDX-License-Identifier: Apache-2.0
"""What rounding errors inside a network do to its logits, to first order, from one pass over images.

An error δ at the result of a node moves the logits by J δ, J being the Jacobian of the float
network. With a direction d in the space of logits, gᵀδ = dᵀ J δ costs one back-propagation for all
errors of the network together. Two kinds of directions give the two scores:

- signs drawn at random, E[d dᵀ] = I: E[(gᵀδ)²] = ||J δ||², the power of the logits' noise;
- ``p - onehot(y)`` with labels y drawn from the network's own predictions p: E[(gᵀδ)²] = δᵀ F δ with
  the true Fisher information F of the node's result, half of which is the divergence
  KL(p || p') of the predictions, in nats, to second order.

δ is the actual rounding error of all codes together, so that the Fisher information counts with its
off-diagonal elements: errors that a method lets cancel each other (GPTQ) do so here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from aocq.capture import FloatGraph, run
from aocq.capture.parts import parts_of
from aocq.methods.fisher import sampled_label_direction

PROBES = 4  # directions of each kind for every image


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundingError:
    """The error that rounded numbers make at one place of a network.

    Attributes
    ----------
    node
        at whose result it arises
    reads
        nodes whose values it depends on
    error
        of these values by name, [images, ...]: the error [images, ...] in the result's shape
    """

    node: str
    reads: tuple[str, ...]
    error: Callable[[Mapping[str, Tensor]], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What an error does to the logits, a mean over images.

    Attributes
    ----------
    noise
        power of the logits' error, summed over the logits of an image
    divergence
        of the predictions, in nats for each image
    """

    noise: float
    divergence: float


def rounding_scores(
    graph: FloatGraph,
    images: Tensor,
    errors: Sequence[RoundingError],
    *,
    seed: int = 0,
    on_progress: Callable[[int], None] = lambda images: None,
) -> tuple[list[Score], float]:
    """Return the score of every error, in their order, and the power of the float logits.

    Parameters
    ----------
    images
        preprocessed, float32 [count, channels, height, width]
    seed
        of the directions
    on_progress
        called with a number of images that are done

    Returns
    -------
    scores, power
        ``power`` is the mean over images of Σ logit²
    """
    totals = torch.zeros(len(errors), 2, dtype=torch.float64)
    power, output = 0.0, graph.output.name
    places = list(dict.fromkeys(each.node for each in errors))
    for number, part in enumerate(parts_of(len(images))):
        leaf = images[part].clone().requires_grad_()
        fetches = {output, *places, *(name for each in errors for name in each.reads)}
        with torch.enable_grad():
            values = run(graph, {graph.input.name: leaf}, fetches)
        logits = values[output].detach()
        power += float(logits.double().square().sum())
        known = {name: value.detach() for name, value in values.items()}
        with torch.inference_mode():
            found = [each.error(known) for each in errors]
        for probe in range(PROBES):
            own_seed = (seed * len(images) + number) * PROBES + probe
            for kind, direction in enumerate(_directions(logits, own_seed)):
                gradients = torch.autograd.grad(
                    values[output],
                    [values[name] for name in places],
                    grad_outputs=direction,
                    retain_graph=True,
                )
                of_place = dict(zip(places, gradients, strict=True))
                with torch.inference_mode():
                    for place, (each, error) in enumerate(zip(errors, found, strict=True)):
                        moved = (of_place[each.node] * error).flatten(1).double().sum(1)
                        totals[place, kind] += moved.square().sum()
        on_progress(part.stop - part.start)
    totals /= len(images) * PROBES
    scores = [
        Score(noise=float(noise), divergence=float(fisher) / 2) for noise, fisher in totals.tolist()
    ]
    return scores, power / len(images)


def _directions(logits: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Return random signs, and the gradient of the cross-entropy to sampled labels."""
    generator = torch.Generator().manual_seed(seed)
    signs = torch.randint(0, 2, logits.shape, generator=generator).to(logits) * 2 - 1
    return signs, sampled_label_direction(logits, seed)
