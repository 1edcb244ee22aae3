# SPDX-License-Identifier: Apache-2.0
"""Cycles, bytes and ops of a network on a chip, without its weights and images.

These figures do not depend on values. Codes do: accuracy and overflow are not among them. Nothing
here needs torch but the capture of a network that was not captured before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aocq.jobs.captured import CapturedNetwork, captured_network
from aocq.jobs.cost_record import (
    cost_records,
    cycles_record,
    graph_record,
    plain_costs,
    profile_record,
)
from aocq.jobs.memory_record import memory_record, parameter_bits
from aocq.jobs.method_record import layer_records
from aocq.jobs.request import ModelRequest
from aocq.lowering import check_recipe, lower
from aocq.methods.quantized_model import QuantizedModel
from aocq.methods.weightless import METHOD, quantized
from aocq.progress import Note, Progress
from aocq.recipes.limits import limits_of
from aocq.recipes.recipe import Recipe
from aocq.records.costs import CyclesRecord, MemoryRecord
from aocq.records.run import GraphRecord, ModelRecord
from aocq.tasks.names import CLASSIFICATION
from aocq.tasks.task import host_work_of
from simulator.cost import estimate
from simulator.cost.host_work import HostWork
from simulator.errors import AocqError
from simulator.graph import IntGraph
from simulator.profile import NpuProfile, load_profile


@dataclass(frozen=True, slots=True, kw_only=True)
class LoweredWithoutWeights:
    """A network without weights, lowered for a chip.

    Attributes
    ----------
    quantized
        what was lowered
    """

    model: ModelRecord
    recipe: Recipe
    quantized: QuantizedModel
    profile: NpuProfile
    graph: IntGraph

    @property
    def parameters_bits(self) -> int:
        """The size of the network's parameters in bits."""
        return parameter_bits(
            self.model.parameters, self.recipe.weight_bits, self.quantized.weights
        )


def lowered_without_weights(
    captured: CapturedNetwork, recipe: Recipe, profile: NpuProfile
) -> LoweredWithoutWeights:
    """Quantize a captured network for a chip and lower it.

    Raises
    ------
    InputError
        If the profile cannot hold what the recipe asks for, or the network cannot be lowered.
    """
    limits = limits_of(profile, recipe)
    check_recipe(recipe, limits, profile)
    model = quantized(captured.network, recipe, limits)
    return LoweredWithoutWeights(
        model=captured.model,
        recipe=recipe,
        quantized=model,
        profile=profile,
        graph=lower(model, profile),
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
    *,
    end_bits: int | None = None,
    task: str = CLASSIFICATION,
) -> NetworkSizes:
    """Return sizes and costs of a network without weights, or what stood against them.

    A network that cannot be sized does not stop others.
    """
    try:
        return sizes_of(request, profile, widths, progress, note, end_bits=end_bits, task=task)
    except AocqError as error:
        reason = str(error)
    except (ArithmeticError, MemoryError, RuntimeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}"
    note(f"{request.name}: {reason}")
    return NetworkSizes(request=request, widths=widths, reason=reason)


def sizes_of(
    request: ModelRequest,
    profile: str,
    widths: Sequence[tuple[int, int]],
    progress: Progress,
    note: Note,
    *,
    end_bits: int | None = None,
    task: str = CLASSIFICATION,
) -> NetworkSizes:
    """Return sizes and costs of a network without weights, which does a task.

    Raises
    ------
    InputError
        If there is no such network, or the profile cannot hold it.
    """
    chip = load_profile(profile)
    captured = captured_network(request, progress, note)
    model, found = captured.model, []
    with progress(f"{request.name}: quantize, lower, estimate", len(widths)) as advance:
        for weight_bits, activation_bits in widths:
            recipe = Recipe(
                weight_bits=weight_bits, activation_bits=activation_bits, end_bits=end_bits
            )
            sized = lowered_without_weights(captured, recipe, chip)
            graph = sized.graph
            costs = estimate(graph, chip, host_work_of(task, graph))
            found.append(
                SizesAtWidths(
                    weight_bits=weight_bits,
                    activation_bits=activation_bits,
                    graph=graph_record(graph),
                    memory=memory_record(costs, sized.parameters_bits),
                    cycles=cycles_record(costs),
                    latency_ms=costs.latency_ms,
                )
            )
            advance(1)
    return NetworkSizes(request=request, widths=widths, model=model, sizes=found)


def sized_record(
    sized: LoweredWithoutWeights,
    host_work: Sequence[HostWork] = (),
    *,
    allow_unplaced: bool = False,
) -> dict[str, Any]:
    """Return the keys of ``run.json`` that need neither weights nor images.

    ``host_work`` is what the network's task does with its results.

    Raises
    ------
    UnplacedOpError
        If the chip has no place for an op, unless that is allowed.
    """
    model = sized.model.model_dump()
    del model["checkpoint_sha256"]  # of random weights
    recipe = sized.recipe
    return {
        "model": model,
        "method": {
            "name": METHOD,
            "weight_bits": recipe.weight_bits,
            "activation_bits": recipe.activation_bits,
            **_layers(sized),
        },
        "profile": profile_record(sized.profile).model_dump(),
        "graph": graph_record(sized.graph).model_dump(),
        **plain_costs(
            cost_records(
                sized.graph,
                sized.profile,
                sized.parameters_bits,
                host_work,
                allow_unplaced=allow_unplaced,
            )
        ),
    }


def _layers(sized: LoweredWithoutWeights) -> dict[str, Any]:
    """Return the layers with other widths; nothing where all have the recipe's."""
    found = layer_records(sized.quantized)
    return {"layers": [layer.model_dump() for layer in found]} if found else {}
