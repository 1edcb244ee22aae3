# SPDX-License-Identifier: Apache-2.0
"""The parts of a record that a graph and a profile determine; nothing here needs torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aocq.jobs.memory_record import buffer_records, memory_record, peak_record
from aocq.records.costs import (
    BufferRecord,
    CaveatRecord,
    CyclesRecord,
    EnergyRecord,
    Float16Record,
    HostStepRecord,
    LiftRecord,
    MemoryRecord,
    PeakRecord,
    PortRecord,
)
from aocq.records.fields import Record
from aocq.records.run import GraphRecord, ProfileRecord, ProofRecord, RegisterRecord
from simulator.cost import CostEstimate, estimate
from simulator.cost.energy import EnergyEstimate
from simulator.cost.float16 import float16_estimate
from simulator.cost.host_work import HostWork
from simulator.cost.lifts import Lift, amount
from simulator.cost.ports import dram_port
from simulator.graph import IntGraph, sha256
from simulator.graph.macs import total_macs
from simulator.profile import NpuProfile


def graph_record(graph: IntGraph) -> GraphRecord:
    """Return what a record says of a graph."""
    return GraphRecord(
        sha256=sha256(graph), ops=len(graph.ops), macs=total_macs(graph), float_ops=graph.float_ops
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CostRecords:
    """What a record says of a graph's cost on a profile, and the estimate that it is made of."""

    costs: CostEstimate
    memory: MemoryRecord
    cycles: CyclesRecord
    ports: dict[str, PortRecord]
    buffers: list[BufferRecord]
    peak: PeakRecord | None
    energy: EnergyRecord | None
    float16: Float16Record
    caveats: list[CaveatRecord]

    def fields(self) -> dict[str, Any]:
        """Return the fields of a run's record, by name."""
        return {
            "memory": self.memory,
            "cycles": self.cycles,
            "latency_ms": self.costs.latency_ms,
            "fps": self.costs.fps,
            "ports": self.ports,
            "buffers": self.buffers,
            "peak": self.peak,
            "energy_record": self.energy,
            "float16": self.float16,
            "caveats": self.caveats,
        }


def plain_costs(records: CostRecords) -> dict[str, Any]:
    """Return the fields of a run's record as JSON gives them back."""
    return {name: _plain(value) for name, value in records.fields().items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Record):
        return value.model_dump(mode="json")
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list) else value


def cost_records(
    graph: IntGraph,
    profile: NpuProfile,
    parameters_bits: int,
    host_work: Sequence[HostWork] = (),
    *,
    allow_unplaced: bool = False,
) -> CostRecords:
    """Return what a record says of a graph's cost.

    ``parameters_bits`` is the size of the network's parameters, see
    :func:`aocq.jobs.memory_record.parameter_bits`; ``host_work`` is what the network's task does
    with the graph's results.

    Raises
    ------
    UnplacedOpError
        If the chip has no place for an op, unless that is allowed.
    """
    costs = estimate(graph, profile, host_work, allow_unplaced=allow_unplaced)
    return CostRecords(
        costs=costs,
        memory=memory_record(costs, parameters_bits),
        cycles=cycles_record(costs),
        ports=port_records(costs, profile),
        buffers=buffer_records(graph, costs),
        peak=peak_record(costs),
        energy=energy_record(costs.energy, profile),
        float16=float16_record(graph, profile, host_work, allow_unplaced=allow_unplaced),
        caveats=[CaveatRecord(about=each.about, text=each.text) for each in profile.caveats],
    )


def port_records(costs: CostEstimate, profile: NpuProfile) -> dict[str, PortRecord]:
    """Return the traffic of both memories' ports."""
    moved = {
        "sram": (sum(step.sram_bytes for step in costs.steps), costs.sram_cycles),
        "dram": (costs.dram_bytes, costs.dma_cycles),
    }
    limits = {"sram": profile.memory.sram_port, "dram": dram_port(profile.memory)}
    return {
        name: PortRecord(
            bytes=total,
            cycles=cycles,
            bytes_per_cycle=limit.bytes_per_cycle if limit else None,
            burst_bytes=limit.burst_bytes if limit else 1,
            latency_cycles=limit.latency_cycles if limit else 0,
        )
        for (name, (total, cycles)), limit in zip(moved.items(), limits.values(), strict=True)
    }


def energy_record(energy: EnergyEstimate | None, profile: NpuProfile) -> EnergyRecord | None:
    """Return estimated energy, None where the profile has no table for the graph."""
    if energy is None:
        return None
    return EnergyRecord(
        node_nm=energy.node_nm,
        total_mj=energy.total_mj,
        parts=dict(energy.parts),
        source=profile.source_of("energy"),
    )


def float16_record(
    graph: IntGraph, profile: NpuProfile, host_work: Sequence[HostWork], *, allow_unplaced: bool
) -> Float16Record:
    """Return estimated costs of the same network in float16."""
    found = float16_estimate(graph, profile, host_work, allow_unplaced=allow_unplaced)
    return Float16Record(
        weight_bytes=found.weight_bytes,
        peak_sram_bytes=found.peak_sram_bytes,
        dram_bytes=found.dram_bytes,
        cycles=found.cycles,
        latency_ms=found.latency_ms,
        energy_mj=found.energy.total_mj if found.energy else None,
    )


def lift_record(lift: Lift, gate: str | None) -> LiftRecord:
    """Return what more of one resource gives, and the gate that it would meet."""
    return LiftRecord(
        resource=lift.resource,
        have=lift.have,
        need=lift.need,
        gate=gate,
        latency_ms=lift.costs.latency_ms,
        peak_sram_bytes=lift.costs.peak_sram_bytes,
    )


def cycles_record(costs: CostEstimate) -> CyclesRecord:
    """Return estimated cycles."""
    return CyclesRecord(
        total=costs.total_cycles,
        compute=costs.compute_cycles,
        vector=costs.vector_cycles,
        dma=costs.dma_cycles,
        stall=costs.stall_cycles,
        by_kind=dict(costs.by_kind),
        bound_by=dict(costs.bound_by),
        host=costs.host_cycles,
        issue=costs.issue_cycles,
        sram=costs.sram_cycles,
        by_block=costs.by_block,
        unplaced=list(costs.unplaced),
        host_steps=[
            HostStepRecord(
                name=step.work.name,
                operations=step.work.operations,
                functions=step.work.functions,
                bytes=step.bytes,
                handover=step.handover,
                cycles=step.total,
            )
            for step in costs.host_steps
        ],
        left_out=list(costs.left_out),
    )


def profile_record(profile: NpuProfile) -> ProfileRecord:
    """Return what a record says of a profile."""
    return ProfileRecord(
        name=profile.name,
        sha256=profile.sha256(),
        title=profile.title,
        clock_mhz=profile.compute.clock_mhz,
        sources=dict(profile.source),
        macs_per_cycle=amount(profile, "macs_per_cycle"),
        lanes=amount(profile, "lanes"),
    )


def proof_record(graph: IntGraph, profile: NpuProfile) -> ProofRecord:
    """Return what static bounds say of a graph's values in a profile's registers.

    Raises
    ------
    InputError
        If the profile states registers of values that ops of the graph do not have.
    """
    from simulator.proof import prove  # not for an estimate, which proves nothing

    proofs = prove(graph, profile.register_widths)
    return ProofRecord(
        values=len(proofs),
        proven=sum(found.proven for found in proofs),
        registers=[
            RegisterRecord(
                op=found.op,
                kind=found.kind,
                value=found.value,
                level=found.level,
                needed_bits=found.needed_bits,
                type=str(found.register.kind),
                stated_by=str(found.register.stated_by),
                slack_bits=found.slack,
                proven=found.proven,
            )
            for found in proofs
            if found.stated
        ],
    )
