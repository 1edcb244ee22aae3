# SPDX-License-Identifier: Apache-2.0
"""Cycles of a memory's port: whole bursts at its bandwidth, after its latency."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from simulator.cost.exact import as_written, ceil_div, ceil_times
from simulator.cost.steps import Transfer
from simulator.profile.cost import MemorySection, PortSection


def burst_bytes(transfer: Transfer, burst: int) -> int:
    """Return the bytes that a port moves for a transfer: each contiguous run in whole bursts."""
    if burst == 1 or transfer.bytes == 0:
        return transfer.bytes
    run = max(1, min(transfer.run_bytes, transfer.bytes))
    whole, rest = divmod(transfer.bytes, run)
    return (whole * ceil_div(run, burst) + ceil_div(rest, burst)) * burst


def bytes_of_bursts(size: int, runs: npt.NDArray[Any], burst: int) -> npt.NDArray[Any]:
    """Return :func:`burst_bytes` of ``size`` bytes for every length of their runs."""
    runs = np.maximum(1, np.minimum(runs, size))
    return (size // runs * -(-runs // burst) + -(-(size % runs) // burst)) * burst


def port_cycles(transfers: Sequence[Transfer], port: PortSection) -> int:
    """Return the cycles that a port takes for the transfers of one step; 0 for none.

    They follow each other without a gap: the latency shows once.
    """
    return cycles_of_bursts(sum(burst_bytes(each, port.burst_bytes) for each in transfers), port)


def cycles_of_bursts(moved: int, port: PortSection) -> int:
    """Return the cycles that a port takes for so many bytes of whole bursts; 0 for none."""
    if moved == 0:
        return 0
    bandwidth: Fraction = as_written(port.bytes_per_cycle)
    return port.latency_cycles + ceil_times(moved, 1 / bandwidth)


def cycles_of_all(moved: npt.NDArray[Any], port: PortSection) -> npt.NDArray[Any]:
    """Return :func:`cycles_of_bursts` of every element, exact as well."""
    slowness = 1 / as_written(port.bytes_per_cycle)
    numerator, denominator = slowness.numerator, slowness.denominator
    if max(int(moved.max(initial=0)) * numerator, denominator) > np.iinfo(np.int64).max:
        moved = moved.astype(object)
    return -(-moved * numerator // denominator) + (moved > 0) * port.latency_cycles


def dram_port(memory: MemorySection) -> PortSection:
    """Return the DRAM's port; a profile without bursts and latency has single bytes and none."""
    return PortSection(
        bytes_per_cycle=memory.dram_bytes_per_cycle,
        burst_bytes=memory.dram_burst_bytes or 1,
        latency_cycles=memory.dram_latency_cycles or 0,
    )
