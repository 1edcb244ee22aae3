# SPDX-License-Identifier: Apache-2.0
"""Estimates that share what chips have in common are those of every chip by itself."""

from __future__ import annotations

import random
from itertools import product

import pytest
from cost_graphs import profile_with, transformer

from simulator.cost import CostEstimate, UnplacedOpError, estimate
from simulator.cost.many import Estimates, order
from simulator.profile import NpuProfile, load_profile
from simulator.profile.variation import varied

GRAPH = transformer()
GRID = {
    "compute.engine.rows": [4, 16],
    "memory.sram_bytes": [256, 4096, 1 << 20],
    "memory.dram_bytes_per_cycle": [1, 8],
    "memory.dram_burst_bytes": [None, 64],
    "compute.clock_mhz": [100, 500],
}


def chips(base: NpuProfile) -> list[NpuProfile]:
    return [
        varied(base, "chip", dict(zip(GRID, values, strict=True)))
        for values in product(*GRID.values())
    ]


def figures(costs: CostEstimate) -> tuple[object, ...]:
    """All of an estimate; what steps take under its plan stands in arrays."""
    cycles = costs.traffic.cycles
    arrays = (cycles.unit, cycles.sram, cycles.dram, cycles.total)
    moved = (cycles.sram_moved.bytes, cycles.dram_moved.bytes)
    return (
        *(costs.ops, costs.steps, costs.unplaced, costs.energy, costs.plan, costs.host_steps),
        *(costs.traffic.residency, costs.traffic.in_dram, costs.traffic.spilled),
        *(array.tolist() for array in (*arrays, *moved)),
        *(cycles.products, costs.weight_bytes, costs.dram_bytes, costs.latency_ms),
        *(costs.sram_bytes, costs.peak_sram_bytes),
    )


@pytest.mark.parametrize("base", ["edge_npu_int8", "gemmini_20b", "ethos_u55_256"])
def test_they_are_the_same_in_any_order(base: str) -> None:
    profile = load_profile(base)
    grid = dict(GRID)
    if profile.compute.engine.kind == "dot":
        del grid["compute.engine.rows"]
    found = [
        varied(profile, "chip", dict(zip(grid, values, strict=True)))
        for values in product(*grid.values())
    ]
    random.Random(0).shuffle(found)
    for ordered in (found, sorted(found, key=order)):
        together = Estimates(GRAPH)
        for chip in ordered:
            assert figures(together.of(chip)) == figures(estimate(GRAPH, chip))


def test_steps_depend_on_the_sram_where_activations_spill_to_dram() -> None:
    base = profile_with(memory__arena="dram")
    together = Estimates(GRAPH)
    for sram in (256, 4096, 1 << 20):
        chip = varied(base, "chip", {"memory.sram_bytes": sram})
        assert figures(together.of(chip)) == figures(estimate(GRAPH, chip))


def test_what_chips_have_in_common_is_found_once() -> None:
    together = Estimates(GRAPH)
    found = [together.of(chip) for chip in sorted(chips(load_profile("edge_npu_int8")), key=order)]
    assert len({id(each.plan) for each in found}) == 4  # two arrays, two lengths of bursts
    assert len({id(each.steps) for each in found}) == len(found) / 2  # two clocks


def test_a_chip_without_a_place_for_an_op_is_refused() -> None:
    chip = profile_with(compute__placement={"softmax": "none"})
    with pytest.raises(UnplacedOpError):
        Estimates(GRAPH).of(chip)
