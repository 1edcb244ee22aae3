# SPDX-License-Identifier: Apache-2.0
"""Ranges of codes, sums and intermediates, and the bits that hold them: the parts of bounds."""

from __future__ import annotations

from dataclasses import dataclass

from simulator.graph.graph import IntGraph
from simulator.graph.op import Op, TensorId
from simulator.numerics.rescaling import Arithmetic, LeftShift, ZeroPointStage
from simulator.numerics.rounding import FIRST_STEP

Interval = tuple[int, int]


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


def signed_bits(low: int, high: int) -> int:
    """Return the bits of the narrowest signed type that holds ``low`` to ``high``."""
    return max((-low - 1).bit_length() if low < 0 else 0, high.bit_length() if high > 0 else 0) + 1


def up_to(widest: int) -> Bounds:
    """Return the bounds of an op whose intermediates have at most a magnitude of ``widest``."""
    return Bounds(widest_bits=signed_bits(-widest, widest))


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


def requantized_bits(graph: IntGraph, values: Interval, op: Op, residual: Interval = (0, 0)) -> int:
    """Return the bits of ``value * multiplier + residual``, rounded and with the zero point."""
    (parameters,) = op.requantizations
    if parameters.arithmetic is not Arithmetic.FIXED_POINT:
        return signed_bits(*values)
    assert parameters.shift is not None
    multiplier = code_range(graph, parameters.multiplier)[1]
    least, shift = code_range(graph, parameters.shift)
    if parameters.left_shift is LeftShift.WRAP and least < FIRST_STEP:
        # Channels with larger shifts keep their sums.
        values = min(values[0], -(1 << 31)), max(values[1], (1 << 31) - 1)
        shift = max(shift, FIRST_STEP)
    added = rounding_and_zero_point(graph, op, shift)
    if parameters.zero_point_stage is ZeroPointStage.BEFORE_ROUND:
        added += abs(graph.result(op).zero_point) << shift
    low, high = (value * multiplier + other for value, other in zip(values, residual, strict=True))
    return signed_bits(low - added, high + added)


def rounding_and_zero_point(graph: IntGraph, op: Op, shift: int) -> int:
    """Return what rounding (below 2^shift) and the result's zero point may add."""
    return (1 << shift) + abs(graph.result(op).zero_point)
