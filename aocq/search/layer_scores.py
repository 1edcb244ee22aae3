# SPDX-License-Identifier: Apache-2.0
"""Scores of all layers' weights at all widths: what their rounding does to the logits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from aocq.capture import FloatGraph
from aocq.methods.quantized_model import QuantizedModel
from aocq.search.places import Place
from aocq.search.rounding_scores import RoundingError, Score, rounding_scores


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerScores:
    """What rounding does, by place and bits.

    Attributes
    ----------
    scores
        of the weights of a place at a width
    power
        of the float network's logits, a mean over images: noise is a share of it
    images
        how many
    """

    scores: Mapping[tuple[Place, int], Score]
    power: float
    images: int

    def share(self, place: Place, bits: int) -> float:
        """Return a place's noise at a width as a share of the logits' power."""
        return self.scores[place, bits].noise / self.power


def layer_scores(
    reference: FloatGraph,
    images: Tensor,
    models: Mapping[int, QuantizedModel],
    places: Sequence[Place],
    *,
    seed: int = 0,
    on_progress: Callable[[int], None] = lambda images: None,
) -> LayerScores:
    """Return the scores of places at widths.

    Parameters
    ----------
    reference
        the float network, in the form that was quantized
    images
        preprocessed, float32 [count, channels, height, width]
    models
        by bits, the network with all weights quantized to so many by the method: the errors are
        those that it makes, biases that it fitted included
    """
    keys = [(place, bits) for place in places for bits in models]
    errors = [_error(reference, place, models[bits]) for place, bits in keys]
    found, power = rounding_scores(reference, images, errors, seed=seed, on_progress=on_progress)
    return LayerScores(scores=dict(zip(keys, found, strict=True)), power=power, images=len(images))


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
