# SPDX-License-Identifier: Apache-2.0
"""Scores of all places at all widths: what their rounding is to blame for in the logits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from aocq.capture import FloatGraph
from aocq.methods.quantized_model import QuantizedModel
from aocq.search.places import Place
from aocq.search.rounding_scores import RoundingError, Score, rounding_shares


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizedNetwork:
    """A quantized network and the logits of its integers on the images of a score."""

    model: QuantizedModel
    logits: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerScores:
    """What rounding is to blame for, by place and bits.

    Attributes
    ----------
    scores
        of a place at a width, in the network with that width everywhere
    power
        of the float network's logits, a mean over images: noise is a share of it
    images
        how many
    """

    scores: Mapping[tuple[Place, int], Score]
    power: float
    images: int

    def shares(self) -> dict[tuple[Place, int], float]:
        """Return the noise of places at widths as shares of the logits' power."""
        return {key: score.noise / self.power for key, score in self.scores.items()}


def layer_scores(
    reference: FloatGraph,
    images: Tensor,
    networks: Mapping[int, QuantizedNetwork],
    places: Sequence[Place],
    on_progress: Callable[[int], None] = lambda images: None,
) -> LayerScores:
    """Return the scores of places at all of their widths.

    Those at widths that no network has are of the next one, a quarter for each bit more: steps are
    half as large then, and the power of rounding errors goes by their square.

    Parameters
    ----------
    reference
        the float network, in the form that was quantized
    images
        preprocessed, float32 [count, channels, height, width]
    networks
        by bits, with all weights quantized to so many by the method: the errors are those that it
        makes, biases that it fitted included
    """
    asked = [
        ([_error(reference, place, network.model) for place in places], network.logits)
        for network in networks.values()
    ]
    found = rounding_shares(reference, images, asked, on_progress)
    known = {
        (place, bits): score
        for bits, shares in zip(networks, found, strict=True)
        for place, score in zip(places, shares.scores, strict=True)
    }
    scores = {}
    for place in places:
        for bits in place.widths:
            near = min(networks, key=lambda other: (abs(other - bits), other))
            scores[place, bits] = _at(known[place, near], near, bits)
    return LayerScores(scores=scores, power=found[0].power, images=len(images))


def _at(score: Score, near: int, bits: int) -> Score:
    """Return a score at another width than it was found at."""
    factor = 4.0 ** (near - bits)
    return Score(noise=factor * score.noise, divergence=factor * score.divergence)


def _error(reference: FloatGraph, place: Place, model: QuantizedModel) -> RoundingError:
    """Return the error of a layer's result with a model's weights and bias, inputs being float."""
    node = reference.node(place.op)
    (source,) = node.inputs
    weight, bias = node.attributes["weight"], node.attributes["bias"]
    rounded = model.weights[weight].dequantized() - reference.parameters[weight].double()
    moved = None
    if bias:
        moved = torch.from_numpy(model.parameter(bias)) - reference.parameters[bias].double()

    def error(values: Mapping[str, Tensor]) -> Tensor:
        x = values[source]
        return functional.linear(x, rounded.to(x), None if moved is None else moved.to(x))

    return RoundingError(node=place.op, reads=(source,), error=error)
