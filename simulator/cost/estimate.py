# SPDX-License-Identifier: Apache-2.0
"""ESTIMATED cycles, bytes and latency of a graph on a profile, op by op.

Stated in full in ``docs/cost.md``: ops run one after the other, each as steps of the chip's units.
What a step moves over the ports of SRAM and DRAM is a matter of the traffic plan
(:mod:`simulator.cost.plan`): activations that the SRAM does not hold are read and written in DRAM.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from simulator.cost.constants import weight_bytes
from simulator.cost.energy import EnergyEstimate, energy_of
from simulator.cost.host_work import HostCost, HostWork, host_costs
from simulator.cost.memory import MemoryPlan, plan_memory
from simulator.cost.moves import Workload, workload_of
from simulator.cost.placement import kind_of
from simulator.cost.plan import TrafficPlan, traffic_plan
from simulator.cost.schedule import StepCost, scheduled
from simulator.cost.steps import Program, program_of
from simulator.errors import InputError
from simulator.graph.graph import IntGraph
from simulator.graph.macs import product_macs
from simulator.graph.ops import SPECS, Op, TensorId, op_name
from simulator.profile import NpuProfile
from simulator.profile.passes import Unit

Resource = Literal["compute", "vector", "host", "sram", "dma"]
_NAMED = 3  # ops that a message names
RESOURCES: tuple[Resource, ...] = ("compute", "vector", "host", "sram", "dma")


class UncostedOpError(InputError):
    """The graph has ops that the format does not know: a total without them would be wrong.

    Attributes
    ----------
    ops
        names of all of them, in order
    """

    def __init__(self, ops: tuple[Op, ...]) -> None:
        self.ops: tuple[TensorId, ...] = tuple(op.name for op in ops)
        shown = ", ".join(f"{op.name} ({type(op).__name__})" for op in ops)
        super().__init__(
            f"no cost rule, so no total: {shown}; add their specifications to SPECS in "
            "simulator/graph/ops"
        )


class UnplacedOpError(InputError):
    """The chip has no place for ops of the graph: a total without them would be wrong.

    Attributes
    ----------
    ops
        names of all of them, in order
    """

    def __init__(self, profile: str, ops: Sequence[tuple[TensorId, str]]) -> None:
        self.ops = tuple(name for name, _ in ops)
        kinds = ", ".join(sorted({kind for _, kind in ops}))
        first = ", ".join(self.ops[:_NAMED]) + ", …" * (len(ops) > _NAMED)
        super().__init__(
            f"profile {profile} has no place for ops of kind {kinds} (compute.placement), and the "
            f"network has {len(ops)} of them: {first}; place them on the host, or allow them with "
            "--allow-unplaced, which makes the verdict a NO"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OpCost:
    """ESTIMATED cost of one op for one image; cycles of the compute clock.

    Attributes
    ----------
    passes
        runs of units that it takes: its steps
    macs
        multiply-accumulate operations
    weight_bytes
        constants that the op streams from DRAM
    compute, vector, host
        cycles of the MAC engine, of the vector unit and of the host, all operands at hand
    issue
        cycles before its steps start
    sram, dma
        cycles of the SRAM's and of the DRAM's port
    stall
        cycles in which units wait for a port: ``total - compute - vector - host - issue``
    total
        cycles from its first step to its last
    bound_by
        which of compute, vector, host, sram and dma is the largest
    """

    name: TensorId
    kind: str
    passes: int
    macs: int
    weight_bytes: int
    compute: int
    vector: int
    host: int
    issue: int
    sram: int
    dma: int
    stall: int
    total: int
    bound_by: Resource


@dataclass(frozen=True, slots=True, kw_only=True)
class CostEstimate:
    """ESTIMATED cost of a graph for one image.

    Attributes
    ----------
    ops, steps
        in order of execution
    unplaced
        ops that the chip has no place for: their cycles are not in the total
    host_steps
        what the host does with the graph's results, in order, behind all ops
    left_out
        such steps whose cycles are not in the total, because the profile describes no host
    energy
        None where the profile has no table of energies, or none for these widths or these ops
    plan
        buffers of activations and temporaries, with offsets, as if all of them had a place in SRAM
    traffic
        which of them have one on this chip, how products are tiled, which weights are fetched early
    weight_bytes
        all constants that ops read, each once: what has to be stored
    dram_bytes
        that the DRAM's port moves for one image, in whole bursts: inputs, outputs, constants, each
        as often as ops read them, and activations that do not live in SRAM
    clock_mhz, sram_bytes
        of the profile
    """

    ops: tuple[OpCost, ...]
    steps: tuple[StepCost, ...]
    unplaced: tuple[TensorId, ...]
    energy: EnergyEstimate | None
    plan: MemoryPlan
    traffic: TrafficPlan
    weight_bytes: int
    dram_bytes: int
    clock_mhz: float
    sram_bytes: int
    host_steps: tuple[HostCost, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def total_cycles(self) -> int:
        """Cycles of the whole graph, and of the host behind it."""
        return sum(op.total for op in self.ops) + sum(step.total for step in self.host_steps)

    @property
    def compute_cycles(self) -> int:
        """Cycles in which the MAC engine works."""
        return sum(op.compute for op in self.ops)

    @property
    def vector_cycles(self) -> int:
        """Cycles in which the vector unit works."""
        return sum(op.vector for op in self.ops)

    @property
    def host_cycles(self) -> int:
        """Cycles in which the host works."""
        return sum(op.host for op in self.ops) + sum(step.host for step in self.host_steps)

    @property
    def issue_cycles(self) -> int:
        """Cycles before steps start."""
        handovers = sum(step.handover for step in self.host_steps)
        return sum(op.issue for op in self.ops) + handovers

    @property
    def sram_cycles(self) -> int:
        """Cycles in which the SRAM's port works, hidden or not."""
        return sum(op.sram for op in self.ops)

    @property
    def dma_cycles(self) -> int:
        """Cycles in which the DRAM port works, hidden or not."""
        return sum(op.dma for op in self.ops)

    @property
    def stall_cycles(self) -> int:
        """Cycles in which units wait for a port."""
        return sum(op.stall for op in self.ops)

    @property
    def by_kind(self) -> dict[str, int]:
        """Total cycles of each kind of op, in order of first appearance, and of host's steps."""
        cycles = {op.kind: 0 for op in self.ops}
        for op in self.ops:
            cycles[op.kind] += op.total
        return cycles | self._host_totals

    @property
    def by_block(self) -> dict[str, int]:
        """Total cycles of each block, in order of first appearance; see :func:`block_of`."""
        cycles = {block_of(op.name): 0 for op in self.ops}
        for op in self.ops:
            cycles[block_of(op.name)] += op.total
        return cycles | self._host_totals

    @property
    def _host_totals(self) -> dict[str, int]:
        return {step.work.name: step.total for step in self.host_steps}

    @property
    def bound_by(self) -> dict[Resource, int]:
        """Total cycles of what each resource limits: ops, and of the host its steps behind them."""
        cycles = dict.fromkeys(RESOURCES, 0)
        for op in self.ops:
            cycles[op.bound_by] += op.total
        cycles["host"] += sum(step.total for step in self.host_steps)
        return cycles

    @property
    def latency_ms(self) -> float:
        """Milliseconds for one image."""
        return self.total_cycles / (self.clock_mhz * 1e3)

    @property
    def fps(self) -> float:
        """Images per second, one after the other."""
        return 1e3 / self.latency_ms if self.total_cycles else math.inf

    @property
    def peak_sram_bytes(self) -> int:
        """SRAM that the memory plan needs."""
        return self.plan.peak_sram_bytes

    @property
    def peak_lower_bound_bytes(self) -> int:
        """SRAM that no memory plan can do without."""
        return self.plan.peak_lower_bound_bytes

    @property
    def sram_traffic_bytes(self) -> int:
        """Bytes that the SRAM's port moves for one image, in whole bursts."""
        return sum(step.sram_bytes for step in self.steps)

    @property
    def spilled(self) -> tuple[TensorId, ...]:
        """Activations and temporaries that live in DRAM because the SRAM does not hold them."""
        return self.traffic.spilled

    @property
    def fits_sram(self) -> bool:
        """True if all live activations fit on the chip."""
        return self.peak_sram_bytes <= self.sram_bytes


def block_of(name: TensorId) -> str:
    """Return the block that an op's name says it belongs to.

    That is its path up to the last part that is a number, ``blocks.3`` of ``blocks.3.attn.qkv`` or
    ``layers.1.blocks.0``; without a number, its first part.
    """
    parts = name.split(".")
    numbers = [place for place, part in enumerate(parts) if part.isdigit()]
    return ".".join(parts[: numbers[-1] + 1] if numbers else parts[:1])


def estimate(
    graph: IntGraph,
    profile: NpuProfile,
    host_work: Sequence[HostWork] = (),
    *,
    float16: bool = False,
    allow_unplaced: bool = False,
) -> CostEstimate:
    """Return the ESTIMATED cost of a verified graph on ``profile``, for one image.

    Parameters
    ----------
    host_work
        what the host does with the graph's results; left out and named where the profile describes
        no host
    float16
        energy is counted as of that format; ``simulator.cost.float16`` makes the graph and the
        profile that belong to it
    allow_unplaced
        ops that the chip has no place for are left out of every figure and named

    Raises
    ------
    UnplacedOpError
        If the chip has no place for an op, unless that is allowed.
    UncostedOpError
        If any op has no specification; all of them are named. There is never a partial total.
    """
    return estimate_of(
        prepared(graph, profile),
        profile,
        host_work,
        float16=float16,
        allow_unplaced=allow_unplaced,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A graph's steps on a chip, the buffers that they need and what they move.

    The same on all chips that have the first part of :func:`simulator.cost.many.order` in common.
    """

    graph: IntGraph
    program: Program
    memory_plan: MemoryPlan
    workload: Workload


def prepared(graph: IntGraph, profile: NpuProfile) -> Prepared:
    """Return a verified graph's steps on a chip.

    Raises
    ------
    UncostedOpError
        See :func:`estimate`.
    """
    uncosted = tuple(op for op in graph.ops if type(op) not in SPECS)
    if uncosted:
        raise UncostedOpError(uncosted)
    program = program_of(graph, profile)
    memory_plan = plan_memory(graph, program)
    return Prepared(
        graph=graph,
        program=program,
        memory_plan=memory_plan,
        workload=workload_of(graph, program, memory_plan.buffers, profile.memory),
    )


def estimate_of(
    steps: Prepared,
    profile: NpuProfile,
    host_work: Sequence[HostWork] = (),
    *,
    float16: bool = False,
    allow_unplaced: bool = False,
) -> CostEstimate:
    """Return what :func:`estimate` does, of steps that are there already.

    Raises
    ------
    UnplacedOpError
        See :func:`estimate`.
    """
    graph, program, memory_plan = steps.graph, steps.program, steps.memory_plan
    if program.unplaced and not allow_unplaced:
        kinds = {op.name: kind_of(graph, op) for op in graph.ops}
        raise UnplacedOpError(profile.name, [(name, kinds[name]) for name in program.unplaced])
    traffic = traffic_plan(steps.workload, memory_plan, profile)
    step_costs = scheduled(program, traffic)
    host, ends = profile.compute.host, program.steps[-1:]
    host_steps = host_costs(graph, host_work, host, on_host=any(s.unit == "host" for s in ends))
    energy = None
    if profile.energy is not None and not program.unplaced:
        energy = energy_of(
            graph,
            step_costs,
            profile.energy,
            float16=float16,
            more_cycles=sum(step.total for step in host_steps),
        )
    return CostEstimate(
        ops=_op_costs(graph, step_costs),
        steps=step_costs,
        unplaced=program.unplaced,
        energy=energy,
        plan=memory_plan,
        traffic=traffic,
        weight_bytes=weight_bytes(graph, *graph.ops),
        dram_bytes=sum(cost.dram_bytes for cost in step_costs),
        clock_mhz=profile.compute.clock_mhz,
        sram_bytes=profile.memory.sram_bytes,
        host_steps=host_steps,
        left_out=() if host else tuple(work.name for work in host_work),
    )


def _op_costs(graph: IntGraph, step_costs: Sequence[StepCost]) -> tuple[OpCost, ...]:
    """Return the cost of each op, the sum of its steps; 0 of a view."""
    of_op: dict[TensorId, list[StepCost]] = {op.name: [] for op in graph.ops}
    for cost in step_costs:
        of_op[cost.step.op].append(cost)
    return tuple(_op_cost(graph, op, of_op[op.name]) for op in graph.ops)


def _op_cost(graph: IntGraph, op: Op, costs: Sequence[StepCost]) -> OpCost:
    def of_unit(*units: Unit) -> int:
        return sum(cost.unit_cycles for cost in costs if cost.step.unit in units)

    cycles: dict[Resource, int] = {
        # Where nothing takes any time (a view), the vector unit would be the one to do it.
        "vector": of_unit("vector"),
        "compute": of_unit("mac"),
        "host": of_unit("host"),
        "sram": sum(cost.sram_cycles for cost in costs),
        "dma": sum(cost.dram_cycles for cost in costs),
    }
    issue = sum(cost.step.issue_cycles for cost in costs)
    total = sum(cost.total for cost in costs)
    return OpCost(
        name=op.name,
        kind=op_name(op),
        passes=len(costs),
        macs=product_macs(graph, op),
        weight_bytes=weight_bytes(graph, op),
        compute=cycles["compute"],
        vector=cycles["vector"],
        host=cycles["host"],
        issue=issue,
        sram=cycles["sram"],
        dma=cycles["dma"],
        stall=total - issue - cycles["compute"] - cycles["vector"] - cycles["host"],
        total=total,
        bound_by=max(cycles, key=lambda each: cycles[each] + (each == "dma") * of_unit("dma")),
    )
