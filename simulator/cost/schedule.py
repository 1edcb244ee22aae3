# SPDX-License-Identifier: Apache-2.0
"""Steps with their traffic, one after the other: how long each takes and what it waits for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from simulator.cost.network_ends import network_transfers
from simulator.cost.ports import dram_port, port_cycles
from simulator.cost.steps import Program, Step, Transfer
from simulator.graph.graph import IntGraph
from simulator.profile import NpuProfile


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCost:
    """ESTIMATED cost of one step; cycles of the compute clock.

    Attributes
    ----------
    sram_bytes, dram_bytes
        that it reads and writes
    sram_cycles, dram_cycles
        of the two ports; 0 of the SRAM's where the profile does not state one
    total
        ``issue + max(unit, SRAM, DRAM)``, or their sum on a chip without double buffers
    """

    step: Step
    sram_bytes: int
    dram_bytes: int
    sram_cycles: int
    dram_cycles: int
    total: int


def scheduled(graph: IntGraph, program: Program, profile: NpuProfile) -> tuple[StepCost, ...]:
    """Return the cost of every step, in order."""
    ends = network_transfers(graph, program)
    return tuple(
        step_cost(step, on_chip(step), (*ends[number], *constant_transfers(graph, step)), profile)
        for number, step in enumerate(program.steps)
    )


def on_chip(step: Step) -> tuple[Transfer, ...]:
    """Return what a step reads from and writes to SRAM where every activation has a place there."""
    return (*step.reads, *step.writes)


def constant_transfers(graph: IntGraph, step: Step) -> tuple[Transfer, ...]:
    """Return the constants that a step streams from DRAM, each once."""
    sizes = {name: graph.tensors[name].bytes for name in sorted(step.constants)}
    return tuple(Transfer(tensor=name, bytes=size, run_bytes=size) for name, size in sizes.items())


def step_cost(
    step: Step, sram: Sequence[Transfer], dram: Sequence[Transfer], profile: NpuProfile
) -> StepCost:
    """Return the cost of a step that moves ``sram`` and ``dram`` bytes."""
    memory = profile.memory
    sram_cycles = port_cycles(sram, memory.sram_port) if memory.sram_port else 0
    dram_cycles = port_cycles(dram, dram_port(memory))
    parts = (step.cycles, sram_cycles, dram_cycles)
    work = sum(parts) if memory.double_buffer is False else max(parts)
    return StepCost(
        step=step,
        sram_bytes=sum(each.bytes for each in sram),
        dram_bytes=sum(each.bytes for each in dram),
        sram_cycles=sram_cycles,
        dram_cycles=dram_cycles,
        total=step.issue_cycles + work,
    )
