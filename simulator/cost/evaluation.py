# SPDX-License-Identifier: Apache-2.0
"""What the steps of a program take where it is given which buffers live in SRAM."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from simulator.cost.allocation import Buffer
from simulator.cost.moves import Moves, ProductStep, Workload
from simulator.cost.ports import Numbers, PortTraffic, dram_port, no_traffic
from simulator.cost.residency import Residency, largest_gap
from simulator.cost.tile_choice import Beside, Choice, ProductCost, choice_of
from simulator.cost.tile_traffic import Copying, Matrices, Matrix, Place
from simulator.cost.tiles import Ways, ways_of
from simulator.profile import NpuProfile
from simulator.profile.cost import MemorySection

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCycles:
    """What all steps take under a plan, an element of every array for each.

    Attributes
    ----------
    unit, sram, dram, total
        cycles of the unit and of both ports, and of all, without ``issue_cycles``
    sram_moved, dram_moved
        what the ports move
    products
        of matrix products on the array, by number of their step
    """

    unit: Numbers
    sram: Numbers
    dram: Numbers
    total: Numbers
    sram_moved: PortTraffic
    dram_moved: PortTraffic
    products: Mapping[int, ProductCost]

    @property
    def rank(self) -> tuple[int, int]:
        """Cycles, then DRAM traffic: plans are compared by these."""
        return int(self.total.sum()), int(self.dram_moved.bytes.sum())


@dataclass(frozen=True, slots=True)
class Chip:
    """A program on a chip, with what was found out about its products.

    Attributes
    ----------
    unit
        cycles of each step's unit, products in one piece
    alive
        the buffers that exist during each step
    kinds
        of products, by number of their step: those with the same extents and matrices have one
    ways, choices
        of kinds of products, by what they move from where
    """

    workload: Workload
    profile: NpuProfile
    unit: Numbers
    alive: Sequence[Sequence[Buffer]]
    kinds: Mapping[int, int]
    ways: dict[Any, Ways] = field(default_factory=dict)
    choices: dict[Any, Choice] = field(default_factory=dict)


def chip_of(workload: Workload, profile: NpuProfile) -> Chip:
    """Return a program on a chip, nothing found out yet."""
    unit = np.array([step.cycles for step in workload.steps], dtype=np.int64)
    alive: list[list[Buffer]] = [[] for _ in workload.steps]
    for buffer in workload.buffers:
        for number in range(buffer.first, min(buffer.last + 1, len(alive))):
            alive[number].append(buffer)
    kinds: dict[Any, int] = {}
    kind_of = {
        product.number: kinds.setdefault((product.extents, product.matrices), len(kinds))
        for product in workload.products
    }
    return Chip(workload, profile, unit, alive, kind_of)


def evaluated(chip: Chip, residency: Residency) -> StepCycles:
    """Return what all steps take, each product in the fastest way that the free SRAM allows."""
    memory, work = chip.profile.memory, chip.workload
    resident = residents(work, residency)
    sram, dram = port_traffic(work, resident, memory)
    beside = beside_products(chip, sram, dram)
    products = {
        product.number: choice(chip, product, resident, beside[product.number]).within(
            largest_gap(occupied(chip, residency, product.number), memory.sram_bytes)
        )
        for product in work.products
    }
    return with_products(all_together(chip, sram, dram), products)


def least_cycles(chip: Chip, residency: Residency) -> int:
    """Return cycles that no way to compute the products can do without."""
    work = chip.workload
    sram, dram = least_traffic(chip, residency)
    if chip.profile.memory.constants == "sram":
        sram = sram + work.weights
    else:
        dram = dram + work.weights
    return int(all_together(chip, sram, dram).total.sum())


def least_traffic(chip: Chip, residency: Residency) -> tuple[PortTraffic, PortTraffic]:
    """Return what the ports move at least, of products every matrix once and no weights."""
    work = chip.workload
    resident = residents(work, residency)
    sram, dram = port_traffic(work, resident, chip.profile.memory)
    here = resident[work.matrices.buffer]
    return (
        sram + _of_steps(work.matrices, work.matrices.sram, here, len(work.steps)),
        dram + _of_steps(work.matrices, work.matrices.dram, ~here, len(work.steps)),
    )


def residents(work: Workload, residency: Residency) -> Flags:
    """Return for each buffer whether it lives in SRAM; the last element is of what never does."""
    flags = [buffer.name in residency.offsets for buffer in work.buffers]
    return np.array([*flags, False], dtype=bool)


def port_traffic(
    work: Workload, resident: Flags, memory: MemorySection
) -> tuple[PortTraffic, PortTraffic]:
    """Return what the steps move over the SRAM's and the DRAM's port, but products' matrices."""
    count = len(work.steps)
    here, ends = resident[work.moves.buffer], resident[work.ends.buffer]
    sram = _of_steps(work.moves, work.moves.sram, here, count)
    dram = _of_steps(work.moves, work.moves.dram, ~here, count)
    # What DRAM gives is written to SRAM, and the other way round.
    fetched = _of_steps(work.ends, work.ends.sram, ends, count)
    sram += PortTraffic(fetched.written, fetched.read)
    dram += _of_steps(work.ends, work.ends.dram, ends, count)
    if memory.constants == "sram":
        return sram + work.constants, dram
    return sram, dram + work.constants


def occupied(chip: Chip, residency: Residency, number: int) -> list[tuple[int, int]]:
    """Return first byte and end of every buffer that lives in SRAM during a step."""
    return [
        (start, start + buffer.bytes)
        for buffer in chip.alive[number]
        if (start := residency.offsets.get(buffer.name)) is not None
    ]


def beside_products(chip: Chip, sram: PortTraffic, dram: PortTraffic) -> dict[int, Beside]:
    """Return what each product's unit does and its ports move beside the product's matrices."""
    numbers = [product.number for product in chip.workload.products]
    columns = (chip.unit, sram.read, sram.written, dram.read, dram.written)
    rows = zip(*(column[numbers].tolist() for column in columns), strict=True)
    return {
        number: Beside(unit, (sram_read, sram_written), (dram_read, dram_written))
        for number, (unit, sram_read, sram_written, dram_read, dram_written) in zip(
            numbers, rows, strict=True
        )
    }


def choice(
    chip: Chip,
    product: ProductStep,
    resident: Flags,
    beside: Beside,
    *,
    by_traffic: bool = False,
    weights: Place | None = None,
) -> Choice:
    """Return the ways to compute a product whose matrices live where ``resident`` says.

    Its weights live where constants do, or at the place that is given. The best way is the fastest,
    or, with ``by_traffic``, that which moves the least.
    """
    memory = chip.profile.memory
    of_constants = weights or memory.constants or "dram"
    places: tuple[Place, ...] = tuple(
        of_constants if buffer is None else "sram" if resident[buffer] else "dram"
        for buffer in product.buffers
    )
    kind = (chip.kinds[product.number], places)
    key = (kind, beside, by_traffic)
    if key not in chip.choices:
        if kind not in chip.ways:
            matrices = Matrices(
                **{
                    name: None if move is None else Matrix(place=place, **asdict(move))
                    for name, move, place in zip("abc", product.matrices, places, strict=True)
                }
            )
            engine, copying = chip.profile.compute.engine, Copying.by(memory)
            chip.ways[kind] = ways_of(product.extents, matrices, engine, copying)
        chip.choices[key] = choice_of(chip.ways[kind], beside, memory, by_traffic=by_traffic)
    return chip.choices[key]


def _of_steps(moves: Moves, bursts: Numbers, flags: Flags, count: int) -> PortTraffic:
    """Return the sums of those moves whose flag is set, by step."""
    found = no_traffic(count)
    for target, written in ((found.read, False), (found.written, True)):
        chosen = flags & (moves.written == written)
        np.add.at(target, moves.step[chosen], bursts[chosen])
    return found


def all_together(chip: Chip, sram: PortTraffic, dram: PortTraffic) -> StepCycles:
    """Return what the steps take whose ports move so much; products in one piece."""
    memory = chip.profile.memory
    sram_cycles, dram_cycles = sram.cycles(memory.sram_port), dram.cycles(dram_port(memory))
    if memory.double_buffer is False:
        total = chip.unit + sram_cycles + dram_cycles
    else:
        total = np.maximum(np.maximum(chip.unit, sram_cycles), dram_cycles)
    return StepCycles(
        unit=chip.unit.copy(),
        sram=sram_cycles,
        dram=dram_cycles,
        total=total,
        sram_moved=sram,
        dram_moved=dram,
        products={},
    )


def with_products(found: StepCycles, products: Mapping[int, ProductCost]) -> StepCycles:
    """Return the steps with what their products take instead."""
    numbers, costs = list(products), list(products.values())
    for name in ("unit", "sram", "dram", "total"):
        getattr(found, name)[numbers] = [getattr(cost, name) for cost in costs]
    for name in ("sram_moved", "dram_moved"):
        moved = getattr(found, name)
        moved.read[numbers] = [getattr(cost, name).read for cost in costs]
        moved.written[numbers] = [getattr(cost, name).written for cost in costs]
    return replace(found, products=products)
