# SPDX-License-Identifier: Apache-2.0
"""Cycles of a memory's port: whole bursts at its bandwidth, after its latency."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from simulator.cost.exact import as_written, ceil_div, ceil_times
from simulator.cost.traffic import Transfer
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

    They follow each other without a gap: the latency shows once. Reads alone take no less than
    their own bandwidth allows.
    """
    moved = {
        written: sum(
            burst_bytes(each, port.burst_bytes) for each in transfers if each.written == written
        )
        for written in (False, True)
    }
    if not any(moved.values()):
        return 0
    bandwidth: Fraction = as_written(port.bytes_per_cycle)
    read_bandwidth = as_written(port.read_bytes_per_cycle or port.bytes_per_cycle)
    return port.latency_cycles + max(
        ceil_times(sum(moved.values()), 1 / bandwidth),
        ceil_times(moved[False], 1 / read_bandwidth),
    )


def dram_port(memory: MemorySection) -> PortSection:
    """Return the DRAM's port; a profile without bursts and latency has single bytes and none."""
    return PortSection(
        bytes_per_cycle=memory.dram_bytes_per_cycle,
        read_bytes_per_cycle=memory.dram_read_bytes_per_cycle,
        burst_bytes=memory.dram_burst_bytes or 1,
        latency_cycles=memory.dram_latency_cycles or 0,
    )
