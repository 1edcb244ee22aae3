# SPDX-License-Identifier: Apache-2.0
"""Steps one after the other under their traffic plan: how long each takes, and what it moves."""

from __future__ import annotations

from dataclasses import dataclass

from simulator.cost.plan import TrafficPlan
from simulator.cost.steps import Program, Step
from simulator.cost.tiles import Tiling
from simulator.graph.ops import TensorId


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCost:
    """ESTIMATED cost of one step; cycles of the compute clock.

    Attributes
    ----------
    unit_cycles
        of its unit, all operands at hand: of a product, in the tiles that were chosen
    sram_bytes, dram_bytes
        that the ports move for it, in whole bursts
    sram_cycles, dram_cycles
        of the two ports during it; 0 of the SRAM's where the profile does not state one. Weights
        that are fetched early count in the step during which they arrive.
    total
        ``issue + max(unit, SRAM, DRAM)``, or their sum where a tile is loaded, computed and stored
        in turn
    tiling
        of a product on the array
    in_dram
        activations and temporaries that it reads or writes in DRAM
    fetched_since
        number of the step during which its weights may begin to arrive, None where they arrive
        during their own
    """

    step: Step
    unit_cycles: int
    sram_bytes: int
    dram_bytes: int
    sram_cycles: int
    dram_cycles: int
    total: int
    tiling: Tiling | None = None
    in_dram: tuple[TensorId, ...] = ()
    fetched_since: int | None = None


def scheduled(program: Program, plan: TrafficPlan) -> tuple[StepCost, ...]:
    """Return the cost of every step, in order."""
    cycles = plan.cycles
    columns = (
        cycles.unit,
        cycles.sram_moved.bytes,
        cycles.dram_moved.bytes,
        cycles.sram,
        cycles.dram,
        cycles.total,
    )
    rows = zip(*(column.tolist() for column in columns), strict=True)
    since = plan.prefetch.since if plan.prefetch else {}
    outside = set(plan.in_dram)
    found = []
    for number, (step, row) in enumerate(zip(program.steps, rows, strict=True)):
        unit, sram_bytes, dram_bytes, sram, dram, total = row
        product = cycles.products.get(number)
        touched = dict.fromkeys(each.tensor for each in (*step.reads, *step.writes))
        found.append(
            StepCost(
                step=step,
                unit_cycles=unit,
                sram_bytes=sram_bytes,
                dram_bytes=dram_bytes,
                sram_cycles=sram,
                dram_cycles=dram,
                total=step.issue_cycles + total,
                tiling=product.tiling if product else None,
                in_dram=tuple(name for name in touched if name in outside),
                fetched_since=since.get(number),
            )
        )
    return tuple(found)
