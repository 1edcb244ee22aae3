# SPDX-License-Identifier: Apache-2.0
"""Ranges of codes, sums and intermediates, and the bits that hold them: the parts of bounds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from simulator.graph.graph import IntGraph
from simulator.graph.op import Op, TensorId
from simulator.numerics.integer_type import IntType

Interval = tuple[int, int]


@dataclass(frozen=True, slots=True)
class PartialSums:
    """What one level of an accumulator may have to hold: partial sums of one of its groups.

    Attributes
    ----------
    interval
        smallest and largest partial sum, exact ones, of any input
    register
        the type of the level's register
    """

    interval: Interval
    register: IntType

    @property
    def proven(self) -> bool:
        """No input can make a partial sum that the register does not hold."""
        return holds(self.register, self.interval)


@dataclass(frozen=True, slots=True)
class Intermediate:
    """A value inside an op that hardware holds in a register, and what no input can exceed.

    Attributes
    ----------
    name
        the same for all ops where they have such a value: ``sum``, ``scaled``, ``rounded``
    interval
        smallest and largest value, before any register cuts it
    reach
        what the emulator's own arithmetic passes on the way to the value and on to the next one,
        in its 64 bits: with constants of rounding, a rest taken twice. At least the interval,
        which it is if left out
    register
        the type that the op states for it, or none
    levels
        of a sum in an accumulator: its levels, from the innermost outward
    """

    name: str
    interval: Interval
    reach: Interval | None = None
    register: IntType | None = None
    levels: tuple[PartialSums, ...] = ()

    @property
    def emulated(self) -> Interval:
        """Smallest and largest number that the emulator computes with for this value."""
        return self.interval if self.reach is None else hull(self.interval, self.reach)

    @property
    def held(self) -> Interval:
        """What its register lets through: the interval, or all of a register that is too narrow."""
        if self.register is None or holds(self.register, self.interval):
            return self.interval
        return self.register.low, self.register.high


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Static bounds of an op's sums and intermediates.

    Attributes
    ----------
    accumulator
        smallest and largest partial sum over all channels; None where the op has no accumulator
    proven_free
        no level of the accumulator can overflow, for any input
    widest_bits
        signed bits that the largest intermediate (product plus rounding) may need
    """

    accumulator: Interval | None = None
    proven_free: bool = True
    widest_bits: int = 0

    @classmethod
    def of(cls, intermediates: Iterable[Intermediate]) -> Bounds:
        """Return the bounds of an op from its intermediates."""
        sums, free, widest = None, True, 0
        for found in intermediates:
            widest = max(widest, signed_bits(*found.emulated))
            if found.levels:
                sums, free = found.interval, all(level.proven for level in found.levels)
        return cls(accumulator=sums, proven_free=free, widest_bits=widest)


def signed_bits(low: int, high: int) -> int:
    """Return the bits of the narrowest signed type that holds ``low`` to ``high``."""
    return max((-low - 1).bit_length() if low < 0 else 0, high.bit_length() if high > 0 else 0) + 1


def narrowest(low: int, high: int) -> IntType:
    """Return the narrowest type of a register: unsigned where no value is negative."""
    if low < 0:
        return IntType(bits=signed_bits(low, high))
    return IntType(bits=max(high.bit_length(), 1), signed=False)


def holds(register: IntType, interval: Interval) -> bool:
    """Tell whether a type has all values of an interval."""
    return register.low <= interval[0] and interval[1] <= register.high


def hull(*intervals: Interval) -> Interval:
    """Return the narrowest interval that contains all of these."""
    return min(low for low, _ in intervals), max(high for _, high in intervals)


def widened(interval: Interval, by: int) -> Interval:
    """Return an interval with as much added at both ends."""
    return interval[0] - by, interval[1] + by


def times(a: Interval, b: Interval) -> Interval:
    """Return the bounds of a product."""
    corners = [x * y for x in a for y in b]
    return min(corners), max(corners)


def shifted_left(interval: Interval, places: int) -> Interval:
    """Return the bounds of what is shifted left."""
    return interval[0] << places, interval[1] << places


def shifted_right(interval: Interval, places: int) -> Interval:
    """Return the bounds of what is shifted right, rounded down."""
    return interval[0] >> places, interval[1] >> places


def squared(interval: Interval) -> Interval:
    """Return the bounds of a square."""
    ends = sorted(end * end for end in interval)
    return (0 if interval[0] <= 0 <= interval[1] else ends[0]), ends[1]


def code_range(graph: IntGraph, name: TensorId) -> Interval:
    """Return the smallest and largest code a tensor of integers can hold (exact for constants)."""
    tensor = graph.tensors[name]
    if graph.is_constant(name):
        codes = graph.constants[name]
        return (int(codes.min()), int(codes.max())) if codes.size else (0, 0)
    return tensor.code_type.low, tensor.code_type.high


def centred_range(graph: IntGraph, name: TensorId) -> Interval:
    """Return the range of a tensor's codes less its zero point."""
    low, high = code_range(graph, name)
    zero_point = graph.tensors[name].zero_point
    return low - zero_point, high - zero_point


def largest_magnitude(graph: IntGraph, name: TensorId) -> int:
    """Return the largest magnitude of a tensor's codes less its zero point."""
    return max(map(abs, centred_range(graph, name)))


def rounding_and_zero_point(graph: IntGraph, op: Op, shift: int) -> int:
    """Return what rounding (below 2^shift) and the result's zero point may add."""
    return (1 << shift) + abs(graph.result(op).zero_point)
