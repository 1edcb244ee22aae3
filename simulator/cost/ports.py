# SPDX-License-Identifier: Apache-2.0
"""Cycles of a memory's port: whole bursts at its bandwidth, after its latency."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from simulator.cost.exact import as_written, ceil_div
from simulator.cost.traffic import Transfer
from simulator.profile.cost import MemorySection, PortSection

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PortTraffic:
    """Bytes that a port reads and writes, in whole bursts; arrays have an element for each step."""

    read: Any
    written: Any

    @property
    def bytes(self) -> Any:
        """Bytes in all."""
        return self.read + self.written

    def __add__(self, other: PortTraffic) -> PortTraffic:
        return PortTraffic(self.read + other.read, self.written + other.written)

    def at(self, index: int) -> PortTraffic:
        """Return the element of one step."""
        return PortTraffic(int(self.read[index]), int(self.written[index]))

    def cycles(self, port: PortSection | None) -> Any:
        """Return the cycles that a port takes for it; 0 where nothing limits the port."""
        if port is None:
            return np.zeros_like(self.read)
        return port_cycles(self.read, self.written, port)


def no_traffic(steps: int) -> PortTraffic:
    """Return the traffic of so many steps that move nothing."""
    return PortTraffic(np.zeros(steps, dtype=np.int64), np.zeros(steps, dtype=np.int64))


def joined_traffic(parts: Sequence[PortTraffic]) -> PortTraffic:
    """Return the traffic of several parts, one after the other."""
    return PortTraffic(
        np.concatenate([part.read for part in parts]),
        np.concatenate([part.written for part in parts]),
    )


def burst_bytes(transfer: Transfer, burst: int) -> int:
    """Return the bytes that a port moves for a transfer: each contiguous run in whole bursts."""
    if burst == 1 or transfer.bytes == 0:
        return transfer.bytes
    run = max(1, min(transfer.run_bytes, transfer.bytes))
    whole, rest = divmod(transfer.bytes, run)
    return (whole * ceil_div(run, burst) + ceil_div(rest, burst)) * burst


def bytes_of_bursts(size: int, runs: Numbers, burst: int) -> Numbers:
    """Return :func:`burst_bytes` of ``size`` bytes for every length of their runs."""
    runs = np.maximum(1, np.minimum(runs, size))
    bursts: Numbers = size // runs * -(-runs // burst) + -(-(size % runs) // burst)
    return bursts * burst


def port_cycles(read: Numbers, written: Numbers, port: PortSection) -> Numbers:
    """Return the cycles that a port takes for bytes of whole bursts, for each step; 0 for none.

    They follow each other without a gap: the latency shows once. Reads alone take no less than
    their own bandwidth allows.
    """
    cycles = _ceil_divided(read + written, port.bytes_per_cycle)
    if port.read_bytes_per_cycle is not None:
        cycles = np.maximum(cycles, _ceil_divided(read, port.read_bytes_per_cycle))
    waits: Numbers = np.where(read + written > 0, port.latency_cycles, 0)
    return cycles + waits


def _ceil_divided(moved: Numbers, rate: float) -> Numbers:
    """Return ``moved / rate``, rounded up, exact for any rate."""
    slowness = 1 / as_written(rate)
    numerator, denominator = slowness.numerator, slowness.denominator
    if max(int(moved.max(initial=0)) * numerator, denominator) > np.iinfo(np.int64).max:
        # Python's integers have no end, and the cycles are few enough again.
        exact = -(-moved.astype(object) * numerator // denominator)
        return np.array(exact, dtype=np.int64)
    found: Numbers = -(-moved * numerator // denominator)
    return found


def dram_port(memory: MemorySection) -> PortSection:
    """Return the DRAM's port; a profile without bursts and latency has single bytes and none."""
    return PortSection(
        bytes_per_cycle=memory.dram_bytes_per_cycle,
        read_bytes_per_cycle=memory.dram_read_bytes_per_cycle,
        burst_bytes=memory.dram_burst_bytes or 1,
        latency_cycles=memory.dram_latency_cycles or 0,
    )
