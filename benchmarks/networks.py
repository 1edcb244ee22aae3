# SPDX-License-Identifier: Apache-2.0
"""Subject of the timing: one network in torch, quantized by a method, and lowered for a chip.

The time of float networks, and of integers that fit their accumulators, does not depend on values:
by default weights and pixels are random. Narrow accumulators add in order where sums may
overflow, and how often that is depends on both: such times want a trained network and photographs.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from aocq.capture import FloatGraph, capture
from aocq.data.image_folder import read_image_folder
from aocq.data.loader import evenly, load_calibration_images
from aocq.jobs.accumulator_widths import with_register
from aocq.jobs.calibration import calibrated
from aocq.lowering import lower
from aocq.methods import QuantizedModel
from aocq.methods.storage import JSON_NAME
from aocq.methods.storage import load as load_quantized
from aocq.recipes.limits import limits_of
from aocq.recipes.recipe import Recipe
from aocq.zoo.models import load_model
from simulator.errors import InputError
from simulator.graph import IntGraph, load
from simulator.profile import NpuProfile, load_profile

CALIBRATION_IMAGES = 8
Shape = tuple[int, int, int]
Rule = Literal["wrap", "saturate"]
# Widths and rules of accumulators, by the names that the command line has for them.
ACCUMULATORS: dict[str, tuple[int, Rule]] = {
    "32": (32, "wrap"),
    "20s": (20, "saturate"),
    "16s": (16, "saturate"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A network in all its forms.

    Attributes
    ----------
    network
        in torch, float32
    model
        None where only a graph was given: then nobody but the emulator can run the same integers
    images
        float32 [images, channels, height, width], preprocessed
    network_trained
        whether ``network`` has a checkpoint's weights
    weights, pixels
        ``random`` or not, for the record
    """

    name: str
    network: nn.Module
    model: QuantizedModel | None
    graph: IntGraph
    images: Tensor
    network_trained: bool
    weights: str
    pixels: str

    @property
    def quantized(self) -> QuantizedModel:
        """The model; InputError where only a graph was given."""
        if self.model is None:
            raise InputError(f"{self.name}: has no {JSON_NAME} beside its graph")
        return self.model


def float_network(name: str, weights: Path | None) -> tuple[nn.Module, Shape]:
    """Return a timm network and its input's shape; weights are random where no file is given.

    Raises
    ------
    InputError
        If there is no such network, or the file does not hold it.
    """
    if weights is not None:
        loaded = load_model(name, weights)
        return loaded.network, loaded.input_size
    return random_network(name)


def random_network(name: str, image_size: int | None = None) -> tuple[nn.Module, Shape]:
    """Return a timm network with random weights, for square images of another size if one is given.

    Raises
    ------
    InputError
        If timm has no such network.
    """
    import timm

    if not timm.is_model(name):
        raise InputError(f"model {name}: timm {timm.__version__} has no such model")
    torch.manual_seed(0)
    options = {} if image_size is None else {"img_size": image_size}
    network = timm.create_model(name, pretrained=False, **options).eval()
    network.requires_grad_(requires_grad=False)
    channels, height, width = network.default_cfg["input_size"]
    return network, (channels, image_size or height, image_size or width)


def pictures(network: nn.Module, shape: Shape, data: Path | None, count: int) -> Tensor:
    """Return ``count`` images, random where no folder of classes is given.

    Raises
    ------
    InputError
        If the folder holds too few.
    """
    if data is None:
        generator = torch.Generator().manual_seed(0)
        return torch.randn(count, *shape, generator=generator)
    from timm.data import resolve_model_data_config

    classes = int(network.num_classes)  # type: ignore[arg-type]
    files = evenly(read_image_folder(data, classes), count)
    if len(files) < count:
        raise InputError(f"{data}: holds {len(files)} images, fewer than --images {count}")
    return load_calibration_images(files, resolve_model_data_config(network))[0]


def quantized(
    graph: FloatGraph, profile: NpuProfile, images: Tensor, weight_bits: int = 8
) -> QuantizedModel:
    """Quantize for a profile by ``base_ptq``, with ranges of a few images: quick, as time goes."""
    recipe = Recipe(weight_range="minmax", weight_bits=weight_bits)
    few = images[:CALIBRATION_IMAGES]
    return calibrated("base_ptq", graph, few, recipe, limits_of(profile, recipe))


def with_accumulator(profile: NpuProfile, accumulator: str | None) -> NpuProfile:
    """Return the profile with one of :data:`ACCUMULATORS`, or as it is."""
    return with_register(profile, *ACCUMULATORS[accumulator]) if accumulator else profile


def subject(
    *,
    name: str,
    weights: Path | None,
    graph: Path | None,
    profile: str,
    accumulator: str | None,
    data: Path | None,
    images: int,
    weight_bits: int = 8,
) -> Subject:
    """Make or read the network in all its forms.

    Parameters
    ----------
    graph
        a folder that holds ``graph.json`` and, where other engines are to run the same network or
        the accumulator is to be another, ``quantized.json``; it has precedence over ``name``
    weight_bits
        of a network that is quantized here

    Raises
    ------
    InputError
        If a file is missing or damaged, or the profile cannot hold the network.
    """
    chip = with_accumulator(load_profile(profile), accumulator)
    model, lowered = None, None
    if graph is not None:
        lowered = load(graph)
        name = lowered.name
        if (graph / JSON_NAME).exists():
            model = load_quantized(graph)
        if accumulator:
            if model is None:
                raise InputError(f"{graph}: has no {JSON_NAME}, which --accumulator lowers again")
            lowered = lower(model, chip)
    network, shape = float_network(name, weights)
    pixels = pictures(network, shape, data, images)
    if lowered is None:
        model = quantized(capture(network, name, shape), chip, pixels, weight_bits)
        lowered = lower(model, chip)
    return Subject(
        name=name,
        network=network,
        model=model,
        graph=lowered,
        images=pixels,
        network_trained=weights is not None,
        weights="given weights" if weights or graph else "random weights",
        pixels="photographs" if data else "random pixels",
    )
