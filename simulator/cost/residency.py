# SPDX-License-Identifier: Apache-2.0
"""Which activations and temporaries live in SRAM: sets of them with their places, to choose from.

Each set is made for a budget and knows how much SRAM it needs. The budgets, and with them the sets,
depend on the graph and on how its ops become steps, not on the chip's SRAM, bandwidths or lanes; a
larger SRAM admits every set that a smaller one does, and one of them is the best. So a larger SRAM
never makes a worse plan.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from simulator.cost.exact import ceil_div
from simulator.cost.allocation import ALIGNMENT, Buffer
from simulator.graph.ops import TensorId

_PARTS_OF_A_DOUBLING = 4
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


def budgets(least: int, most: int) -> Iterator[int]:
    """Yield sizes of SRAM of at least ``least`` and less than ``most`` bytes, the largest first.

    Powers of two and quarters between them: what memories are built in.
    """
    doubling = 1 << max(most.bit_length(), 2)
    while doubling * 2 > least and doubling >= _PARTS_OF_A_DOUBLING:
        for part in range(2 * _PARTS_OF_A_DOUBLING - 1, _PARTS_OF_A_DOUBLING - 1, -1):
            if least <= (size := doubling * part // _PARTS_OF_A_DOUBLING) < most:
                yield size
        doubling //= 2


def meetings(buffers: Sequence[Buffer]) -> list[list[int]]:
    """Return, for every buffer, the indexes of those that some step needs beside it."""
    ordered = sorted(range(len(buffers)), key=lambda index: buffers[index].first)
    found: list[list[int]] = [[] for _ in buffers]
    alive: list[int] = []
    for index in ordered:
        first = buffers[index].first
        alive = [other for other in alive if buffers[other].last >= first]
        for other in alive:
            found[index].append(other)
            found[other].append(index)
        alive.append(index)
    return found


def filled(
    buffers: Sequence[Buffer], meets: Sequence[Sequence[int]], order: Sequence[int], budget: int
) -> Residency:
    """Return the buffers that fit a budget: one after the other, each as low as it fits.

    A buffer that does not fit beside those before it stays in DRAM.
    """
    places: dict[int, tuple[int, int]] = {}
    for index in order:
        size, offset = buffers[index].bytes, 0
        for start, end in sorted(places[other] for other in meets[index] if other in places):
            if offset + size <= start:
                break
            offset = max(offset, ceil_div(end, ALIGNMENT) * ALIGNMENT)
        if offset + size <= budget:
            places[index] = (offset, offset + size)
    return Residency(
        offsets={buffers[index].name: start for index, (start, _) in places.items()},
        needed_bytes=max((end for _, end in places.values()), default=0),
    )


def largest_gap(places: Sequence[tuple[int, int]], size: int) -> int:
    """Return the most contiguous bytes of an SRAM that are free beside buffers at ``places``."""
    found = below = 0
    for start, end in sorted(places):
        found = max(found, start - below)
        below = max(below, end)
    return max(found, size - below)
