# SPDX-License-Identifier: Apache-2.0
"""Cycles, bytes and ops of a network on a chip, without its weights and images: random ones serve.

These figures do not depend on values. Codes do: accuracy and overflow are not among them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from aocq.capture import FloatGraph, capture
from aocq.jobs.calibration import calibrated
from aocq.jobs.cost_record import (
    cost_records,
    cycles_record,
    graph_record,
    memory_record,
    plain_costs,
    profile_record,
)
from aocq.jobs.record import model_record
from aocq.jobs.request import ModelRequest
from aocq.lowering import check_recipe, lower
from aocq.progress import Note, Progress
from aocq.recipes.limits import limits_of
from aocq.recipes.recipe import Recipe
from aocq.records.run import CyclesRecord, GraphRecord, MemoryRecord, ModelRecord
from aocq.zoo.models import LoadedModel, random_model
from simulator.cost import CostEstimate, estimate
from simulator.errors import AocqError
from simulator.graph import IntGraph
from simulator.profile import NpuProfile, load_profile

METHOD = "base_ptq"  # every chip that holds any method's integers holds these
IMAGES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class EstimateWithoutWeights:
    """A network with random weights, lowered for a chip, and its costs."""

    model: LoadedModel
    recipe: Recipe
    profile: NpuProfile
    graph: IntGraph
    costs: CostEstimate


def estimate_without_weights(
    model: LoadedModel, float_graph: FloatGraph, recipe: Recipe, profile: NpuProfile
) -> EstimateWithoutWeights:
    """Quantize a captured network for a chip on random images, lower it and estimate its costs.

    Raises
    ------
    InputError
        If the profile cannot hold what the recipe asks for, or the network cannot be lowered.
    """
    recipe = replace(recipe, weight_range="minmax")
    limits = limits_of(profile, recipe)
    check_recipe(recipe, limits, profile)
    generator = torch.Generator().manual_seed(recipe.seed)
    images = torch.randn(IMAGES, *model.input_size, generator=generator)
    graph = lower(calibrated(METHOD, float_graph, images, recipe, limits), profile)
    return EstimateWithoutWeights(
        model=model, recipe=recipe, profile=profile, graph=graph, costs=estimate(graph, profile)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SizesAtWidths:
    """Sizes and costs of a network at one width of weights and one of activations."""

    weight_bits: int
    activation_bits: int
    graph: GraphRecord
    memory: MemoryRecord
    cycles: CyclesRecord
    latency_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSizes:
    """Sizes and costs of a network at several widths, or why it has none.

    Attributes
    ----------
    model
        None where it cannot be sized
    widths
        asked for: (weight bits, activation bits)
    reason
        what stood against it; empty where nothing did
    """

    request: ModelRequest
    widths: Sequence[tuple[int, int]]
    model: ModelRecord | None = None
    sizes: Sequence[SizesAtWidths] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnrunSizes:
    """Sizes of a network that could not be run."""

    reason: str
    found: NetworkSizes


def sizes_or_reason(
    request: ModelRequest,
    profile: str,
    widths: Sequence[tuple[int, int]],
    progress: Progress,
    note: Note,
) -> NetworkSizes:
    """Return sizes and costs of a network with random weights, or what stood against them.

    A network that cannot be sized does not stop others.
    """
    try:
        return sizes_of(request, profile, widths, progress)
    except AocqError as error:
        reason = str(error)
    except (ArithmeticError, MemoryError, RuntimeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}"
    note(f"{request.name}: {reason}")
    return NetworkSizes(request=request, widths=widths, reason=reason)


def sizes_of(
    request: ModelRequest, profile: str, widths: Sequence[tuple[int, int]], progress: Progress
) -> NetworkSizes:
    """Return sizes and costs of a network with random weights.

    Raises
    ------
    InputError
        If there is no such network, or the profile cannot hold it.
    """
    chip = load_profile(profile)
    network = random_model(
        request.name,
        request.classes,
        arguments=request.arguments,
        preprocessing=request.preprocessing,
    )
    found = []
    with progress(f"{request.name}: capture, quantize, lower", len(widths)) as advance:
        float_graph = capture(network.network, request.name, network.input_size)
        for weight_bits, activation_bits in widths:
            recipe = Recipe(weight_bits=weight_bits, activation_bits=activation_bits)
            sized = estimate_without_weights(network, float_graph, recipe, chip)
            found.append(
                SizesAtWidths(
                    weight_bits=weight_bits,
                    activation_bits=activation_bits,
                    graph=graph_record(sized.graph),
                    memory=memory_record(sized.costs, network.parameters, weight_bits),
                    cycles=cycles_record(sized.costs),
                    latency_ms=sized.costs.latency_ms,
                )
            )
            advance(1)
    return NetworkSizes(request=request, widths=widths, model=model_record(network), sizes=found)


def sized_record(sized: EstimateWithoutWeights) -> dict[str, Any]:
    """Return the keys of ``run.json`` that need neither weights nor images."""
    model = model_record(sized.model).model_dump()
    del model["checkpoint_sha256"]  # of random weights
    recipe = sized.recipe
    return {
        "model": model,
        "method": {
            "name": METHOD,
            "weight_bits": recipe.weight_bits,
            "activation_bits": recipe.activation_bits,
        },
        "profile": profile_record(sized.profile).model_dump(),
        "graph": graph_record(sized.graph).model_dump(),
        **plain_costs(
            cost_records(sized.graph, sized.profile, sized.model.parameters, recipe.weight_bits)
        ),
    }
