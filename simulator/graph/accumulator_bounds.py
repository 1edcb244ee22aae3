# SPDX-License-Identifier: Apache-2.0
"""Bounds of the partial sums in an accumulator's registers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from simulator.graph.ranges import Interval
from simulator.numerics.accumulator import Accumulator, OverflowPolicy
from simulator.numerics.integer_type import IntArray, IntType

_WEIGHTS_AT_ONCE = 1 << 20


def of_equal_terms(term: Interval, count: int) -> Interval:
    """Return the bounds of every sum of up to ``count`` terms, each of which may be left out."""
    return count * min(term[0], 0), count * max(term[1], 0)


def of_weights(b: IntArray, a: Interval, group: int, bias: IntArray | None) -> Interval:
    """Return the bounds of every partial sum of ``a[k] * b[k, n]``, over all columns of b [K, N].

    Terms are added in groups of ``group`` (0: all), to a bias [N]. Some columns at a time, so that
    little memory is needed beside the weights.
    """
    assert a[0] <= 0 <= a[1]  # types hold 0, so that a term may be left out
    rows, columns = b.shape
    starts = np.arange(0, rows, group or rows)
    step = max(1, _WEIGHTS_AT_ONCE // rows)
    low = high = 0
    for start in range(0, columns, step):
        part = b[:, start : start + step]
        positive, negative = (
            np.add.reduceat(signed, starts, axis=0, dtype=np.int64)
            for signed in (np.maximum(part, 0), np.minimum(part, 0))
        )
        preset = 0 if bias is None else bias[start : start + step].astype(np.int64)
        low = min(low, int((positive * a[0] + negative * a[1] + np.minimum(preset, 0)).min()))
        high = max(high, int((positive * a[1] + negative * a[0] + np.maximum(preset, 0)).max()))
    return low, high


def register_bounds(
    sums: Interval, of_group: Callable[[int], Interval], accumulator: Accumulator
) -> tuple[bool, Interval]:
    """Tell whether partial sums are proven to fit all registers, and what can leave the outermost.

    ``of_group`` returns the bounds of the sums that an inner level makes of so many terms.
    """
    register = accumulator.levels[-1].kind
    free = _fits(sums, register) and all(
        _fits(of_group(level.group), level.kind) for level in accumulator.levels[:-1]
    )
    exact = free or accumulator.policy is OverflowPolicy.REPORT
    return free, sums if exact else (register.low, register.high)


def _fits(sums: Interval, register: IntType) -> bool:
    return register.low <= sums[0] and sums[1] <= register.high
