# SPDX-License-Identifier: Apache-2.0
"""The traffic plan of an estimate as a record: what lives where, and how products are tiled."""

from __future__ import annotations

from typing import Any

from simulator.cost import CostEstimate
from simulator.cost.host_work import HostCost
from simulator.cost.schedule import StepCost
from simulator.cost.tiles import Tiling

_STAYS = {"a": "A", "b": "B", "c": "sums"}


def plan_record(costs: CostEstimate) -> dict[str, Any]:
    """Return what the chip's SRAM holds, what it does not, and what every step moves.

    Keys
    ----
    in_sram
        first byte of every buffer that lives in SRAM
    spilled
        buffers that live in DRAM because the SRAM does not hold them
    steps
        in order, as :func:`step_record` says; those of the host behind the graph come last
    """
    steps = [step_record(cost, costs.steps) for cost in costs.steps]
    steps += [host_step_record(cost) for cost in costs.host_steps]
    return {
        "in_sram": dict(costs.traffic.residency.offsets),
        "spilled": list(costs.spilled),
        "steps": steps,
    }


def step_record(cost: StepCost, steps: tuple[StepCost, ...]) -> dict[str, Any]:
    """Return one step: cycles, bytes of both ports in whole bursts, tensors in DRAM, tiles.

    ``weights_since`` names the step during which weights may begin to arrive, where they are
    fetched before their own step; ``tiling`` is None of what is no product on the array.
    """
    since = cost.fetched_since
    return {
        "name": cost.step.name,
        "op": cost.step.op,
        "unit": cost.step.unit,
        "cycles": cost.total,
        "unit_cycles": cost.unit_cycles,
        "sram_cycles": cost.sram_cycles,
        "dram_cycles": cost.dram_cycles,
        "sram_bytes": cost.sram_bytes,
        "dram_bytes": cost.dram_bytes,
        "in_dram": list(cost.in_dram),
        "tiling": None if cost.tiling is None else tiling_record(cost.tiling),
        "weights_since": None if since is None else steps[since].step.name,
    }


def host_step_record(cost: HostCost) -> dict[str, Any]:
    """Return a step of the host behind the graph: it moves nothing over the chip's ports."""
    return {
        "name": cost.work.name,
        "op": cost.work.name,
        "unit": "host",
        "cycles": cost.total,
        "unit_cycles": cost.host,
        **dict.fromkeys(("sram_cycles", "dram_cycles", "sram_bytes", "dram_bytes"), 0),
        "in_dram": [],
        "tiling": None,
        "weights_since": None,
    }


def tiling_record(tiling: Tiling) -> dict[str, Any]:
    """Return how a product is tiled: extents of a tile, what is copied into SRAM, in what order.

    ``stays`` is what the innermost loop leaves in its place, A, B or the sums; None where nothing
    is copied and the array takes the product as it lies.
    """
    copied = bool(tiling.loops.copied)
    return {
        "m": tiling.m,
        "n": tiling.n,
        "k": tiling.k,
        "tiles": tiling.tiles,
        "copied": [name.upper() for name in tiling.loops.copied],
        "stays": _STAYS[tiling.loops.order] if copied else None,
        "buffers": tiling.loops.buffers if copied else None,
        "partial_sums": tiling.sums,
        "sram_bytes": tiling.room,
    }
