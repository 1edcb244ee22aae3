# SPDX-License-Identifier: Apache-2.0
"""Estimates of one graph on many chips, which have much in common: it is found out once.

Steps, buffers and what is moved depend on the compute units and on bursts, but on no bandwidth;
nothing but latency depends on the clock. The estimates are those of
:func:`simulator.cost.estimate`, figure for figure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from simulator.cost.estimate import CostEstimate, Prepared, estimate_of, prepared
from simulator.cost.host_work import HostWork
from simulator.graph.graph import IntGraph
from simulator.profile import NpuProfile

MOST_PROGRAMS = 64  # that are kept: those of chips in order have few at a time


@dataclass(frozen=True, slots=True)
class Estimates:
    """Estimates of a graph, and what the next one may take up.

    Chips are estimated fastest in an order in which those that differ in the clock alone follow
    each other, and those with the same compute units: :func:`order`.
    """

    graph: IntGraph
    host_work: Sequence[HostWork] = ()
    _programs: dict[str, Prepared] = field(default_factory=dict)
    _last: dict[str, CostEstimate] = field(default_factory=dict)

    def of(self, profile: NpuProfile) -> CostEstimate:
        """Return the estimate on a chip.

        Raises
        ------
        UnplacedOpError, UncostedOpError
            See :func:`simulator.cost.estimate`.
        """
        units, rest, _ = order(profile)
        if units + rest not in self._last:
            if units not in self._programs:
                while len(self._programs) >= MOST_PROGRAMS:
                    del self._programs[next(iter(self._programs))]
                self._programs[units] = prepared(self.graph, profile)
            found = estimate_of(self._programs[units], profile, self.host_work)
            self._last.clear()
            self._last[units + rest] = found
        return replace(self._last[units + rest], clock_mhz=profile.compute.clock_mhz)


def order(profile: NpuProfile) -> tuple[str, str, float]:
    """Return what chips are sorted by: compute units and bursts, memory and energy, clock."""
    compute = profile.compute.model_dump_json(exclude={"clock_mhz"})
    energy = profile.energy.model_dump_json() if profile.energy is not None else ""
    memory = profile.memory.model_dump_json()
    # Where activations that the SRAM does not hold have a place in DRAM, steps depend on its size;
    # and what is moved in whole bursts on these.
    sram = profile.memory.sram_port
    moved = (sram and sram.burst_bytes, profile.memory.dram_burst_bytes, profile.memory.constants)
    units = compute + (memory if profile.memory.arena == "dram" else repr(moved))
    return units, memory + energy, profile.compute.clock_mhz
