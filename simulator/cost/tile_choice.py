# SPDX-License-Identifier: Apache-2.0
"""The best of the ways to compute a product, for every amount of free SRAM."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from simulator.cost.ports import Numbers, PortTraffic, dram_port
from simulator.cost.tiles import Tiling, Ways
from simulator.profile.cost import MemorySection


@dataclass(frozen=True, slots=True)
class Beside:
    """What a product's step computes and moves beside the product's matrices.

    ``unit`` are the array's cycles for the product in one piece; ``sram`` and ``dram`` what other
    operands and constants move over both ports, each read and written in whole bursts.
    """

    unit: int
    sram: tuple[int, int]
    dram: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductCost:
    """What a product's step takes in one way to compute it.

    Attributes
    ----------
    unit, sram, dram, total
        cycles of the array and of both ports, and of all, without ``issue_cycles``
    sram_moved, dram_moved
        what the ports move
    """

    tiling: Tiling
    unit: int
    sram: int
    dram: int
    total: int
    sram_moved: PortTraffic
    dram_moved: PortTraffic


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Ways to compute a product's step, and what they are compared by.

    Attributes
    ----------
    ways
        to choose from
    unit, sram, dram, total, sram_moved, dram_moved
        of each way, as in :class:`ProductCost`
    keys
        the least is the best: of the first of them, then of the next, if equal
    found
        by the room that was asked for
    """

    ways: Ways
    unit: Numbers
    sram: Numbers
    dram: Numbers
    total: Numbers
    sram_moved: PortTraffic
    dram_moved: PortTraffic
    keys: tuple[Numbers, ...]
    found: dict[int, ProductCost] = field(default_factory=dict)

    def within(self, free: int) -> ProductCost:
        """Return the best way that needs no more than ``free`` bytes of SRAM."""
        if free not in self.found:
            best = np.flatnonzero(self.ways.room <= free)
            for key in self.keys:
                of_key = key[best]
                best = best[of_key == of_key.min()]
            self.found[free] = self._cost(int(best[0]))
        return self.found[free]

    def _cost(self, way: int) -> ProductCost:
        return ProductCost(
            tiling=self.ways.tiling(way),
            unit=int(self.unit[way]),
            sram=int(self.sram[way]),
            dram=int(self.dram[way]),
            total=int(self.total[way]),
            sram_moved=self.sram_moved.at(way),
            dram_moved=self.dram_moved.at(way),
        )


def choice_of(
    ways: Ways, beside: Beside, memory: MemorySection, *, by_traffic: bool = False
) -> Choice:
    """Return a product's ways, compared by cycles and, where these are equal, by DRAM traffic.

    With ``by_traffic``, by DRAM traffic, whatever the ports' bandwidths; those that move tiles
    beside the array's work are better than all others then.
    """
    outside = dram_port(memory)
    sram, dram = ways.sram + PortTraffic(*beside.sram), ways.dram + PortTraffic(*beside.dram)
    unit, sram_cycles = ways.split + beside.unit, sram.cycles(memory.sram_port)
    # One buffer: each tile but the first waits for its own transfer to begin.
    copied = np.array([bool(loops.copied) for loops in ways.choices])[ways.loops]
    waits = ways.serial * copied * (ways.tiles - 1) * outside.latency_cycles
    dram_cycles = dram.cycles(outside) + waits
    together = np.maximum(np.maximum(unit, sram_cycles), dram_cycles)
    total = np.where(ways.serial, unit + sram_cycles + dram_cycles, together)
    return Choice(
        ways=ways,
        unit=unit,
        sram=sram_cycles,
        dram=dram_cycles,
        total=total,
        sram_moved=sram,
        dram_moved=dram,
        keys=(ways.serial if by_traffic else total, dram.bytes, sram.bytes, unit, ways.room),
    )
