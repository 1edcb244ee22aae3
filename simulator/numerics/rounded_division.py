# SPDX-License-Identifier: Apache-2.0
"""Division with a rounding mode, of what is not negative; a right shift is in ``rounding``."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from types import MappingProxyType

from simulator.numerics.jit import kernel
from simulator.numerics.rounding import DEFINITIONS, Rounding

_DOWN, _TIES_UP, _TIES_DOWN, _TIES_EVEN = range(4)

# What the kernels make of a mode; of numbers that are not negative, there are four kinds.
TIES: Mapping[Rounding, int] = MappingProxyType(
    {
        Rounding.FLOOR: _DOWN,
        Rounding.TOWARD_ZERO: _DOWN,
        Rounding.HALF_UP: _TIES_UP,
        Rounding.HALF_AWAY: _TIES_UP,
        Rounding.HALF_DOWN: _TIES_DOWN,
        Rounding.HALF_EVEN: _TIES_EVEN,
    }
)


def divide(value: int, divisor: int, rounding: Rounding) -> int:
    """Return ``value / divisor``, rounded: plain Python integers, the reference."""
    return DEFINITIONS[rounding](Fraction(value, divisor))


@kernel
def goes_up_kernel(twice_the_rest, whole, quotient, ties):  # type: ignore[no-untyped-def]
    """Say whether ``quotient + rest / whole`` is rounded up; ``ties`` is one of :data:`TIES`.

    The rest is compared in its own type: integers, or float32 with ``whole`` 1.
    """
    if ties == _DOWN or twice_the_rest < whole:
        return False
    if twice_the_rest > whole or ties == _TIES_UP:
        return True
    return ties == _TIES_EVEN and quotient & 1 == 1


@kernel
def divide_kernel(value, divisor, ties):  # type: ignore[no-untyped-def]
    """:func:`divide` of int64, value not negative and divisor positive."""
    quotient = value // divisor
    if goes_up_kernel(2 * (value - quotient * divisor), divisor, quotient, ties):
        quotient += 1
    return quotient
