# SPDX-License-Identifier: Apache-2.0
"""What most traces end with: a product is shifted, rounded, given its zero point, and stored.

Written from the formulas of ``docs/ir.md`` on whole arrays, without the kernels' constants: an
arithmetic shift, what it drops, and the mode's rule for it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from simulator.graph.graph import IntGraph, Tensor
from simulator.graph.op import Requantization
from simulator.numerics.float_type import Array
from simulator.numerics.integer_type import INT32, IntType, Overflow, limits
from simulator.numerics.rescaling import Arithmetic, LeftShift, ZeroPointStage
from simulator.numerics.rounding import FIRST_STEP, ROUNDING_MODES, DoubleRounding, Rounding

Int64 = NDArray[np.int64]


def wide(codes: Array) -> Int64:
    """Return codes as int64."""
    return codes.astype(np.int64)


def centred(codes: Array, tensor: Tensor) -> Int64:
    """Return codes less the tensor's zero point."""
    return wide(codes) - tensor.zero_point


def constant(graph: IntGraph, name: str) -> Int64:
    """Return a constant as int64."""
    return wide(graph.constants[name])


def round_shift(
    values: Int64,
    shift: int | Int64,
    rounding: Rounding,
    double: DoubleRounding = DoubleRounding.NONE,
) -> Int64:
    """Return ``values / 2^shift``, rounded; ``shift`` broadcasts."""
    once = _round_once(values, shift, rounding)
    if double is DoubleRounding.NONE or not np.any(np.asarray(shift) > FIRST_STEP):
        return once
    second = Rounding.HALF_AWAY if double is DoubleRounding.SYMMETRIC else Rounding.HALF_UP
    rest = np.maximum(np.asarray(shift, np.int64) - FIRST_STEP, 0)
    twice = _round_once(_round_once(values, FIRST_STEP, Rounding.HALF_UP), rest, second)
    return np.where(np.asarray(shift) > FIRST_STEP, twice, once)


def _round_once(values: Int64, shift: int | Int64, rounding: Rounding) -> Int64:
    places = np.asarray(shift, np.int64)
    below = values >> places
    dropped = values - (below << places)
    return below + rounds_up(dropped, np.int64(1) << places, values < 0, below & 1, rounding)


def rounds_up(
    rest: Int64, divisor: int | Int64, negative: NDArray[np.bool_], odd: Int64, rounding: Rounding
) -> Int64:
    """Return 1 where ``rest / divisor``, from 0 up to 1, is rounded to 1, else 0.

    ``negative`` and ``odd`` are of the number and of its lower neighbour.
    """
    mode = ROUNDING_MODES[rounding]
    other = divisor - rest
    decided = rest == other if mode.nearest else rest > 0
    chosen = mode.always + mode.if_negative * wide(negative) + mode.if_odd * odd
    nearer = (rest > other) & mode.nearest
    return np.where(decided, chosen, wide(nearer))


def divided(values: Int64, divisor: int | Int64, rounding: Rounding) -> Int64:
    """Return ``values / divisor``, rounded; the divisor is positive."""
    below = values // divisor
    return below + rounds_up(values - below * divisor, divisor, values < 0, below & 1, rounding)


def fit(values: Int64, kind: IntType, overflow: Overflow) -> Int64:
    """Return what ``kind`` holds of the values."""
    low, high = limits(kind, overflow)
    if overflow is not Overflow.WRAP:
        return np.clip(values, low, high)
    if kind.bits == 64:
        return values
    unsigned = values & ((1 << kind.bits) - 1)
    return np.where(unsigned > high, unsigned - (1 << kind.bits), unsigned)


def stored(values: Int64, result: Tensor, overflow: Overflow) -> Array:
    """Return what the result's type holds of the values, in its numpy type."""
    return fit(values, result.code_type, overflow).astype(result.type.dtype)


def shifted(
    scaled: Int64,
    shift: int | Int64,
    rounding: Rounding,
    overflow: Overflow,
    result: Tensor,
    *,
    double: DoubleRounding = DoubleRounding.NONE,
    zero_point: int | None = None,
) -> dict[str, Array]:
    """Return ``scaled``, ``rounded`` and ``result`` of an op that ends in a right shift.

    ``zero_point``, that of the result if left out, is added after rounding.
    """
    added = result.zero_point if zero_point is None else zero_point
    rounded = round_shift(scaled, shift, rounding, double) + added
    return {"scaled": scaled, "rounded": rounded, "result": stored(rounded, result, overflow)}


def requantized(
    sums: Int64,
    graph: IntGraph,
    rule: Requantization,
    result: Tensor,
    residual_terms: Int64 | int = 0,
) -> dict[str, Array]:
    """Return ``scaled``, ``rounded`` and ``result`` of sums [..., channels].

    Where the requantization is in float, ``result`` alone. ``residual_terms`` are added to the
    products.
    """
    multiplier = graph.constants[rule.multiplier]
    if rule.arithmetic is not Arithmetic.FIXED_POINT:
        return {"result": _requantized_in_float(sums, multiplier, rule, result)}
    assert rule.shift is not None
    shift = constant(graph, rule.shift)
    if rule.left_shift is LeftShift.WRAP:
        left = np.maximum(FIRST_STEP - shift, 0)
        # Lost above 64 bits is what the 32 bits that stay do not have either.
        sums = np.where(left > 0, fit(sums << left, INT32, Overflow.WRAP), sums)
        shift = shift + left
    scaled = sums * wide(multiplier) + residual_terms
    zero_point = result.zero_point
    if rule.zero_point_stage is ZeroPointStage.BEFORE_ROUND:
        scaled, zero_point = scaled + (np.int64(zero_point) << shift), 0
    return shifted(
        scaled,
        shift,
        rule.rounding,
        rule.overflow,
        result,
        double=rule.double_rounding,
        zero_point=zero_point,
    )


# Beyond every code, and small enough that a zero point can be added.
_FAR = float(1 << 62)


def _requantized_in_float(
    sums: Int64, multiplier: Array, rule: Requantization, result: Tensor
) -> Array:
    """Return codes by a factor of a float type; each operation is rounded to it."""
    real = multiplier.dtype.type
    zero_point = result.zero_point
    with np.errstate(over="ignore"):
        values = sums.astype(multiplier.dtype) * multiplier
        if rule.zero_point_stage is ZeroPointStage.BEFORE_ROUND:
            values, zero_point = values + real(zero_point), 0
    return stored(rounded_real(values, rule.rounding) + zero_point, result, rule.overflow)


def rounded_real(values: Array, rounding: Rounding) -> Int64:
    """Return real numbers, rounded; those beyond 2^62 as 2^62."""
    near = np.clip(values.astype(np.float64), -_FAR, _FAR)
    whole = np.trunc(near)
    # From zero, and so exact: from below, what is dropped of -1e-20 would be 1. In halves.
    dropped = 2 * np.abs(near - whole)
    negative = near < 0
    below = wide(whole) - (negative & (dropped > 0))
    mode = ROUNDING_MODES[rounding]
    decided = dropped == 1 if mode.nearest else dropped > 0
    chosen = mode.always + mode.if_negative * wide(negative) + mode.if_odd * (below & 1)
    upper_is_nearer = np.where(negative, (dropped < 1) & (dropped > 0), dropped > 1) & mode.nearest
    return below + np.where(decided, chosen, wide(upper_is_nearer))
