# SPDX-License-Identifier: Apache-2.0
"""Which activations and temporaries live in SRAM: sets of them with their places, to choose from.

Each set is made for a budget and knows how much SRAM it needs. The budgets, and with them the sets,
depend on the graph and on how its ops become steps, not on the chip's SRAM, bandwidths or lanes; a
larger SRAM admits every set that a smaller one does, and one of them is the best. So a larger SRAM
never makes a worse plan.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from simulator.cost.allocation import ALIGNMENT, Buffer
from simulator.cost.exact import ceil_div
from simulator.graph.ops import TensorId

LEAST_SHARE = 64  # a budget below this part of all buffers holds next to nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Residency:
    """Buffers that live in SRAM while they exist; all others live in DRAM.

    Attributes
    ----------
    offsets
        first byte in SRAM of each buffer that lives there
    needed_bytes
        end of the highest one
    """

    offsets: Mapping[TensorId, int]
    needed_bytes: int


def budgets(least: int, most: int, parts: int = 4) -> Iterator[int]:
    """Yield sizes of SRAM of at least ``least`` and less than ``most`` bytes, the largest first.

    Powers of two and between them equal steps: as many ``parts``, a power of two, of each doubling.
    """
    doubling = 1 << max(most.bit_length(), 2)
    while doubling * 2 > least and doubling >= parts:
        for part in range(2 * parts - 1, parts - 1, -1):
            if least <= (size := doubling * part // parts) < most:
                yield size
        doubling //= 2


@dataclass(frozen=True, slots=True)
class Fillings:
    """Sets of buffers for budgets, as far as they were asked for.

    Attributes
    ----------
    buffers
        to choose from
    meets
        for every buffer, the indexes of those that some step needs beside it
    orders
        in which they are taken
    found
        by budget
    """

    buffers: tuple[Buffer, ...]
    meets: tuple[tuple[int, ...], ...]
    orders: tuple[tuple[int, ...], ...]
    found: dict[int, tuple[Residency, ...]] = field(default_factory=dict)

    def within(self, budget: int) -> tuple[Residency, ...]:
        """Return the sets for a budget, one for each order."""
        if budget not in self.found:
            self.found[budget] = tuple(
                filled(self.buffers, self.meets, order, budget) for order in self.orders
            )
        return self.found[budget]


@lru_cache(maxsize=8)
def fillings(buffers: tuple[Buffer, ...], saved: tuple[int, ...]) -> Fillings:
    """Return sets of buffers that spare DRAM the most traffic.

    Buffers are taken in order of the traffic that each saves for every byte and step that it is
    held, for every step alone, or in all. A few results are kept: estimates of one graph on chips
    that differ in size and speed have the same sets.

    Parameters
    ----------
    saved
        bytes that DRAM is spared for each buffer that lives in SRAM
    """
    held = np.array([buffer.last - buffer.first + 1 for buffer in buffers], dtype=np.float64)
    sizes = np.array([max(buffer.bytes, 1) for buffer in buffers], dtype=np.float64)
    traffic = np.array(saved, dtype=np.float64)
    worths = (traffic / held / sizes, traffic / held, traffic)
    orders = (tuple(np.argsort(-worth, kind="stable").tolist()) for worth in worths)
    return Fillings(buffers, meetings(buffers), tuple(orders))


def meetings(buffers: Sequence[Buffer]) -> tuple[tuple[int, ...], ...]:
    """Return, for every buffer, the indexes of those that some step needs beside it."""
    found: list[list[int]] = [[] for _ in buffers]
    alive: list[int] = []
    for index in sorted(range(len(buffers)), key=lambda index: buffers[index].first):
        alive = [other for other in alive if buffers[other].last >= buffers[index].first]
        for other in alive:
            found[index].append(other)
            found[other].append(index)
        alive.append(index)
    return tuple(map(tuple, found))


def filled(
    buffers: Sequence[Buffer],
    meets: Sequence[Sequence[int]],
    order: Sequence[int],
    budget: int,
) -> Residency:
    """Return the buffers that fit a budget: one after the other, each as low as it fits.

    A buffer that does not fit beside those before it stays in DRAM.
    """
    places: dict[int, tuple[int, int]] = {}
    offsets: dict[TensorId, int] = {}
    for index in order:
        size, offset = buffers[index].bytes, 0
        if size > budget:
            continue
        for start, end in sorted([places[other] for other in meets[index] if other in places]):
            if offset + size <= start:
                break
            if end > offset:
                offset = ceil_div(end, ALIGNMENT) * ALIGNMENT
        if offset + size <= budget:
            places[index] = (offset, offset + size)
            offsets[buffers[index].name] = offset
    return Residency(
        offsets=offsets, needed_bytes=max((end for _, end in places.values()), default=0)
    )


def largest_gap(places: Sequence[tuple[int, int]], size: int) -> int:
    """Return the most contiguous bytes of an SRAM that are free beside buffers at ``places``."""
    found = below = 0
    for start, end in sorted(places):
        found = max(found, start - below)
        below = max(below, end)
    return max(found, size - below)
