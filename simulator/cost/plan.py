# SPDX-License-Identifier: Apache-2.0
"""The traffic plan: what lives in SRAM, how products are tiled, what goes over which port.

Of a set of plans that the graph alone determines, those that fit the chip's SRAM are evaluated, and
the fastest is taken; of equally fast ones, that with the least DRAM traffic. A larger SRAM admits
more plans, and a faster port or unit makes no step of any plan slower: so neither makes the best
plan slower.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from simulator.cost.array_reads import Numbers
from simulator.cost.memory import Buffer, MemoryPlan
from simulator.cost.moves import MatrixMove, ProductStep, Workload, workload_of
from simulator.cost.ports import cycles_of_all, dram_port
from simulator.cost.residency import Residency, budgets, filled, largest_gap, meetings
from simulator.cost.steps import Program
from simulator.cost.tile_choice import Beside, TileChoice, choice_of
from simulator.cost.tile_traffic import Matrices, Matrix
from simulator.cost.tiles import Tiling, ways_of
from simulator.graph.graph import IntGraph
from simulator.graph.ops import TensorId
from simulator.profile import NpuProfile


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTraffic:
    """What all steps take under a plan, an element of every array for each step.

    Attributes
    ----------
    unit, sram, dram, total
        cycles of the unit and of both ports, and of all, without ``issue_cycles``
    sram_bytes, dram_bytes
        that the ports move
    tilings
        of products, by number of their step
    """

    unit: Numbers
    sram: Numbers
    dram: Numbers
    total: Numbers
    sram_bytes: Numbers
    dram_bytes: Numbers
    tilings: dict[int, Tiling]

    @property
    def cost(self) -> tuple[int, int]:
        """Cycles, then DRAM traffic: plans are compared by this."""
        return int(self.total.sum()), int(self.dram_bytes.sum())


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficPlan:
    """The plan that was taken, and what its steps take.

    ``spilled`` are the activations and temporaries that live in DRAM.
    """

    residency: Residency
    spilled: tuple[TensorId, ...]
    traffic: StepTraffic


class Planner:
    """Evaluates plans of one program on one chip."""

    def __init__(self, workload: Workload, buffers: Sequence[Buffer], profile: NpuProfile) -> None:
        self.workload = workload
        self.buffers = buffers
        self.memory = profile.memory
        self.engine = profile.compute.engine
        self._ways: dict[object, object] = {}
        self._choices: dict[object, TileChoice] = {}
        self.base = np.array([step.cycles for step in workload.steps])
        self.alive: dict[int, list[int]] = {
            product.number: [
                index
                for index, buffer in enumerate(buffers)
                if buffer.first <= product.number <= buffer.last
            ]
            for product in workload.products
        }

    def evaluate(self, residency: Residency) -> StepTraffic:
        work, count = self.workload, len(self.workload.steps)
        resident = np.array([b.name in residency.offsets for b in self.buffers], dtype=bool)
        totals = {
            name: np.zeros(count, dtype=np.int64) for name in ("sb", "db", "sram", "dram")
        }
        totals["db"] += work.constants
        totals["dram"] += work.constant_bursts
        here = resident[work.moves.buffer]
        ends = resident[work.ends.buffer]
        for moves, mask, names in (
            (work.moves, here, ("sb", "sram")),
            (work.moves, ~here, ("db", "dram")),
            (work.ends, ends, ("sb", "sram")),
            (work.ends, ends, ("db", "dram")),
        ):
            np.add.at(totals[names[0]], moves.step[mask], moves.bytes[mask])
            np.add.at(totals[names[1]], moves.step[mask], getattr(moves, names[1])[mask])
        unit = self.base.copy()
        port = self.memory.sram_port
        sram = cycles_of_all(totals["sram"], port) if port else np.zeros_like(unit)
        dram = cycles_of_all(totals["dram"], dram_port(self.memory))
        serial = self.memory.double_buffer is False
        total = unit + sram + dram if serial else np.maximum(np.maximum(unit, sram), dram)
        tilings = {}
        for product in work.products:
            i = product.number
            matrices = Matrices(
                a=_placed(product.a, resident), b=_placed(product.b, resident), c=_placed(product.c, resident)
            )
            choice = self.choice(product, matrices, Beside(unit=int(unit[i]), sram_bursts=int(totals["sram"][i]), dram_bursts=int(totals["dram"][i])))
            places = [
                (residency.offsets[b.name], residency.offsets[b.name] + b.bytes)
                for b in (self.buffers[index] for index in self.alive[i])
                if b.name in residency.offsets
            ]
            way = choice.way(largest_gap(places, self.memory.sram_bytes))
            unit[i], sram[i], dram[i], total[i] = (
                choice.unit[way], choice.sram[way], choice.dram[way], choice.total[way],
            )
            totals["sb"][i] += choice.ways.sram[way]
            totals["db"][i] += choice.ways.dram[way]
            tilings[i] = choice.ways.tiling(way, product.extents)
        return StepTraffic(unit=unit, sram=sram, dram=dram, total=total, sram_bytes=totals["sb"], dram_bytes=totals["db"], tilings=tilings)

    def choice(self, product: ProductStep, matrices: Matrices, beside: Beside) -> TileChoice:
        key = (product.extents, matrices)
        if key not in self._ways:
            self._ways[key] = ways_of(product.extents, matrices, self.engine, self.memory)
        if (key, beside) not in self._choices:
            self._choices[key, beside] = choice_of(self._ways[key], beside, self.memory)
        return self._choices[key, beside]


def _placed(move: MatrixMove | None, resident: np.ndarray) -> Matrix | None:
    if move is None:
        return None
    size, run = move.transfer.bytes, move.transfer.run_bytes
    if move.buffer is None:
        return Matrix(bytes=size, run_bytes=run, place="dram", constant=True)
    return Matrix(bytes=size, run_bytes=run, place="sram" if resident[move.buffer] else "dram")
