# SPDX-License-Identifier: Apache-2.0
"""The parts of a record that a graph and a profile determine; nothing here needs torch."""

from __future__ import annotations

from aocq.records.run import (
    CyclesRecord,
    GraphRecord,
    MemoryRecord,
    ProfileRecord,
    ProofRecord,
    RegisterRecord,
)
from simulator.cost import CostEstimate
from simulator.graph import IntGraph, sha256
from simulator.graph.macs import total_macs
from simulator.profile import NpuProfile
from simulator.proof import prove


def graph_record(graph: IntGraph) -> GraphRecord:
    """Return what a record says of a graph."""
    return GraphRecord(
        sha256=sha256(graph), ops=len(graph.ops), macs=total_macs(graph), float_ops=graph.float_ops
    )


def memory_record(costs: CostEstimate, parameters: int, weight_bits: int) -> MemoryRecord:
    """Return bytes on the chip and beside it, and of all parameters at the width of the weights."""
    return MemoryRecord(
        weight_bytes=costs.weight_bytes,
        model_size_bytes=(parameters * weight_bits + 7) // 8,
        peak_sram_bytes=costs.peak_sram_bytes,
        peak_lower_bound_bytes=costs.peak_lower_bound_bytes,
        sram_bytes=costs.sram_bytes,
        dram_bytes=costs.dram_bytes,
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
    )


def profile_record(profile: NpuProfile) -> ProfileRecord:
    """Return what a record says of a profile."""
    return ProfileRecord(
        name=profile.name,
        sha256=profile.sha256(),
        title=profile.title,
        clock_mhz=profile.compute.clock_mhz,
        sources=dict(profile.source),
    )


def proof_record(graph: IntGraph, profile: NpuProfile) -> ProofRecord:
    """Return what static bounds say of a graph's values in a profile's registers.

    Raises
    ------
    InputError
        If the profile states registers of values that ops of the graph do not have.
    """
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
