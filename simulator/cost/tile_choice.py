# SPDX-License-Identifier: Apache-2.0
"""The best of the ways to compute a product, for every amount of free SRAM."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simulator.cost.array_reads import Numbers
from simulator.cost.ports import cycles_of_all, dram_port
from simulator.cost.tiles import Ways
from simulator.profile.cost import MemorySection


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """What a product's step computes and moves beside the product's matrices.

    Attributes
    ----------
    unit
        cycles of the array for the product in one piece
    sram_bursts, dram_bursts
        of other operands and constants, in whole bursts
    """

    unit: int
    sram_bursts: int
    dram_bursts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TileChoice:
    """Which way to take with how much room.

    Attributes
    ----------
    ways
        to choose from
    unit, sram, dram, total
        cycles of each: of the array, of both ports, and of all without ``issue_cycles``
    rooms, best
        in rising order of their rooms: the best way with that room or less
    least_traffic
        the same, by DRAM traffic first and no bandwidth at all
    """

    ways: Ways
    unit: Numbers
    sram: Numbers
    dram: Numbers
    total: Numbers
    rooms: Numbers
    best: Numbers
    least_traffic: Numbers

    def way(self, free: int, *, by_traffic: bool = False) -> int:
        """Return the index of the way to take with ``free`` bytes of SRAM."""
        last = int(np.searchsorted(self.rooms, free, side="right")) - 1
        return int((self.least_traffic if by_traffic else self.best)[last])


def choice_of(ways: Ways, beside: Beside, memory: MemorySection) -> TileChoice:
    """Return the way to take for every amount of room: the least cycles, then the least traffic."""
    outside = dram_port(memory)
    unit = ways.split + beside.unit
    sram = np.zeros_like(unit)
    if memory.sram_port is not None:
        sram = cycles_of_all(ways.sram_bursts + beside.sram_bursts, memory.sram_port)
    dram = cycles_of_all(ways.dram_bursts + beside.dram_bursts, outside)
    # One buffer: each tile but the first waits for its own transfer to begin.
    copied = np.array([bool(loops.copied) for loops in ways.choices])[ways.loops]
    dram = dram + ways.serial * copied * (ways.tiles - 1) * outside.latency_cycles
    total = np.where(ways.serial, unit + sram + dram, np.maximum(np.maximum(unit, sram), dram))
    by_room = np.argsort(ways.room, kind="stable")
    traffic = (ways.dram_bursts, ways.sram_bursts, ways.split, ways.room)
    return TileChoice(
        ways=ways,
        unit=unit,
        sram=sram,
        dram=dram,
        total=total,
        rooms=ways.room[by_room],
        best=_best_so_far(np.lexsort((*reversed(traffic), total)), by_room),
        least_traffic=_best_so_far(np.lexsort((total * 0, *reversed(traffic))), by_room),
    )


def _best_so_far(ranking: Numbers, by_room: Numbers) -> Numbers:
    """Return, for each in order of room, the one that ranks best of those up to it."""
    rank = np.empty_like(ranking)
    rank[ranking] = np.arange(len(ranking))
    return ranking[np.minimum.accumulate(rank[by_room])]
