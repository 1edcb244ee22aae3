# SPDX-License-Identifier: Apache-2.0
"""Bounds of the last steps of an op: what enters the rounding shift, and what it leaves.

A shift with rounding is monotone, in every mode and with two roundings: the ends of what leaves it
are those of what enters.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.graph.graph import IntGraph
from simulator.graph.op import Op
from simulator.graph.ranges import (
    Intermediate,
    Interval,
    holds,
    hull,
    rounding_and_zero_point,
    widened,
)
from simulator.numerics.integer_type import INT32
from simulator.numerics.rescaling import Arithmetic, LeftShift, ZeroPointStage
from simulator.numerics.rounding import FIRST_STEP, DoubleRounding, shift_right


@dataclass(frozen=True, slots=True)
class Channels:
    """Bounds of a value, one interval for each channel of the result, or one for all of them.

    Attributes
    ----------
    low, high
        Python integers [1] or [channels], arrays of objects: of any width
    """

    low: NDArray[Any]
    high: NDArray[Any]

    @classmethod
    def all_alike(cls, interval: Interval) -> Channels:
        """Return the bounds of a value that has the same ones in every channel."""
        return cls(*(np.array([end], object) for end in interval))

    @classmethod
    def of(cls, low: NDArray[Any], high: NDArray[Any]) -> Channels:
        """Return bounds [channels] of any integer type."""
        return cls(low.astype(object), high.astype(object))

    def times(self, factors: NDArray[Any]) -> Channels:
        """Return the bounds of products with constants [1] or [channels], of any sign."""
        ends = self.low * factors.astype(object), self.high * factors.astype(object)
        return Channels(np.minimum(*ends), np.maximum(*ends))

    def plus(self, other: Channels) -> Channels:
        """Return the bounds of sums."""
        return Channels(self.low + other.low, self.high + other.high)

    def shifted_left(self, places: NDArray[Any]) -> Channels:
        """Return the bounds of values shifted left, by constants [1] or [channels]."""
        powers = np.array([1 << int(place) for place in places], object)
        return Channels(self.low * powers, self.high * powers)

    @property
    def interval(self) -> Interval:
        """The narrowest interval that holds the values of all channels."""
        return int(self.low.min()), int(self.high.max())


def shifted(
    graph: IntGraph,
    op: Any,
    scaled: Interval,
    reach: Interval | None = None,
    *,
    zero_point: int | None = None,
) -> Iterator[Intermediate]:
    """Yield ``scaled`` and ``rounded`` of an op that ends in a shift of its own.

    ``reach`` is what the emulator passes before the constant of rounding is added. The zero point
    is that of the result, if left out.
    """
    added = rounding_and_zero_point(graph, op, op.shift)
    passed = scaled if reach is None else hull(scaled, reach)
    yield Intermediate("scaled", scaled, widened(passed, added))
    double = getattr(op, "double_rounding", DoubleRounding.NONE)
    zero_point = graph.result(op).zero_point if zero_point is None else zero_point
    low, high = (shift_right(end, op.shift, op.rounding, double) for end in scaled)
    yield Intermediate("rounded", (low + zero_point, high + zero_point))


def requantized(
    graph: IntGraph, op: Op, values: Channels, residual: Channels | None = None
) -> Iterator[Intermediate]:
    """Yield ``scaled`` and ``rounded`` of an op that ends in a requantization.

    Nothing where it is in float. ``residual`` is the term that is added to the product.
    """
    (parameters,) = op.requantizations
    if parameters.arithmetic is not Arithmetic.FIXED_POINT:
        return
    assert parameters.shift is not None
    shifts = graph.constants[parameters.shift].astype(np.int64)
    if parameters.left_shift is LeftShift.WRAP:
        values, shifts = _wrapped_left(values, shifts)
    scaled = values.times(graph.constants[parameters.multiplier])
    if residual is not None:
        scaled = scaled.plus(residual)
    zero_point = graph.result(op).zero_point
    if parameters.zero_point_stage is ZeroPointStage.BEFORE_ROUND:
        before = Channels.all_alike((zero_point, zero_point)).shifted_left(shifts)
        scaled, zero_point = scaled.plus(before), 0
    ends = list(_by_shift(scaled, shifts))
    yield Intermediate(
        "scaled",
        hull(*(interval for _, interval in ends)),
        hull(
            *(
                widened(interval, rounding_and_zero_point(graph, op, shift))
                for shift, interval in ends
            )
        ),
    )
    rounded = [
        shift_right(end, shift, parameters.rounding, parameters.double_rounding) + zero_point
        for shift, interval in ends
        for end in interval
    ]
    yield Intermediate("rounded", (min(rounded), max(rounded)))


def _wrapped_left(values: Channels, shifts: NDArray[np.int64]) -> tuple[Channels, NDArray[Any]]:
    """Return sums shifted left in 32 bits where a shift is below 31, and the shifts that follow."""
    count = max(len(values.low), len(shifts))
    low, high, places = (
        np.array(np.broadcast_to(part, (count,)), object)
        for part in (values.low, values.high, np.maximum(FIRST_STEP - shifts, 0))
    )
    for channel, left in enumerate(places):
        if left:
            interval = int(low[channel]) << int(left), int(high[channel]) << int(left)
            fits = holds(INT32, interval)
            low[channel], high[channel] = interval if fits else (INT32.low, INT32.high)
    return Channels(low, high), np.maximum(shifts, FIRST_STEP)


def _by_shift(scaled: Channels, shifts: NDArray[Any]) -> Iterator[tuple[int, Interval]]:
    """Yield each shift and the hull of the channels that it belongs to."""
    if len(shifts) == 1:
        yield int(shifts[0]), scaled.interval
        return
    for shift in np.unique(shifts):
        chosen = shifts == shift
        low, high = (
            np.broadcast_to(end, shifts.shape)[chosen] for end in (scaled.low, scaled.high)
        )
        yield int(shift), (int(low.min()), int(high.max()))
