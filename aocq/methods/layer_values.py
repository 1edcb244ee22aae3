# SPDX-License-Identifier: Apache-2.0
"""Inputs, results and gradients of layers in the float network, a few layers at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from aocq.capture import FloatGraph, FloatNode, run
from aocq.methods import fisher

BATCH = 4
# Float32 values of inputs, results and gradients that are held at a time: 600 MB.
HELD_VALUES = 150_000_000
# From logits [images, classes] and a seed to what is sent back through the network as the gradient
# of the loss.
Direction = Callable[[Tensor, int], Tensor]


@dataclass(frozen=True, slots=True)
class LayerValues:
    """Float tensors of one layer on all images: inputs, result, gradient of the result."""

    inputs: tuple[Tensor, ...]
    real: Tensor
    gradient: Tensor | None


def values_of(
    graph: FloatGraph,
    images: Tensor,
    layers: Sequence[FloatNode],
    direction: Direction | None,
    seed: int,
) -> Iterator[tuple[FloatNode, LayerValues]]:
    """Yield every layer with its tensors, computed for as many layers at a time as memory allows.

    Parameters
    ----------
    images
        float32 [count, channels, height, width]
    direction
        None: no gradients
    """
    directions = None
    if direction is not None:
        output = graph.output.name
        directions = direction(values_at(graph, images, [output])[output], seed)
    for part in _parts(graph, len(images), layers, gradients=direction is not None):
        names = list(dict.fromkeys(name for node in part for name in (node.name, *node.inputs)))
        values = values_at(graph, images, names)
        gradients: dict[str, Tensor] = {}
        if directions is not None:
            results = [node.name for node in part]
            gradients = fisher.gradients(graph, images, directions, results)
        for node in part:
            inputs = tuple(values[name] for name in node.inputs)
            yield node, LayerValues(inputs, values[node.name], gradients.get(node.name))


def values_at(graph: FloatGraph, images: Tensor, names: list[str]) -> dict[str, Tensor]:
    """Return tensors of the float network on all images, by name."""
    parts = []
    for batch in images.split(BATCH):
        with torch.inference_mode():
            parts.append(run(graph, {graph.input.name: batch}, names))
    return {name: torch.cat([part[name] for part in parts]) for name in names}


def _parts(
    graph: FloatGraph, images: int, layers: Sequence[FloatNode], *, gradients: bool
) -> Iterator[list[FloatNode]]:
    part: list[FloatNode] = []
    filled = 0
    for node in layers:
        shapes = [node.shape, *(graph.node(name).shape for name in node.inputs)]
        if gradients:
            shapes.append(node.shape)
        size = images * sum(int(np.prod(shape)) for shape in shapes)
        if part and filled + size > HELD_VALUES:
            yield part
            part, filled = [], 0
        part.append(node)
        filled += size
    yield part
