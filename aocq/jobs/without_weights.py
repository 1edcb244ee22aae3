# SPDX-License-Identifier: Apache-2.0
"""Cycles, bytes and ops of a network on a chip, without its weights and images: random ones serve.

These figures do not depend on values. Codes do: accuracy and overflow are not among them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch

from aocq.capture import FloatGraph
from aocq.jobs.cost_record import cycles_record, graph_record, memory_record, profile_record
from aocq.jobs.record import model_record
from aocq.jobs.request import constrained
from aocq.lowering import check_recipe, lower
from aocq.methods import METHODS, Recipe
from aocq.methods.layernorm_parts import observe_parts
from aocq.zoo.models import LoadedModel
from simulator.cost import CostEstimate, estimate
from simulator.graph import IntGraph
from simulator.profile import NpuProfile

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
    recipe = constrained(recipe.model_copy(update={"weight_range": "minmax"}), profile)
    check_recipe(recipe, profile, leaves_floats=False)
    generator = torch.Generator().manual_seed(recipe.seed)
    images = torch.randn(IMAGES, *model.input_size, generator=generator)
    quantized = METHODS[METHOD](float_graph, images, recipe)
    if recipe.layernorm_part_bits is not None:
        parts = observe_parts(quantized, images, recipe.layernorm_part_bits)
        quantized = replace(quantized, parts=parts)
    graph = lower(quantized, profile)
    return EstimateWithoutWeights(
        model=model, recipe=recipe, profile=profile, graph=graph, costs=estimate(graph, profile)
    )


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
        "memory": memory_record(
            sized.costs, sized.model.parameters, recipe.weight_bits
        ).model_dump(),
        "cycles": cycles_record(sized.costs).model_dump(),
        "latency_ms": sized.costs.latency_ms,
        "fps": sized.costs.fps,
    }
