# SPDX-License-Identifier: Apache-2.0
"""Weights that are fetched before their product begins, while the DRAM's port has nothing to do.

A product's weights get a place in SRAM that is free from some step on until the product is done.
From that step on they are fetched whenever the port is idle, those that are needed soonest first;
what is not there when the product begins is fetched during the product. This order hides as much as
any can (earliest deadline first, for jobs that may be interrupted).

Places depend on a budget that the graph determines, as in :mod:`simulator.cost.residency`, and how
products are tiled depends on no bandwidth. So a faster port or unit never makes this slower.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from simulator.cost.allocation import ALIGNMENT
from simulator.cost.evaluation import (
    Chip,
    StepCycles,
    all_together,
    beside_products,
    choice,
    least_traffic,
    occupied,
    port_traffic,
    residents,
    with_products,
)
from simulator.cost.exact import ceil_div
from simulator.cost.moves import ProductStep
from simulator.cost.ports import Numbers, PortTraffic, dram_port
from simulator.cost.residency import Residency, largest_gap

_FARTHEST = 64  # steps before a product in which its weights may arrive


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefetch:
    """Weights that have a place in SRAM before their product begins.

    Attributes
    ----------
    since
        number of the first step during which a product's weights may arrive, by the number of the
        product's step
    offsets
        their first byte in SRAM, by that number too
    rooms
        bytes that remain free during each product, for tiles
    """

    since: Mapping[int, int]
    offsets: Mapping[int, int]
    rooms: Mapping[int, int]


def prefetch_of(chip: Chip, residency: Residency, budget: int) -> Prefetch:
    """Return places for weights beside the buffers that live in SRAM, each as early as it can.

    They get their places in order of their products, and do not overtake each other.
    """
    taken = [occupied(chip, residency, number) for number in range(len(chip.workload.steps))]
    since: dict[int, int] = {}
    offsets: dict[int, int] = {}
    rooms: dict[int, int] = {}
    earliest = 0
    for product in chip.workload.products:
        number, size = product.number, weight_bytes(product)
        first = max(earliest, number - _FARTHEST)
        found = _place(taken, size, number, first, budget) if size else None
        if found is not None:
            earliest, offsets[number] = found
            since[number] = earliest
            for step in range(earliest, number + 1):
                taken[step].append((offsets[number], offsets[number] + size))
    for product in chip.workload.products:
        rooms[product.number] = largest_gap(taken[product.number], budget)
    return Prefetch(since=since, offsets=offsets, rooms=rooms)


def weight_bytes(product: ProductStep) -> int:
    """Return the bytes of a product's constant matrices."""
    return sum(each.bytes for each in product.matrices if each is not None and each.constant)


def _place(
    taken: Sequence[Sequence[tuple[int, int]]], size: int, number: int, first: int, budget: int
) -> tuple[int, int] | None:
    """Return the first step, and an offset that is free from it on until step ``number``.

    None where nothing is free before that step.
    """
    best: tuple[int, int] | None = None
    ends = [0, *(ceil_div(end, ALIGNMENT) * ALIGNMENT for _, end in taken[number])]
    for offset in sorted(set(ends)):
        if offset + size > budget:
            break
        step = number
        while step >= first and _is_free(taken[step], offset, offset + size):
            step -= 1
        if step + 1 < number and (best is None or step + 1 < best[0]):
            best = step + 1, offset
    return best


def _is_free(taken: Sequence[tuple[int, int]], start: int, end: int) -> bool:
    return all(end <= low or high <= start for low, high in taken)


def with_prefetch(chip: Chip, residency: Residency, prefetch: Prefetch) -> StepCycles:
    """Return what all steps take where weights are fetched early."""
    memory, work = chip.profile.memory, chip.workload
    resident = residents(work, residency)
    sram, dram = port_traffic(work, resident, memory)
    early = np.array(sorted(prefetch.since), dtype=np.int64)
    # They are written to SRAM on their way.
    sram.written[early] += work.weights.read[early]
    beside = beside_products(chip, sram, dram)
    products = {
        product.number: choice(
            chip,
            product,
            resident,
            beside[product.number],
            by_traffic=True,
            weights="sram" if product.number in prefetch.since else None,
        ).within(prefetch.rooms[product.number])
        for product in work.products
    }
    own = with_products(all_together(chip, sram, dram), products)
    read = own.dram_moved.read.copy()
    read[early] += work.weights.read[early]
    moved = PortTraffic(read, own.dram_moved.written)
    fetched = moved.cycles(dram_port(memory)) - own.dram_moved.cycles(dram_port(memory))
    total, port = hidden(own.total, own.dram, fetched, prefetch.since)
    return replace(own, total=total, dram=port, dram_moved=moved)


def least_cycles_with_prefetch(chip: Chip, residency: Residency) -> int:
    """Return cycles that no prefetch can do without: all weights may come from the start on."""
    port = dram_port(chip.profile.memory)
    sram, dram = least_traffic(chip, residency)
    own = all_together(chip, sram, dram)
    fetched = (dram + chip.workload.weights).cycles(port) - own.dram
    since = {product.number: 0 for product in chip.workload.products}
    return int(hidden(own.total, own.dram, fetched, since)[0].sum())


def hidden(
    total: Numbers, port: Numbers, fetched: Numbers, since: Mapping[int, int]
) -> tuple[Numbers, Numbers]:
    """Return the cycles of all steps, and of their DRAM port, with transfers from earlier on.

    Parameters
    ----------
    total, port
        cycles of each step, and of its port, without those transfers
    fetched
        cycles that each step's transfer takes
    since
        the first step during which it may run, by the number of the step that needs it
    """
    totals, ports, left = total.tolist(), port.tolist(), fetched.tolist()
    starting: dict[int, list[int]] = {}
    for number, first in since.items():
        starting.setdefault(first, []).append(number)
    waiting: list[int] = []
    for step in range(len(totals)):
        for number in starting.get(step, ()):
            heapq.heappush(waiting, number)
        while waiting and ports[step] < totals[step]:
            moved = min(totals[step] - ports[step], left[waiting[0]])
            ports[step] += moved
            left[waiting[0]] -= moved
            if not left[waiting[0]]:
                heapq.heappop(waiting)
        if waiting and waiting[0] == step:
            ports[step] += left[step]
            totals[step] = ports[step]
            heapq.heappop(waiting)
    return np.array(totals, dtype=np.int64), np.array(ports, dtype=np.int64)
