# SPDX-License-Identifier: Apache-2.0
"""gemmlowp's 32-bit fixed-point arithmetic: products, exponentials and reciprocals.

Qm.n is a number of 32 bits with n fraction bits. Each function has two forms: plain Python integers
that round by definition, and a kernel that adds and shifts. Source: gemmlowp ``fixedpoint.h``;
TensorFlow Lite ``common.h`` for ``GetReciprocal``.
"""

from __future__ import annotations

from simulator.numerics.jit import kernel
from simulator.numerics.rounding import Rounding, shift_right

INT32_LOW, INT32_HIGH = -(1 << 31), (1 << 31) - 1
# Fraction bits of the exponent's argument, and of sums of exponentials.
ARGUMENT_FRACTION_BITS = 26
SUM_FRACTION_BITS = 19
SUM_INTEGER_BITS = 12

# In Q0.31: exp(-1/8), and 1/3 for the Taylor series around it.
_EXP_EIGHTH = 1895147668
_THIRD = 715827883
# exp(-1/4), exp(-1/2), exp(-1) … exp(-16) in Q0.31: one factor per bit of what is left.
_EXP_FACTORS = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)
# 48/17 and -32/17 in Q2.29: the line that starts Newton's iteration for a reciprocal.
_NEWTON_START = 1515870810
_NEWTON_SLOPE = -1010580540
_NEWTON_STEPS = 3

_QUARTER = 1 << ARGUMENT_FRACTION_BITS - 2
_EIGHTH = 1 << 28  # in Q0.31
_ONE = 1 << 29  # in Q2.29


def _clip(value: int) -> int:
    return min(max(value, INT32_LOW), INT32_HIGH)


def saturating_rounding_doubling_high_mul(a: int, b: int) -> int:
    """Return the product of two numbers, one of them Q0.31, at the other's fraction bits.

    ``a * b / 2^31``, ties toward +infinity; only -2^31 times itself has to be clipped.
    """
    return _clip(shift_right(a * b, 31, Rounding.HALF_UP))


def rounding_divide_by_pot(value: int, exponent: int) -> int:
    """Divide by ``2^exponent``, ties away from zero."""
    return shift_right(value, exponent, Rounding.HALF_AWAY)


def exp_on_negative_values(argument: int) -> int:
    """Return exp of a Q5.26 number, which must not be positive, as Q0.31."""
    if argument == 0:
        return INT32_HIGH
    mul = saturating_rounding_doubling_high_mul
    part = argument % _QUARTER - _QUARTER
    x = (part << 5) + _EIGHTH
    x2 = mul(x, x)
    x3 = mul(x2, x)
    x4 = mul(x2, x2)
    cubic = mul(rounding_divide_by_pot(x4, 2) + x3, _THIRD)  # x⁴/12 + x³/3
    result = _EXP_EIGHTH + mul(_EXP_EIGHTH, x + rounding_divide_by_pot(cubic + x2, 1))
    quarters = (part - argument) // _QUARTER
    for bit, factor in enumerate(_EXP_FACTORS):
        if quarters >> bit & 1:
            result = mul(result, factor)
    return result


def reciprocal(total: int) -> tuple[int, int]:
    """Return 1 / (1 + t) as Q0.31, where ``total = (1 + t) * 2^(19 + e)`` and 0 <= t < 1; and e.

    ``total`` is Q12.19 and at least 1.
    """
    mul = saturating_rounding_doubling_high_mul
    leading_zeros = 32 - total.bit_length()
    fraction = (total << leading_zeros) - (1 << 31)
    half = shift_right(fraction + INT32_HIGH, 1, Rounding.HALF_AWAY)
    x = _NEWTON_START + mul(half, _NEWTON_SLOPE)
    for _ in range(_NEWTON_STEPS):
        x += _clip(mul(x, _ONE - mul(half, x)) << 2)
    return _clip(x << 1), SUM_INTEGER_BITS - leading_zeros


@kernel
def saturating_rounding_doubling_high_mul_kernel(a, b):  # type: ignore[no-untyped-def]
    """:func:`saturating_rounding_doubling_high_mul` of int64 that hold 32 bits, not both lowest."""
    return (a * b + 1073741824) >> 31


@kernel
def rounding_divide_by_pot_kernel(value, exponent):  # type: ignore[no-untyped-def]
    """:func:`rounding_divide_by_pot` on int64."""
    mask = (1 << exponent) - 1
    threshold = mask >> 1
    if value < 0:
        threshold += 1
    quotient = value >> exponent
    if value & mask > threshold:
        quotient += 1
    return quotient


@kernel
def exp_on_negative_values_kernel(argument):  # type: ignore[no-untyped-def]
    """:func:`exp_on_negative_values` on int64."""
    if argument == 0:
        return INT32_HIGH
    part = (argument & (_QUARTER - 1)) - _QUARTER
    x = (part << 5) + _EIGHTH
    x2 = saturating_rounding_doubling_high_mul_kernel(x, x)
    x3 = saturating_rounding_doubling_high_mul_kernel(x2, x)
    x4 = saturating_rounding_doubling_high_mul_kernel(x2, x2)
    cubic = saturating_rounding_doubling_high_mul_kernel(
        rounding_divide_by_pot_kernel(x4, 2) + x3, _THIRD
    )
    result = _EXP_EIGHTH + saturating_rounding_doubling_high_mul_kernel(
        _EXP_EIGHTH, x + rounding_divide_by_pot_kernel(cubic + x2, 1)
    )
    rest = part - argument
    for bit in range(len(_EXP_FACTORS)):
        if rest & (_QUARTER << bit):
            result = saturating_rounding_doubling_high_mul_kernel(result, _EXP_FACTORS[bit])
    return result


@kernel
def reciprocal_kernel(total):  # type: ignore[no-untyped-def]
    """:func:`reciprocal` on int64, with the number of leading zeros in place of the exponent."""
    leading_zeros = 0
    normalized = total
    while normalized < 2147483648:
        normalized <<= 1
        leading_zeros += 1
    # (t + 1) / 2 from t = normalized - 2^31 and 1 = 2^31 - 1: their sum is not negative.
    half = normalized >> 1
    x = _NEWTON_START + saturating_rounding_doubling_high_mul_kernel(half, _NEWTON_SLOPE)
    for _ in range(_NEWTON_STEPS):
        error = _ONE - saturating_rounding_doubling_high_mul_kernel(half, x)
        step = saturating_rounding_doubling_high_mul_kernel(x, error) << 2
        x += min(max(step, INT32_LOW), INT32_HIGH)
    return min(x << 1, INT32_HIGH), leading_zeros
