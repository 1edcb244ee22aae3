# SPDX-License-Identifier: Apache-2.0
"""Rounding modes, and what rounds by them: right shifts, divisions and real numbers.

A mode is one row of :data:`ROUNDING_MODES`. With ``q = floor(x)``, a number ``x`` that is not whole
becomes ``q + up``, where::

    up = always + if_negative * [x < 0] + if_odd * [q is odd]

decides ties alone where the mode rounds to the nearest, else every such number. A right shift of
``p`` by ``s`` bits is then ``(p + R) >> s`` with an arithmetic (floor) shift. With
``H = 2^(s-1)``::

    to the nearest   R = H - 1 + up
    otherwise        R = (2^s - 1) * up

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

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import product
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.numerics.jit import kernel


class Rounding(StrEnum):
    """Choice between the two neighbours of a number that is not whole."""

    FLOOR = "floor"
    TOWARD_ZERO = "toward_zero"
    HALF_UP = "half_up"
    HALF_DOWN = "half_down"
    HALF_AWAY = "half_away"
    HALF_EVEN = "half_even"


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundingMode:
    """The definition of a rounding mode, from which every path derives its own form.

    Attributes
    ----------
    nearest
        whether the nearer neighbour results, and the others decide ties alone
    always, if_negative, if_odd
        the upper neighbour ``floor(x) + 1`` results where
        ``always + if_negative * [x < 0] + if_odd * [floor(x) is odd]`` is 1, the lower where it is
        0
    """

    nearest: bool
    always: int = 0
    if_negative: int = 0
    if_odd: int = 0

    def __post_init__(self) -> None:
        if any(self.up(*case) not in {0, 1} for case in product((False, True), repeat=2)):
            raise ValueError(f"{self}: always and what is added to it must make 0 or 1")

    def up(self, negative: bool, odd: bool) -> int:
        """Return 1 where the upper neighbour results, else 0."""
        return self.always + self.if_negative * negative + self.if_odd * odd

    @property
    def arguments(self) -> tuple[int, int, int, int]:
        """The ``mode`` argument of kernels."""
        return int(self.nearest), self.always, self.if_negative, self.if_odd


ROUNDING_MODES: Mapping[Rounding, RoundingMode] = MappingProxyType(
    {
        Rounding.FLOOR: RoundingMode(nearest=False),
        Rounding.TOWARD_ZERO: RoundingMode(nearest=False, if_negative=1),
        Rounding.HALF_UP: RoundingMode(nearest=True, always=1),
        Rounding.HALF_DOWN: RoundingMode(nearest=True),
        Rounding.HALF_AWAY: RoundingMode(nearest=True, always=1, if_negative=-1),
        Rounding.HALF_EVEN: RoundingMode(nearest=True, if_odd=1),
    }
)


class DoubleRounding(StrEnum):
    """A second HALF_UP rounding: at bit 31, then at the shift, where that is larger."""

    NONE = "none"
    # TFLite's and gemmlowp's high product and rounding shift; CMSIS-NN; TOSA DOUBLE_ROUND.
    SYMMETRIC = "symmetric"  # the second step rounds ties away from zero
    ASYMMETRIC = "asymmetric"  # the second step rounds ties up; ruy


FIRST_STEP = 31  # the bit at which the first of two roundings happens


class Offset(NamedTuple):
    """``R`` of one mode and one shift: ``bias + if_negative * [p < 0] + if_odd * [q is odd]``."""

    bias: int
    if_negative: int
    if_odd: int


def divide(value: int, divisor: int, rounding: Rounding) -> int:
    """Return ``value / divisor``, rounded: plain Python integers, the reference.

    The divisor is positive.
    """
    quotient, rest = divmod(value, divisor)
    if rest == 0:
        return quotient
    mode = ROUNDING_MODES[rounding]
    if mode.nearest and 2 * rest != divisor:
        return quotient + (2 * rest > divisor)
    return quotient + mode.up(value < 0, quotient % 2 == 1)


def round_real(value: float, rounding: Rounding) -> int:
    """Return a finite real number, rounded: in plain Python integers, the reference."""
    return divide(*value.as_integer_ratio(), rounding)


def shift_right(
    value: int, shift: int, rounding: Rounding, double: DoubleRounding = DoubleRounding.NONE
) -> int:
    """Divide ``value`` by ``2^shift`` and round: plain Python integers, the reference.

    Two roundings are done one after the other here.
    """
    if double is DoubleRounding.NONE or shift <= FIRST_STEP:
        return divide(value, 1 << shift, rounding)
    high = divide(value, 1 << FIRST_STEP, Rounding.HALF_UP)
    second = Rounding.HALF_AWAY if double is DoubleRounding.SYMMETRIC else Rounding.HALF_UP
    return divide(high, 1 << (shift - FIRST_STEP), second)


def double_rounding_problem(rounding: Rounding, double: DoubleRounding) -> str | None:
    """Say what is wrong with two roundings of a mode, or return None: they are HALF_UP both."""
    if double is DoubleRounding.NONE or rounding is Rounding.HALF_UP:
        return None
    return (
        f'double_rounding = "{double}": rounds half_up twice, not {rounding}; set '
        'rounding = "half_up" or double_rounding = "none"'
    )


def offset_of(mode: RoundingMode, shift: int) -> Offset:
    """Return ``R`` of one rounding by ``shift`` bits."""
    if shift == 0:
        return Offset(0, 0, 0)
    half = 1 << (shift - 1)
    start, weight = (half - 1, 1) if mode.nearest else (0, 2 * half - 1)
    bias = start + weight * mode.always
    return Offset(bias, weight * mode.if_negative, weight * mode.if_odd)


def _offset(shift: int, rounding: Rounding, double: DoubleRounding) -> Offset:
    once = offset_of(ROUNDING_MODES[rounding], shift)
    if double is DoubleRounding.NONE or shift <= FIRST_STEP:
        return once
    first = 1 << (FIRST_STEP - 1)
    if_negative = -2 * first if double is DoubleRounding.SYMMETRIC else 0
    return Offset(once.bias + first, if_negative, 0)


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
    problem = double_rounding_problem(rounding, double)
    if problem is not None:
        raise ValueError(problem)
    rows = [_offset(int(shift), rounding, double) for shift in shifts.ravel()]
    return np.ascontiguousarray(np.array(rows, dtype=np.int64).reshape(-1, 3).T)


@kernel
def shift_right_kernel(value, shift, bias, if_negative, if_odd):  # type: ignore[no-untyped-def]
    """``(value + R) >> shift`` on int64; the parts of ``R`` come from :func:`offsets`."""
    rounded = value + bias + ((value >> shift) & 1) * if_odd
    if value < 0:
        rounded += if_negative
    return rounded >> shift


@kernel
def rounds_up_kernel(twice_the_rest, divisor, negative, odd, mode):  # type: ignore[no-untyped-def]
    """Say whether ``rest / divisor`` beside a whole number is rounded to the upper neighbour.

    ``mode`` is :attr:`RoundingMode.arguments`; the rest is compared in its own type.
    """
    nearest, always, if_negative, if_odd = mode
    if twice_the_rest == 0:
        return False
    if nearest and twice_the_rest != divisor:
        return twice_the_rest > divisor
    return always + if_negative * negative + if_odd * odd == 1


@kernel
def divide_kernel(value, divisor, mode):  # type: ignore[no-untyped-def]
    """:func:`divide` of int64, ``mode`` from :attr:`RoundingMode.arguments`."""
    quotient = value // divisor
    twice_the_rest = 2 * (value - quotient * divisor)
    if rounds_up_kernel(twice_the_rest, divisor, value < 0, quotient & 1, mode):
        quotient += 1
    return quotient


@kernel
def round_real_kernel(value, mode):  # type: ignore[no-untyped-def]
    """:func:`round_real` of a float64, as a float64; an infinite one stays what it is.

    ``mode`` is :attr:`RoundingMode.arguments`.
    """
    below = np.trunc(value)
    # Exact, with the sign of the value: counted from below, the rest of -1e-20 would be 1.
    rest = value - below
    side = 1.0
    if rest < 0.0:
        side = -1.0
        below -= 1.0
    elif not rest > 0.0:
        return below
    odd = np.floor(below / 2.0) * 2.0 != below
    # 1 + rest > 1 / 2 where the rest is negative: twice it is compared with -1, not with 1.
    if rounds_up_kernel(2.0 * rest, side, value < 0.0, odd, mode):
        return below + 1.0
    return below
