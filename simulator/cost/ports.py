# SPDX-License-Identifier: Apache-2.0
"""Cycles of a memory's port: whole bursts at its bandwidth, after its latency."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from simulator.cost.exact import as_written, ceil_div, ceil_times
from simulator.cost.steps import Transfer
from simulator.profile.cost import MemorySection, PortSection


def burst_bytes(transfer: Transfer, burst: int) -> int:
    """Return the bytes that a port moves for a transfer: each contiguous run in whole bursts."""
    if burst == 1 or transfer.bytes == 0:
        return transfer.bytes
    run = max(1, min(transfer.run_bytes, transfer.bytes))
    whole, rest = divmod(transfer.bytes, run)
    return whole * ceil_div(run, burst) * burst + ceil_div(rest, burst) * burst


def port_cycles(transfers: Sequence[Transfer], port: PortSection) -> int:
    """Return the cycles that a port takes for the transfers of one step; 0 for none.

    They follow each other without a gap: the latency shows once.
    """
    moved = sum(burst_bytes(each, port.burst_bytes) for each in transfers)
    if moved == 0:
        return 0
    bandwidth: Fraction = as_written(port.bytes_per_cycle)
    return port.latency_cycles + ceil_times(moved, 1 / bandwidth)


def dram_port(memory: MemorySection) -> PortSection:
    """Return the DRAM's port; a profile without bursts and latency has single bytes and none."""
    return PortSection(
        bytes_per_cycle=memory.dram_bytes_per_cycle,
        burst_bytes=memory.dram_burst_bytes or 1,
        latency_cycles=memory.dram_latency_cycles or 0,
    )
