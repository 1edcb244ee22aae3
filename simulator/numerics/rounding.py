# SPDX-License-Identifier: Apache-2.0
"""Rounding modes of a right shift. A new mode: its name, a row in ``OFFSETS``, its definition.

Every mode is one formula, ``q = (p + R) >> s`` with an arithmetic (floor) shift; only ``R``
differs.
With ``H = 2^(s-1)``::

    FLOOR        R = 0
    TOWARD_ZERO  R = 2^s - 1 where p < 0, else 0
    HALF_UP      R = H                       ties toward +infinity
    HALF_DOWN    R = H - 1                   ties toward -infinity
    HALF_AWAY    R = H - [p < 0]             ties away from zero (C's round(), IEEE roundTiesToAway)
    HALF_EVEN    R = H - 1 + ((p >> s) & 1)  ties to the even code (IEEE roundTiesToEven)

For ``s = 0`` nothing is rounded and every ``R`` is 0.

Some targets round HALF_UP twice, first at bit 31 and then at ``s`` (:class:`DoubleRounding`). That,
too, is one shift: with ``D = 2^30`` where ``s > 31``, else 0::

    SYMMETRIC    R = H + (-D if p < 0 else D)
    ASYMMETRIC   R = H + D

The second step of SYMMETRIC is HALF_AWAY. Sign and first remainder then cancel: the first step
yields a negative number just where ``p < -D``, and for ``-D <= p < 0`` both forms give 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from fractions import Fraction
from math import ceil, floor
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.numerics.jit import kernel


class Rounding(StrEnum):
    """How the discarded bits of a right shift decide the kept ones."""

    FLOOR = "floor"
    TOWARD_ZERO = "toward_zero"
    HALF_UP = "half_up"
    HALF_DOWN = "half_down"
    HALF_AWAY = "half_away"
    HALF_EVEN = "half_even"


class DoubleRounding(StrEnum):
    """Whether HALF_UP is done twice: at bit 31, then at the shift, where that is larger."""

    NONE = "none"
    # TFLite's and gemmlowp's high product and rounding shift; CMSIS-NN; TOSA DOUBLE_ROUND.
    SYMMETRIC = "symmetric"  # the second step rounds ties away from zero
    ASYMMETRIC = "asymmetric"  # the second step rounds ties up; ruy


FIRST_STEP = 31  # the bit at which the first of two roundings happens


class Offset(NamedTuple):
    """``R`` of one mode and one shift: ``always + negative*[p < 0] + odd*((p >> s) & 1)``."""

    always: int
    negative: int
    odd: int


OFFSETS: Mapping[Rounding, Callable[[int], Offset]] = MappingProxyType(
    {
        Rounding.FLOOR: lambda _: Offset(0, 0, 0),
        Rounding.TOWARD_ZERO: lambda half: Offset(0, 2 * half - 1, 0),
        Rounding.HALF_UP: lambda half: Offset(half, 0, 0),
        Rounding.HALF_DOWN: lambda half: Offset(half - 1, 0, 0),
        Rounding.HALF_AWAY: lambda half: Offset(half, -1, 0),
        Rounding.HALF_EVEN: lambda half: Offset(half - 1, 0, 1),
    }
)


def _nearest(value: Fraction, tie: Callable[[Fraction], int]) -> int:
    below = floor(value)
    remainder = value - below
    if remainder == Fraction(1, 2):
        return tie(value)
    return below + (remainder > Fraction(1, 2))


# What each mode means, on exact fractions: the reference that the formula above is tested against.
DEFINITIONS: Mapping[Rounding, Callable[[Fraction], int]] = MappingProxyType(
    {
        Rounding.FLOOR: floor,
        Rounding.TOWARD_ZERO: int,
        Rounding.HALF_UP: lambda value: _nearest(value, ceil),
        Rounding.HALF_DOWN: lambda value: _nearest(value, floor),
        Rounding.HALF_AWAY: lambda value: _nearest(value, floor if value < 0 else ceil),
        Rounding.HALF_EVEN: lambda value: _nearest(value, lambda v: floor(v) + floor(v) % 2),
    }
)


def shift_right(
    value: int, shift: int, rounding: Rounding, double: DoubleRounding = DoubleRounding.NONE
) -> int:
    """Divide ``value`` by ``2^shift`` and round: plain Python integers, the reference.

    Two roundings are done one after the other here.
    """
    if double is DoubleRounding.NONE or shift <= FIRST_STEP:
        return DEFINITIONS[rounding](Fraction(value, 1 << shift))
    high = DEFINITIONS[Rounding.HALF_UP](Fraction(value, 1 << FIRST_STEP))
    second = Rounding.HALF_AWAY if double is DoubleRounding.SYMMETRIC else Rounding.HALF_UP
    return DEFINITIONS[second](Fraction(high, 1 << (shift - FIRST_STEP)))


def _offset(shift: int, rounding: Rounding, double: DoubleRounding) -> Offset:
    if shift == 0:
        return Offset(0, 0, 0)
    half = 1 << (shift - 1)
    if double is DoubleRounding.NONE or shift <= FIRST_STEP:
        return OFFSETS[rounding](half)
    first = 1 << (FIRST_STEP - 1)
    return Offset(half + first, -2 * first if double is DoubleRounding.SYMMETRIC else 0, 0)


def offsets(
    shifts: NDArray[np.integer],
    rounding: Rounding,
    double: DoubleRounding = DoubleRounding.NONE,
) -> NDArray[np.int64]:
    """Return ``R``'s three parts for every shift, as an array of shape (3, number of shifts).

    Raises
    ------
    ValueError
        If two roundings are asked for and ``rounding`` is not ``half_up``, which both of them are.
    """
    if double is not DoubleRounding.NONE and rounding is not Rounding.HALF_UP:
        raise ValueError(f"double rounding is {Rounding.HALF_UP} twice, not {rounding}")
    rows = [_offset(int(shift), rounding, double) for shift in shifts.ravel()]
    return np.ascontiguousarray(np.array(rows, dtype=np.int64).reshape(-1, 3).T)


@kernel
def shift_right_kernel(value, shift, always, negative, odd):  # type: ignore[no-untyped-def]
    """``(value + R) >> shift`` on int64; the parts of ``R`` come from :func:`offsets`."""
    rounded = value + always + ((value >> shift) & 1) * odd
    if value < 0:
        rounded += negative
    return rounded >> shift
