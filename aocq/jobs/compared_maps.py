# SPDX-License-Identifier: Apache-2.0
"""Class activation maps and attention roll-outs of a float and a quantized network, compared."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aocq.capture import FloatGraph
from aocq.capture.token_grid import TokenGrid, token_grid
from aocq.data.image_folder import LabelledImage
from aocq.data.loader import ImageBatches
from aocq.jobs.attention_rollout import rollout, rows_read
from aocq.jobs.class_activation import (
    Maps,
    activation_maps,
    fake_quantized_network,
    float_network,
    upsampled,
)
from aocq.jobs.map_likeness import correlation, overlap_of_tops
from aocq.jobs.shown_images import readable_name, seen
from aocq.methods.quantized_model import QuantizedModel
from aocq.records.class_activation import ImageMaps, MapLikeness
from aocq.tasks.task import Task
from simulator.errors import InputError

BATCH = 4  # every probability of a batch is held twice

Choose = Callable[[Tensor], Tensor]
Pixels = NDArray[np.float64]  # [height, width]


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedMaps:
    """An image and its maps on its pixels, each of the float and of the quantized network.

    Attributes
    ----------
    image
        as the networks see it, [height, width] or [height, width, 3]
    activation, rollout
        0..1; None: attention is not of every token to every other
    """

    figures: ImageMaps
    image: NDArray[np.uint8]
    activation: tuple[Pixels, Pixels]
    rollout: tuple[Pixels, Pixels] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MapsOfBatch:
    """The maps of a network on patches, float64 [count, rows, columns]."""

    outputs: Tensor
    activation: Tensor
    rollout: Tensor | None

    @classmethod
    def of(cls, maps: Maps, grid: TokenGrid, rows: Tensor) -> MapsOfBatch:
        """Return the maps that are compared; ``grid`` and ``rows`` as :func:`rollout` has them."""
        found = rollout(maps.attention, grid, rows)
        return cls(outputs=maps.outputs, activation=maps.activation, rollout=found)


def class_chooser(task: Task, graph: FloatGraph, number: int | None) -> Choose:
    """Return what finds the logit that maps are drawn of: the largest of all classes, or of one.

    Where a network yields classes for every token, the token is found, too, among patches.

    Parameters
    ----------
    number
        of a class; None: any

    Raises
    ------
    InputError
        If there is no such class.
    """
    shape = graph.output.shape
    classes = shape[-1] - task.values_behind_classes
    if number is not None and number >= classes:
        raise InputError(
            f"{graph.name}: has no class {number}; --class is one of 0 to {classes - 1}"
        )
    grid = token_grid(graph, graph.output.name)
    allowed = torch.zeros(shape, dtype=torch.bool).reshape(-1, shape[-1])
    columns = slice(0, classes) if number is None else slice(number, number + 1)
    allowed[grid.prefix if grid else 0 :, columns] = True
    refused = ~allowed.flatten()
    return lambda found: found.flatten(1).masked_fill(refused, -torch.inf).argmax(1)


def compared_maps(
    model: QuantizedModel,
    graph: FloatGraph,
    files: Sequence[LabelledImage],
    folder: Path,
    preprocessing: Mapping[str, Any],
    choose: Choose,
    layer: str | None = None,
) -> Iterator[ComparedMaps]:
    """Yield the maps of one image after the other.

    Both networks are differentiated by the logit that ``choose`` finds in the float one's output.

    Parameters
    ----------
    graph
        the float network as it was captured
    folder
        that the images are in
    layer
        see :func:`aocq.jobs.class_activation.float_network`
    """
    real, rounded = float_network(graph, layer), fake_quantized_network(model, graph, layer)
    grid = real.layer.grid
    rows = rows_read(graph, grid)
    names = iter(readable_name(os.path.relpath(file.path, folder)) for file in files)
    for images, _ in ImageBatches(files, preprocessing, batch=BATCH):
        maps = activation_maps(real, images, choose)
        chosen = maps.chosen
        others = activation_maps(rounded, images, _always(chosen))
        own = choose(others.outputs)
        first, second = (MapsOfBatch.of(found, grid, rows) for found in (maps, others))
        for place, image in enumerate(images):
            figures = ImageMaps(
                image=next(names),
                class_number=int(chosen[place]) % maps.outputs.shape[-1],
                quantized_class=int(own[place]) % maps.outputs.shape[-1],
                activation=_likeness(first.activation[place], second.activation[place]),
                rollout=_rollout_likeness(first, second, place),
            )
            yield ComparedMaps(
                figures=figures,
                image=np.asarray(seen(image.numpy(), preprocessing)),
                activation=_on_pixels(image, first.activation[place], second.activation[place]),
                rollout=None
                if first.rollout is None or second.rollout is None
                else _on_pixels(image, first.rollout[place], second.rollout[place]),
            )


def _always(chosen: Tensor) -> Choose:
    return lambda outputs: chosen


def _likeness(first: Tensor, second: Tensor) -> MapLikeness:
    a, b = first.numpy(), second.numpy()
    return MapLikeness(correlation=correlation(a, b), overlap=overlap_of_tops(a, b))


def _rollout_likeness(first: MapsOfBatch, second: MapsOfBatch, place: int) -> MapLikeness | None:
    if first.rollout is None or second.rollout is None:
        return None
    return _likeness(first.rollout[place], second.rollout[place])


def _on_pixels(image: Tensor, first: Tensor, second: Tensor) -> tuple[Pixels, Pixels]:
    """Return two maps of patches, [rows, columns], on the pixels of their image."""
    height, width = image.shape[-2:]
    enlarged = upsampled(torch.stack([first, second]), (height, width)).numpy()
    return enlarged[0], enlarged[1]
