# SPDX-License-Identifier: Apache-2.0
"""Scores of all places at all widths: what their rounding is to blame for in the logits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from aocq.capture import FloatGraph, FloatNode, FloatOp, run
from aocq.capture.residual_stream import arithmetic_source
from aocq.methods.quantized_model import QuantizedModel
from aocq.search.places import Place
from aocq.search.rounding_scores import RoundingErrors, Score, Shares, rounding_shares
from aocq.search.tensor_kinds import kinds_of

NOTHING = Score(noise=0.0, divergence=0.0, alone=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizedNetwork:
    """A quantized network and the logits of its integers on the images of a score."""

    model: QuantizedModel
    logits: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerScores:
    """What rounding is to blame for, by place and bits, and by kind of tensor.

    Attributes
    ----------
    scores
        of a place at a width, in the network with that width everywhere
    kinds
        of all tensors of a kind together, as they are in the middle network; ``weights`` are one
    noise
        power of the logits' error in that network
    power
        of the float network's logits, a mean over images: noise is a share of it
    images
        how many
    """

    scores: Mapping[tuple[Place, int], Score]
    kinds: Mapping[str, Score]
    noise: float
    power: float
    images: int

    def shares(self) -> dict[tuple[Place, int], float]:
        """Return the noise of places at widths as shares of the logits' power."""
        return {key: score.noise / self.power for key, score in self.scores.items()}


def layer_scores(
    reference: FloatGraph,
    images: Tensor,
    networks: Mapping[int, QuantizedNetwork],
    middle: int,
    places: Mapping[Place, int],
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
    middle
        the bits of the network whose activations are scored
    places
        with the bits that they have in that network, where they are operands
    """
    weights = [place for place in places if place.key == "w"]
    layers = [node.name for node in reference.nodes if node.op is FloatOp.LINEAR]
    kinds = kinds_of(reference, networks[middle].model)
    asked = [
        _errors(reference, layers, list(kinds) if bits == middle else [], network)
        for bits, network in networks.items()
    ]
    found = dict(zip(networks, rounding_shares(reference, images, asked, on_progress), strict=True))
    scores: dict[tuple[Place, int], Score] = {}
    for place in weights:
        own = {bits: found[bits].scores[layers.index(place.op)] for bits in networks}
        for bits in place.widths:
            scores[place, bits] = _score(own, bits, middle)
    of_tensor = dict(zip(kinds, found[middle].scores[len(layers) :], strict=True))
    for place, now in places.items():
        if place.key == "a":
            source = arithmetic_source(reference, reference.node(place.op).inputs[0]).name
            alike = {now: of_tensor.get(source, NOTHING)}
            scores |= {(place, bits): _score(alike, bits, now) for bits in place.widths}
    return LayerScores(
        scores=scores,
        kinds=_by_kind(found[middle], len(layers), list(kinds.values())),
        noise=found[middle].noise,
        power=found[middle].power,
        images=len(images),
    )


def _by_kind(shares: Shares, layers: int, kinds: Sequence[str]) -> dict[str, Score]:
    """Return the sums of scores, of weights first."""
    found: dict[str, Score] = {}
    for kind, score in zip(["weights"] * layers + list(kinds), shares.scores, strict=True):
        before = found.get(kind, NOTHING)
        found[kind] = Score(
            noise=before.noise + score.noise,
            divergence=before.divergence + score.divergence,
            alone=before.alone + score.alone,
        )
    return found


def _score(known: Mapping[int, Score], bits: int, now: int) -> Score:
    """Return the score of a place at a width, of those at some widths in uniform networks.

    Lower widths than ``now`` bring in errors that make up for nothing, and take away what the
    present ones make up for: their noise alone, and by how much that of the present ones is above
    their share.
    """
    near = min(known, key=lambda other: (abs(other - bits), other))
    found, present = known[near].times(4.0 ** (near - bits)), known.get(now)
    if bits >= now or present is None:
        return found
    return replace(found, noise=found.alone + present.alone - present.noise)


def _errors(
    reference: FloatGraph,
    layers: Sequence[str],
    tensors: Sequence[str],
    network: QuantizedNetwork,
) -> RoundingErrors:
    """Return the errors of layers with a network's weights, and of tensors in its codes.

    Inputs of layers are float; tensors are what the quantized network has there, whose codes round
    them otherwise than the float network's.
    """
    model = network.model
    sources = [reference.node(name).inputs[0] for name in layers]
    moved = [_moved(reference, name, model) for name in layers]
    parameters = {name: value.float() for name, value in model.fake_quantized_parameters().items()}

    def errors(images: Tensor, values: Mapping[str, Tensor]) -> list[Tensor]:
        of_layers = [
            functional.linear(values[source], *own)
            for source, own in zip(sources, moved, strict=True)
        ]
        found = _tensor_errors(model, parameters, images) if tensors else {}
        return [*of_layers, *(found[name] for name in tensors)]

    return RoundingErrors(
        nodes=[*layers, *tensors],
        reads={*sources, *tensors},
        errors=errors,
        logits=network.logits,
    )


def _moved(
    reference: FloatGraph, layer: str, model: QuantizedModel
) -> tuple[Tensor, Tensor | None]:
    """Return what a model's weight and bias have more than those of the float network."""
    attributes = reference.node(layer).attributes
    weight, bias = attributes["weight"], attributes["bias"]
    rounded = model.weights[weight].dequantized() - reference.parameters[weight].double()
    if not bias:
        return rounded.float(), None
    own = torch.from_numpy(model.parameter(bias)) - reference.parameters[bias].double()
    return rounded.float(), own.float()


def _tensor_errors(
    model: QuantizedModel, parameters: Mapping[str, Tensor], images: Tensor
) -> dict[str, Tensor]:
    """Return what codes change at every tensor of the fake-quantized network, by name."""
    source = model.graph.input.name
    rounded = model.fake_quantized_image(images).float()
    found = {source: rounded - images}

    def watch(node: FloatNode, x: Tensor) -> Tensor:
        after = model.fake_quantize(node, x)
        if node.name in model.activations:
            found[node.name] = after - x
        return after

    run(
        model.graph,
        {source: rounded},
        [model.graph.output.name],
        transform=watch,
        parameters=parameters,
    )
    return found
