# SPDX-License-Identifier: Apache-2.0
"""The record of what a network costs on a chip, ESTIMATED: memory, cycles, traffic, energy."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from aocq.records.fields import (
    Amount,
    Count,
    Name,
    Record,
)


class MemoryRecord(Record):
    """Bytes on the chip and beside it.

    sram_bytes : of the profile, for activations
    peak_sram_bytes : what the memory plan needs, gaps between its buffers included
    greedy_peak_sram_bytes : what greedy allocation by size needs; None in older records
    peak_lower_bound_bytes : the most bytes alive at once, which no plan can do without
    """

    sram_bytes: Count
    weight_bytes: Count
    model_size_bytes: Count
    peak_sram_bytes: Count
    peak_lower_bound_bytes: Count
    dram_bytes: Count
    greedy_peak_sram_bytes: Count | None = None


class HostStepRecord(Record):
    """A step of the host behind the graph, for one image, ESTIMATED.

    operations, functions : as in :class:`simulator.cost.host_work.HostWork`
    bytes : of the graph's results that it takes over
    handover : cycles at the border between chip and host
    cycles : of all of it, handover and copying included
    """

    name: Name
    operations: Count
    functions: Count
    bytes: Count
    handover: Count
    cycles: Count


class CyclesRecord(Record):
    """ESTIMATED cycles of one image.

    compute, vector, host : in which the MAC array, the vector unit and the host work
    issue : before steps start
    sram, dma : in which the ports of SRAM and DRAM work
    stall : in which units wait for a port
    by_kind, by_block : totals by kind of op, and by block of the network
    bound_by : totals of the ops that each resource limits
    unplaced : ops that the chip has no place for, whose cycles are not in the total
    host_steps : what the host does with the graph's results, in order; in all of the above
    left_out : such steps that are not, because the profile describes no host
    """

    total: Count
    compute: Count
    vector: Count
    dma: Count
    stall: Count
    by_kind: dict[str, Count]
    bound_by: dict[str, Count]
    host: Count = 0
    issue: Count = 0
    sram: Count = 0
    by_block: dict[str, Count] = Field(default_factory=dict)
    unplaced: list[Name] = Field(default_factory=list)
    host_steps: list[HostStepRecord] = Field(default_factory=list)
    left_out: list[Name] = Field(default_factory=list)


class PortRecord(Record):
    """What a memory's port moves for one image, and the port's limits as the profile states them.

    bytes_per_cycle : None where the profile does not limit the port
    """

    bytes: Count
    cycles: Count
    bytes_per_cycle: Amount | None
    burst_bytes: Count
    latency_cycles: Count


class BufferRecord(Record):
    """Memory of one activation, with its views, or of one temporary.

    op : that writes it; the input's name for an input
    type : of its elements, ``s8``; of a temporary ``32 bits``
    offset : first byte in SRAM; None of a buffer that lives in DRAM
    first, last : indexes of the first and last op during which it exists
    first_pass, last_pass : numbers of the first and last pass of these two ops
    storage : ``activation``, ``temporary`` (between passes of one op) or ``weights`` (tiles)
    """

    name: Name
    op: Name
    type: Name
    bytes: Count
    offset: Count | None
    first: Count
    last: Count
    first_pass: Count = 0
    last_pass: Count = 0
    storage: Literal["activation", "temporary", "weights"]


class PeakRecord(Record):
    """The moment at which the most bytes are alive.

    op : that runs then
    bytes : the sum of what is alive, without gaps between
    buffers : names of what is alive, the largest first
    """

    op: Name
    bytes: Count
    buffers: list[Name]


class EnergyRecord(Record):
    """ESTIMATED energy of one image in millijoules; None of a run whose profile has no table.

    parts : by what spends it: ``mac``, ``vector``, ``sram``, ``dram``, ``leakage``
    """

    node_nm: Amount
    total_mj: Amount
    parts: dict[str, Amount]
    source: str


class Float16Record(Record):
    """The same network in float16 on the same profile, ESTIMATED.

    cycles, latency_ms : None where the profile does not say how fast the chip is in float16
    energy_mj : None where it has no energies, or none of a multiply-accumulate in float16
    """

    weight_bytes: Count
    peak_sram_bytes: Count
    dram_bytes: Count
    cycles: Count | None = None
    latency_ms: Amount | None = None
    energy_mj: Amount | None = None


class LiftRecord(Record):
    """What more of one resource would give, found by estimating again.

    resource : ``sram_bytes``, ``dram_bytes_per_cycle``, ``macs_per_cycle``, ``lanes`` or
        ``clock_mhz``
    have, need : of the profile, and the least that meets the gate, or (where no gate failed) twice
        as much
    gate : the gate that it would meet; None where no gate failed
    latency_ms, peak_sram_bytes : with it
    """

    resource: Name
    have: Amount
    need: Amount
    gate: Name | None
    latency_ms: Amount
    peak_sram_bytes: Count


class CaveatRecord(Record):
    """What the profile says beside a figure."""

    about: Name
    text: str
