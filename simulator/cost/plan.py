# SPDX-License-Identifier: Apache-2.0
"""The traffic plan: what lives in SRAM, how products are tiled, which weights are fetched early.

Of a set of plans that the graph and its steps determine, those that fit the chip's SRAM are
evaluated, and the fastest is taken; of equally fast ones, that with the least DRAM traffic. A
larger SRAM admits more plans, and a faster port or unit makes no plan slower: so neither makes the
best plan slower.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from simulator.cost.evaluation import (
    Chip,
    StepCycles,
    chip_of,
    evaluated,
    least_cycles,
    residents,
)
from simulator.cost.memory import MemoryPlan
from simulator.cost.moves import Workload
from simulator.cost.ports import Numbers
from simulator.cost.prefetch import (
    Prefetch,
    least_cycles_with_prefetch,
    prefetch_of,
    weight_bytes,
    with_prefetch,
)
from simulator.cost.residency import LEAST_SHARE, Residency, budgets, fillings
from simulator.graph.ops import TensorId
from simulator.profile import NpuProfile

_SMALLER_SETS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficPlan:
    """The plan that was taken, and what the steps take with it.

    Attributes
    ----------
    residency
        the buffers that live in SRAM, and where
    in_dram
        activations, views of them and temporaries that live in DRAM
    spilled
        buffers among those whose place in SRAM would have spared DRAM traffic, in order of first
        need
    prefetch
        None where no weights are fetched early
    cycles
        of all steps
    """

    residency: Residency
    in_dram: frozenset[TensorId]
    spilled: tuple[TensorId, ...]
    prefetch: Prefetch | None
    cycles: StepCycles


def traffic_plan(work: Workload, memory_plan: MemoryPlan, profile: NpuProfile) -> TrafficPlan:
    """Return the fastest plan for a program's steps on a chip, given what they move."""
    memory = profile.memory
    chip = chip_of(work, profile)
    sets = list(residencies(work, memory_plan, memory.sram_bytes))
    best = _fastest(chip, sets)
    if memory.prefetch and memory.double_buffer is not False and memory.constants != "sram":
        best = _faster_with_prefetch(chip, sets, memory_plan.peak_sram_bytes, best)
    return best


def residencies(
    work: Workload, memory_plan: MemoryPlan, sram_bytes: int
) -> Iterator[tuple[int, Residency]]:
    """Yield sets of buffers that fit an SRAM, from large to small, with the budget of each.

    All of them first, if they fit, in the end none.
    """
    peak = memory_plan.peak_sram_bytes
    if peak <= sram_bytes:
        yield peak, Residency(offsets=memory_plan.offsets, needed_bytes=peak)
    found = fillings(work.buffers, tuple(saved_traffic(work).tolist()))
    for budget in budgets(peak // LEAST_SHARE, peak):
        if budget <= sram_bytes:
            yield from ((budget, residency) for residency in found.within(budget))
    yield 0, Residency(offsets={}, needed_bytes=0)


def saved_traffic(work: Workload) -> Numbers:
    """Return the bytes that DRAM is spared for each buffer that lives in SRAM."""
    saved = np.zeros(len(work.buffers) + 1, dtype=np.int64)
    for moves in (work.moves, work.matrices):
        np.add.at(saved, moves.buffer, moves.dram)
    np.subtract.at(saved, work.ends.buffer, work.ends.dram)
    return saved[:-1]


def _fastest(chip: Chip, sets: Sequence[tuple[int, Residency]]) -> TrafficPlan:
    best: TrafficPlan | None = None
    for _, residency in sets:
        if best is not None and least_cycles(chip, residency) > best.cycles.rank[0]:
            continue
        found = evaluated(chip, residency)
        if best is None or found.rank < best.cycles.rank:
            best = _plan(chip, residency, None, found)
    assert best is not None
    return best


def _faster_with_prefetch(
    chip: Chip, sets: Sequence[tuple[int, Residency]], peak: int, best: TrafficPlan
) -> TrafficPlan:
    """Return the best plan with weights fetched early, or ``best`` where none is better.

    For every budget up to one that holds all weights: beside the sets of buffers for it, and for
    the next smaller ones, which leave more room.
    """
    bounds = [least_cycles_with_prefetch(chip, residency) for _, residency in sets]
    weights = sum(weight_bytes(product) for product in chip.workload.products)
    for budget in budgets(peak // LEAST_SHARE, peak + weights + 1, parts=2):
        if budget > chip.profile.memory.sram_bytes:
            continue
        smaller = sorted({size for size, _ in sets if size <= budget})[-_SMALLER_SETS:]
        for (size, residency), bound in zip(sets, bounds, strict=True):
            if size not in smaller or bound >= best.cycles.rank[0]:
                continue
            prefetch = prefetch_of(chip, residency, budget)
            found = with_prefetch(chip, residency, prefetch)
            if found.rank < best.cycles.rank:
                best = _plan(chip, residency, prefetch, found)
    return best


def _plan(
    chip: Chip, residency: Residency, prefetch: Prefetch | None, cycles: StepCycles
) -> TrafficPlan:
    work = chip.workload
    resident = residents(work, residency)
    saved = saved_traffic(work).tolist()
    return TrafficPlan(
        residency=residency,
        in_dram=frozenset(
            name for name, found in work.index_of.items() if not resident[list(found)].all()
        ),
        spilled=tuple(
            buffer.name
            for index, buffer in enumerate(work.buffers)
            if not resident[index] and saved[index] > 0
        ),
        prefetch=prefetch,
        cycles=cycles,
    )
