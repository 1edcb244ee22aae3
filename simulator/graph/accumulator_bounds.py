# SPDX-License-Identifier: Apache-2.0
"""Bounds of the sums in an accumulator's registers."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.graph.last_steps import Channels
from simulator.graph.ranges import Intermediate, Interval, PartialSums
from simulator.numerics.accumulator import Accumulator, BiasStage, OverflowPolicy
from simulator.numerics.integer_type import IntArray

_WEIGHTS_AT_ONCE = 1 << 20


class Columns(NamedTuple):
    """Bounds of the sums of each column: int64 [N] each.

    ``low`` and ``high`` are of all partial sums, in whatever order terms are added, ``least`` and
    ``most`` of the completed ones.
    """

    low: NDArray[np.int64]
    high: NDArray[np.int64]
    least: NDArray[np.int64]
    most: NDArray[np.int64]

    @property
    def partial(self) -> Interval:
        """The smallest and the largest sum of some of the terms and the bias, in any order."""
        return int(self.low.min()), int(self.high.max())

    def in_register(self, stage: BiasStage) -> Interval:
        """The smallest and the largest value that the outermost register is to hold.

        With a preloaded bias, all its sums contain it, and the row that makes the largest of them
        reaches it. Otherwise the bias comes last, and sums without it count too.
        """
        if stage is BiasStage.PRELOAD:
            return int(self.least.min()), int(self.most.max())
        return self.partial


def of_equal_terms(term: Interval, count: int) -> Interval:
    """Return the bounds of every sum of up to ``count`` terms, each of which may be left out."""
    return count * min(term[0], 0), count * max(term[1], 0)


def of_weights(b: IntArray, a: Interval, group: int, bias: IntArray | None) -> Columns:
    """Return the bounds of sums of ``a[k] * b[k, n]``, for the columns of b [K, N].

    Terms are added in groups of ``group`` (0: all), to a bias [N]; of a column's groups, the widest
    counts. Some columns at a time, so that little memory is needed beside the weights.
    """
    assert a[0] <= 0 <= a[1]  # types hold 0, so that a term may be left out
    rows, columns = b.shape
    starts = np.arange(0, rows, group or rows)
    step = max(1, _WEIGHTS_AT_ONCE // rows)
    found = Columns(*(np.empty(columns, np.int64) for _ in Columns._fields))
    for start in range(0, columns, step):
        part = slice(start, start + step)
        positive, total = (
            np.add.reduceat(terms, starts, axis=0, dtype=np.int64)
            for terms in (np.maximum(b[:, part], 0), b[:, part])
        )
        negative = total - positive
        least = (positive * a[0] + negative * a[1]).min(axis=0)
        most = (positive * a[1] + negative * a[0]).max(axis=0)
        preset = np.zeros_like(least) if bias is None else bias[part].astype(np.int64)
        found.low[part], found.high[part] = (
            least + np.minimum(preset, 0),
            most + np.maximum(preset, 0),
        )
        found.least[part], found.most[part] = least + preset, most + preset
    return found


def sums_in(
    sums: Interval,
    of_group: Callable[[int], Interval],
    accumulator: Accumulator,
    outermost: Interval | None = None,
) -> Intermediate:
    """Return the accumulator as an intermediate: its levels, what partial sums may need.

    ``of_group`` returns the bounds of the sums that an inner level makes of so many terms;
    ``outermost`` are those of the last register, where they are narrower than those of all ``sums``
    of some of the terms and the bias.
    """
    *inner, last = accumulator.levels
    levels = [PartialSums(of_group(level.group), level.kind) for level in inner]
    levels.append(PartialSums(outermost or sums, last.kind))
    return Intermediate("accumulator", sums, levels=tuple(levels))


def leaving(found: Intermediate, completed: Channels, accumulator: Accumulator) -> Channels:
    """Return what may leave an accumulator: completed sums, or all that its last register holds."""
    exact = all(level.proven for level in found.levels)
    if exact or accumulator.policy is OverflowPolicy.REPORT:
        return completed
    register = accumulator.levels[-1].kind
    return Channels.all_alike((register.low, register.high))
