# SPDX-License-Identifier: Apache-2.0
"""Exact ties of a right shift: how many there were, and whether any input can make one."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.golden.variants.trial import requantization_of
from simulator.graph.bounds import intermediates
from simulator.graph.graph import IntGraph
from simulator.graph.op import accumulator_of
from simulator.graph.ops import AnyMatMul, GroupQuantize, Hadamard, Rescale
from simulator.graph.ops.onto_residual import residual_factors
from simulator.graph.ranges import Interval, centred_range, code_range
from simulator.numerics.accumulator import OverflowPolicy
from simulator.numerics.rescaling import LeftShift, ZeroPointStage


class Ties(NamedTuple):
    """Whether what is shifted can be a tie, below zero and from zero on."""

    negative: bool
    positive: bool


def count_ties(scaled: NDArray[np.int64], shifts: NDArray[np.int64]) -> tuple[int, int]:
    """Count the values that lie in the middle of two codes: those below zero, and the others."""
    half = np.where(shifts > 0, np.int64(1) << np.maximum(shifts - 1, 0), 0)
    dropped = scaled & ((np.int64(1) << shifts) - 1)
    ties = (dropped == half) & (shifts > 0)
    negative = int((ties & (scaled < 0)).sum())
    return negative, int(ties.sum()) - negative


def possible_ties(unit: IntGraph) -> Ties:
    """Return which ties the sums of an op can make.

    A sum x, shifted by s after the product with ``m = 2^t * odd``, is a tie where
    ``x * m = 2^(s-1) modulo 2^s``, an odd multiple of ``2^(s-1-t)``. With a residual term r it is
    ``x = (2^(s-1) - r) / 2^t * odd^-1 modulo 2^(s-t)``, if the division leaves nothing. All
    sums between the bounds count as possible.
    """
    (op,) = unit.ops
    if isinstance(op, GroupQuantize):
        return _of_reciprocals(unit, op)
    parameters = requantization_of(op)
    if parameters is None or parameters.shift is None:
        return Ties(negative=True, positive=True)
    if parameters.left_shift is LeftShift.WRAP and unit.constants[parameters.shift].min() < 31:
        return Ties(negative=True, positive=True)
    sums = sums_interval(unit)
    if sums is None:
        return Ties(negative=True, positive=True)
    before = parameters.zero_point_stage is ZeroPointStage.BEFORE_ROUND
    zero_point = unit.result(op).zero_point if before else 0
    found = Ties(negative=False, positive=False)
    for multiplier, shift, factor in sorted(_channels(unit)):
        terms = _residual_codes(unit) * factor + (zero_point << shift)
        found = _joined(found, _of_channel(multiplier, shift, terms.tolist(), sums))
    return found


def _of_reciprocals(unit: IntGraph, op: GroupQuantize) -> Ties:
    """Try the reciprocal of every maximum; few end in so many zeros that a code makes a tie."""
    codes = centred_range(unit, op.a)
    low, high = code_range(unit, op.maximum)
    found = np.unique(op.numerator // np.maximum(np.arange(low, high + 1, dtype=np.int64), 1))
    fewest = max(op.shift - 1 - max(map(abs, codes)).bit_length(), 0)
    ties = Ties(negative=False, positive=False)
    for reciprocal in found[found & ((1 << fewest) - 1) == 0].tolist():
        ties = _joined(ties, _of_channel(reciprocal, op.shift, [0], codes))
    return ties


def sums_interval(unit: IntGraph) -> Interval | None:
    """Return the bounds of what an op's requantization takes; None where they are not known."""
    (op,) = unit.ops
    if isinstance(op, Rescale):
        return centred_range(unit, op.a)
    names = {found.name: found for found in intermediates(unit, op)}
    if isinstance(op, Hadamard):
        return names["sum"].interval
    for name in (
        "normalized",
        "biased",
        "column_scaled",
        "row_scaled",
        "accumulator",
        "product",
    ):
        if name in names:
            found = names[name]
            accumulator = accumulator_of(op)
            exact = accumulator is None or accumulator.policy is OverflowPolicy.REPORT
            if not exact and not all(level.proven for level in found.levels):
                register = found.levels[-1].register
                return register.low, register.high
            return found.held
    return None


def _channels(unit: IntGraph) -> set[tuple[int, int, int]]:
    """Return the different multipliers, shifts and residual factors of channels."""
    (op,) = unit.ops
    (parameters,) = op.requantizations
    assert parameters.shift is not None
    factors = residual_factors(unit, op) if isinstance(op, AnyMatMul) else np.zeros(1, np.int64)
    columns = np.broadcast_arrays(
        unit.constants[parameters.multiplier].astype(np.int64),
        unit.constants[parameters.shift].astype(np.int64),
        factors,
    )
    return set(zip(*(column.ravel().tolist() for column in columns), strict=True))


def _residual_codes(unit: IntGraph) -> NDArray[np.object_]:
    """Return every code of the residual less its zero point; 0 alone without one."""
    (op,) = unit.ops
    if not isinstance(op, AnyMatMul) or op.residual is None:
        return np.array([0], object)
    tensor = unit.tensors[op.residual]
    kind = tensor.code_type
    return np.arange(kind.low, kind.high + 1).astype(object) - tensor.zero_point


def _of_channel(multiplier: int, shift: int, terms: list[int], sums: Interval) -> Ties:
    if shift == 0:
        return Ties(negative=False, positive=False)
    half = 1 << (shift - 1)
    if multiplier == 0:
        ties = [term for term in terms if term % (1 << shift) == half]
        return Ties(any(tie < 0 for tie in ties), any(tie >= 0 for tie in ties))
    places = (multiplier & -multiplier).bit_length() - 1
    if places >= shift:
        modulus, inverse = 1, 0
    else:
        modulus = 1 << (shift - places)
        inverse = pow(multiplier >> places, -1, modulus)
    negative = positive = False
    for term in terms:
        wanted = (half - term) % (1 << shift)
        if wanted % (1 << min(places, shift)):
            continue
        rest = (wanted >> places) * inverse % modulus
        least = sums[0] + (rest - sums[0]) % modulus
        if least > sums[1]:
            continue
        most = sums[1] - (sums[1] - rest) % modulus
        negative |= least * multiplier + term < 0
        positive |= most * multiplier + term >= 0
        if negative and positive:
            break
    return Ties(negative, positive)


def _joined(first: Ties, second: Ties) -> Ties:
    return Ties(first.negative or second.negative, first.positive or second.positive)
