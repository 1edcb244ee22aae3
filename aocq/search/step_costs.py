# SPDX-License-Identifier: Apache-2.0
"""What another width at a single place costs, estimated without weights and images."""

from __future__ import annotations

from collections.abc import Callable

from aocq.capture.float_graph import FloatGraph
from aocq.jobs.captured import CapturedNetwork
from aocq.jobs.without_weights import lowered_without_weights
from aocq.recipes.recipe import Recipe
from aocq.records.design_costs import DesignCosts
from aocq.search.places import Widths, recipe_at
from aocq.search.plan import StepCosts
from aocq.tasks.task import host_work_of
from simulator.cost import estimate
from simulator.profile import NpuProfile


def estimated_costs(
    captured: CapturedNetwork, recipe: Recipe, profile: NpuProfile, task: str
) -> DesignCosts:
    """Return a recipe's costs, of the network with random weights and no factors of channels.

    Raises
    ------
    InputError
        If the profile cannot hold what the recipe asks for.
    """
    graph = lowered_without_weights(captured, recipe, profile).graph
    costs = estimate(graph, profile, host_work_of(task, graph), allow_unplaced=True)
    return DesignCosts(
        weight_bytes=costs.weight_bytes,
        cycles=costs.total_cycles,
        latency_ms=costs.latency_ms,
        peak_sram_bytes=costs.peak_sram_bytes,
        energy_mj=costs.energy.total_mj if costs.energy else None,
    )


def step_costs(
    captured: CapturedNetwork,
    recipe: Recipe,
    graph: FloatGraph,
    widths: Widths,
    costs: DesignCosts,
    profile: NpuProfile,
    task: str,
    advance: Callable[[int], None],
) -> StepCosts:
    """Return what every other width of every place adds to the costs of a design.

    Of places with many widths the extremes are estimated, and what is between goes by bits: bytes
    do, and what follows from them nearly so.

    Parameters
    ----------
    recipe
        of the design
    graph
        the float network
    costs
        of the design, as its run has them: the estimates here are of differences only
    advance
        called with the number of places that are done
    """
    own = estimated_costs(captured, recipe, profile, task)
    added = {}
    for place, now in widths.items():
        ends = {bits for bits in (place.widths[0], place.widths[-1]) if bits != now}
        for bits in ends:
            other = recipe_at(recipe, graph, {**widths, place: bits})
            added[place, bits] = estimated_costs(captured, other, profile, task).plus(own, -1)
        for bits in set(place.widths) - ends - {now}:
            end = place.widths[0] if bits < now else place.widths[-1]
            added[place, bits] = added[place, end].times((bits - now) / (end - now))
        advance(1)
    return StepCosts(start=dict(widths), costs=costs, added=added)
