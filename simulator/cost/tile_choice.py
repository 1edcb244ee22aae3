# SPDX-License-Identifier: Apache-2.0
"""The best of the ways to compute a product, for every amount of free SRAM."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class ByRoom:
    """The best way for every amount of room: ``costs[i]`` from ``rooms[i]`` bytes on."""

    rooms: tuple[int, ...]
    costs: tuple[ProductCost, ...]

    def within(self, free: int) -> ProductCost:
        """Return the best way that needs no more than ``free`` bytes."""
        return self.costs[bisect_right(self.rooms, free) - 1]


def fastest(ways: Ways, beside: Beside, memory: MemorySection) -> ByRoom:
    """Return the way with the least cycles; of equally fast ones, that with the least traffic."""
    figures = _figures(ways, beside, memory)
    return _by_room(figures, (figures.total, *figures.traffic))


def least_moving(ways: Ways, beside: Beside, memory: MemorySection) -> ByRoom:
    """Return the way with the least DRAM traffic, whatever the bandwidths of the ports.

    Of those that move tiles beside the array's work, if any do.
    """
    figures = _figures(ways, beside, memory)
    return _by_room(figures, (ways.serial, *figures.traffic))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Figures:
    """What every way takes, as in :class:`ProductCost`."""

    ways: Ways
    unit: Numbers
    sram: Numbers
    dram: Numbers
    total: Numbers
    sram_moved: PortTraffic
    dram_moved: PortTraffic

    @property
    def traffic(self) -> tuple[Numbers, ...]:
        """By which ways are compared, the most important first."""
        return self.dram_moved.bytes, self.sram_moved.bytes, self.unit, self.ways.room


def _figures(ways: Ways, beside: Beside, memory: MemorySection) -> _Figures:
    outside = dram_port(memory)
    sram, dram = ways.sram + PortTraffic(*beside.sram), ways.dram + PortTraffic(*beside.dram)
    unit, sram_cycles = ways.split + beside.unit, sram.cycles(memory.sram_port)
    # One buffer: each tile but the first waits for its own transfer to begin.
    copied = np.array([bool(loops.copied) for loops in ways.choices])[ways.loops]
    waits = ways.serial * copied * (ways.tiles - 1) * outside.latency_cycles
    dram_cycles = dram.cycles(outside) + waits
    beside_each_other = np.maximum(np.maximum(unit, sram_cycles), dram_cycles)
    return _Figures(
        ways=ways,
        unit=unit,
        sram=sram_cycles,
        dram=dram_cycles,
        total=np.where(ways.serial, unit + sram_cycles + dram_cycles, beside_each_other),
        sram_moved=sram,
        dram_moved=dram,
    )


def _by_room(figures: _Figures, keys: Sequence[Numbers]) -> ByRoom:
    """Return the way whose ``keys`` are least, the first of them first, for every room."""
    ranking = np.lexsort(tuple(reversed(keys)))
    rank = np.empty_like(ranking)
    rank[ranking] = np.arange(len(ranking))
    by_room = np.argsort(figures.ways.room, kind="stable")
    best = np.minimum.accumulate(rank[by_room])
    changes = np.flatnonzero(np.diff(best, prepend=len(ranking)))
    return ByRoom(
        tuple(figures.ways.room[by_room[changes]].tolist()),
        tuple(_cost(figures, way) for way in ranking[best[changes]].tolist()),
    )


def _cost(figures: _Figures, way: int) -> ProductCost:
    return ProductCost(
        tiling=figures.ways.tiling(way),
        sram_moved=figures.sram_moved.at(way),
        dram_moved=figures.dram_moved.at(way),
        **{name: int(getattr(figures, name)[way]) for name in ("unit", "sram", "dram", "total")},
    )
