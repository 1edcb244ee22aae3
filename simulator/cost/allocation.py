# SPDX-License-Identifier: Apache-2.0
"""Offsets of buffers in SRAM: buffers that some step needs together share no byte.

The problem is dynamic storage allocation, strongly NP-hard. "Greedy by size" (Pisarchyk and Lee,
arXiv 2001.03288) often ends at the lower bound; where it does not, other orders are tried, then
exchanges in the best of them, then a search that is exact where it comes to an end. Each has a
bounded amount of work, counted and not timed: the same buffers get the same offsets anywhere.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import add

from simulator.cost.exact import ceil_div
from simulator.graph.ops import TensorId

ALIGNMENT = 16  # bytes
# Bounds of the work, in visits of a buffer or of two that meet; together a few tenths of a second.
_EXCHANGE_VISITS = 200_000
_SEARCH_VISITS = 50_000
_MOST_SEARCHED = 100  # buffers: a search among more of them never comes to an end


@dataclass(frozen=True, slots=True, kw_only=True)
class Buffer:
    """Memory of one activation and of every view of it, or of one temporary.

    Attributes
    ----------
    name
        the tensor that is stored; its views bear other names
    bytes
        its size
    first, last
        indexes of the first and last step during which it must exist
    temporary_bits
        of each element of a temporary; None of a tensor of the graph
    """

    name: TensorId
    bytes: int
    first: int
    last: int
    temporary_bits: int | None = None

    def meets(self, other: Buffer) -> bool:
        """Return true if some step needs both."""
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """An offset for each of several buffers.

    Attributes
    ----------
    offsets
        first byte of each buffer in SRAM, a multiple of ``ALIGNMENT``
    peak_bytes
        end of the highest buffer
    greedy_peak_bytes
        the same by greedy allocation alone
    """

    offsets: Mapping[TensorId, int]
    peak_bytes: int
    greedy_peak_bytes: int


@lru_cache(maxsize=8)
def allocate(buffers: tuple[Buffer, ...]) -> Allocation:
    """Return offsets of ``buffers``: never higher than the greedy ones, often the lowest there are.

    The search stops where it meets :func:`least_end`. A few results are kept: estimates of one
    graph on chips that differ in speed have the same buffers.
    """
    problem = _Problem.of(buffers)
    goal = least_end(buffers)
    orders = [sorted(range(len(buffers)), key=key) for key in _keys(buffers)]
    greedy = best = problem.placed(orders[0])
    for order in orders[1:]:
        if best.end > goal:
            best = min(best, problem.placed(order), key=_end)
    if best.end > goal:
        best = _exchanged(problem, best, goal)
    if best.end > goal and len(buffers) <= _MOST_SEARCHED:
        best = _searched(problem, best, goal)
    return Allocation(
        offsets={buffer.name: offset for buffer, offset in zip(buffers, best.offsets, strict=True)},
        peak_bytes=best.end,
        greedy_peak_bytes=greedy.end,
    )


def busiest(buffers: Sequence[Buffer]) -> list[Buffer]:
    """Return the buffers of the step that needs the most bytes, the first of such steps."""
    return max(_crowds(buffers), key=lambda alive: sum(b.bytes for b in alive), default=[])


def least_end(buffers: Sequence[Buffer]) -> int:
    """Return what no allocation can do without, its alignment included.

    Of the buffers that one step needs, all but the highest one take whole multiples of the
    alignment.
    """
    return max(
        (
            sum(_aligned(b.bytes) for b in alive) - max(_aligned(b.bytes) - b.bytes for b in alive)
            for alive in _crowds(buffers)
        ),
        default=0,
    )


def _crowds(buffers: Sequence[Buffer]) -> Iterator[list[Buffer]]:
    """Yield the buffers that exist at each moment at which one begins: never more in between."""
    alive: list[Buffer] = []
    ordered = sorted(buffers, key=lambda b: b.first)
    for number, buffer in enumerate(ordered):
        alive = [*(b for b in alive if b.last >= buffer.first), buffer]
        if number + 1 == len(ordered) or ordered[number + 1].first > buffer.first:
            yield alive


def _aligned(offset: int) -> int:
    return ceil_div(offset, ALIGNMENT) * ALIGNMENT


def _keys(buffers: Sequence[Buffer]) -> list[Callable[[int], tuple[int, ...]]]:
    """Return sort keys of the orders that are tried, by index: by size comes first."""
    lives = [b.last - b.first + 1 for b in buffers]
    return [
        lambda i: (-buffers[i].bytes, buffers[i].first, i),
        lambda i: (-buffers[i].bytes * lives[i], buffers[i].first, i),
        lambda i: (-lives[i], -buffers[i].bytes, i),
        lambda i: (buffers[i].first, -buffers[i].bytes, i),
        lambda i: (-buffers[i].last, -buffers[i].bytes, i),
    ]


@dataclass(frozen=True, slots=True)
class _Placed:
    """Offsets by index of the buffer, the order that they were given in, the highest end."""

    offsets: list[int]
    order: list[int]
    end: int


def _end(placed: _Placed) -> int:
    return placed.end


@dataclass(frozen=True, slots=True)
class _Problem:
    """Sizes, aligned sizes and neighbours (whoever is needed in the same step), by index."""

    buffers: Sequence[Buffer]
    sizes: list[int]
    whole: list[int]
    neighbours: list[list[int]]

    @classmethod
    def of(cls, buffers: Sequence[Buffer]) -> _Problem:
        neighbours: list[list[int]] = [[] for _ in buffers]
        alive: list[int] = []
        for i in sorted(range(len(buffers)), key=lambda i: buffers[i].first):
            alive = [j for j in alive if buffers[j].last >= buffers[i].first]
            for j in alive:
                neighbours[i].append(j)
                neighbours[j].append(i)
            alive.append(i)
        sizes = [b.bytes for b in buffers]
        return cls(buffers, sizes, [_aligned(size) for size in sizes], neighbours)

    def placed(self, order: list[int]) -> _Placed:
        """Place each buffer of ``order`` in the lowest gap between those that are there."""
        offsets = [-1] * len(order)
        end = 0
        for i in order:
            offset = 0
            taken = sorted((offsets[j], j) for j in self.neighbours[i] if offsets[j] >= 0)
            for start, j in taken:
                if offset + self.sizes[i] <= start:
                    break
                offset = max(offset, start + self.whole[j])
            offsets[i] = offset
            end = max(end, offset + self.sizes[i])
        return _Placed(offsets, order, end)


def _exchanged(problem: _Problem, start: _Placed, goal: int) -> _Placed:
    """Return the best of what follows from ``start`` by placing high buffers earlier.

    A buffer that ends at the peak is moved before one that it meets, the highest one first. The
    first order that is no worse is taken, else the least worse; none twice.
    """
    best = current = start
    seen = {tuple(start.order)}
    left = _EXCHANGE_VISITS
    cost = len(start.order) + sum(map(len, problem.neighbours))
    while left > 0 and best.end > goal:
        near: list[_Placed] = []
        for order in _earlier(problem, current):
            if left <= 0 or (near and near[-1].end <= current.end):
                break
            if tuple(order) not in seen:
                seen.add(tuple(order))
                near.append(problem.placed(order))
                left -= cost
        if not near:
            break
        current = min(near, key=_end)
        best = min(best, current, key=_end)
    return best


def _earlier(problem: _Problem, placed: _Placed) -> Iterator[list[int]]:
    """Yield the orders in which a buffer that ends at the peak comes before one it meets."""
    position = {i: place for place, i in enumerate(placed.order)}
    highest = [i for i in placed.order if placed.offsets[i] + problem.sizes[i] == placed.end]
    for i in highest:
        before = [j for j in problem.neighbours[i] if position[j] < position[i]]
        for j in sorted(before, key=lambda j: (-placed.offsets[j], j)):
            order = placed.order.copy()
            order.remove(i)
            order.insert(position[j], i)
            yield order


def _searched(problem: _Problem, best: _Placed, goal: int) -> _Placed:
    """Return the lowest allocation, or the lowest one that a bounded search meets.

    In some lowest allocation every buffer lies at 0 or on another one that it meets: else it could
    sink. Put down by rising offset, each lies on the highest of those that are there. So orders of
    rising offset are tried, depth first.
    """
    search = _Search(problem, best, goal)
    search.visit([], [-1] * len(problem.buffers), [0] * len(search.moments), 0)
    return search.best


class _Search:
    """A depth-first search for the lowest allocation; the work left, and the best one so far."""

    def __init__(self, problem: _Problem, best: _Placed, goal: int) -> None:
        self.problem, self.best, self.goal = problem, best, goal
        self.left = _SEARCH_VISITS
        self.moments = sorted({b.first for b in problem.buffers})
        self.spans = [
            range(bisect_left(self.moments, b.first), bisect_right(self.moments, b.last))
            for b in problem.buffers
        ]

    def visit(self, order: list[int], offsets: list[int], heights: list[int], level: int) -> None:
        """Try what can follow ``order``, whose buffers reach ``heights`` at each moment.

        Whatever follows lies at ``level`` or above.
        """
        waiting = [i for i, offset in enumerate(offsets) if offset < 0]
        self.left -= len(waiting)
        if not waiting:
            end = max(map(add, offsets, self.problem.sizes))
            if end < self.best.end:
                self.best = _Placed(offsets, order, end)
            return
        floors = {i: max(heights[t] for t in self.spans[i]) for i in waiting}
        if self._least_end(waiting, heights, level) >= self.best.end or any(
            floor < level and not any(offsets[j] < 0 for j in self.problem.neighbours[i])
            for i, floor in floors.items()
        ):
            return
        for i in sorted(waiting, key=lambda i: (floors[i], -self.problem.sizes[i], i)):
            if self.left <= 0 or self.best.end <= self.goal:
                return
            floor = floors[i]
            # Of those side by side, which do not meet, the order by index is enough.
            if floor < level or (floor == level and order and i < order[-1]):
                continue
            top = floor + self.problem.whole[i]
            higher, placed = heights.copy(), offsets.copy()
            placed[i] = floor
            for t in self.spans[i]:
                higher[t] = top
            self.visit([*order, i], placed, higher, floor)

    def _least_end(self, waiting: list[int], heights: list[int], level: int) -> int:
        """Return how high it gets at least: at each moment all that waits lies above the rest."""
        whole, spare = [0] * len(heights), [0] * len(heights)
        for i in waiting:
            size = self.problem.whole[i]
            unused = size - self.problem.sizes[i]
            for t in self.spans[i]:
                whole[t] += size
                spare[t] = max(spare[t], unused)
        return max(
            max(height, level) + total - unused if total else 0
            for height, total, unused in zip(heights, whole, spare, strict=True)
        )
