# SPDX-License-Identifier: Apache-2.0
"""The inverse square root in integers, by Newton's iteration in fixed point.

Source: ``GetInvSqrtQuantizedMultiplierExp`` of TensorFlow Lite, on gemmlowp's fixed-point types.
It fills tables, it runs at no time over codes; but a table of 16-bit codes has 32,767 roots.
"""

from __future__ import annotations

from simulator.numerics.gemmlowp import (
    INT32_HIGH,
    INT32_LOW,
    rounding_divide_by_pot,
    rounding_divide_by_pot_kernel,
    saturating_rounding_doubling_high_mul,
    saturating_rounding_doubling_high_mul_kernel,
)
from simulator.numerics.integer_type import INT32, Overflow, fit
from simulator.numerics.jit import kernel
from simulator.numerics.rounding import Rounding, shift_right

NEWTON_STEPS = 5
HALF_ROOT_OF_TWO = 1518500250  # √2 / 2 in 31 fraction bits

_ONE = 1 << 28  # Q3.28, the type of the iteration
_THREE_HALVES = _ONE + (_ONE >> 1)


def _scaled_up(value: int, bits: int) -> int:
    return fit(value << bits, INT32, Overflow.SATURATE)


def inverse_square_root(value: int, fraction_bits: int) -> int:
    """Return ``2^fraction_bits / √value`` for a positive 29-bit integer, rounded half up.

    The operand is shifted in pairs of bits until it lies in 1/2 .. 2 as Q3.28; five steps
    ``x <- 3/2 x - v/2 x³`` from 1 follow, in Q3.28; one factor √2 / 2 makes up for the halving.

    Raises
    ------
    ValueError
        If ``value`` is not in 1 .. 2^29 - 1.
    """
    if not 1 <= value < 1 << 29:
        raise ValueError(f"inverse square root of {value}: must be in 1 .. 2^29 - 1")
    if value == 1:
        mantissa, right = (1 << 31) - 1, 0
    else:
        pairs = (32 - value.bit_length() - 1) // 2 - 1
        right = 11 - pairs
        operand = value << 2 * pairs >> 1
        half = rounding_divide_by_pot(operand, 1)
        product = saturating_rounding_doubling_high_mul
        estimate = _ONE
        for _ in range(NEWTON_STEPS):
            cube = _scaled_up(product(product(estimate, estimate), estimate), 6)
            difference = product(_THREE_HALVES, estimate) - product(half, cube)
            estimate = _scaled_up(difference, 3)
        mantissa = product(estimate, HALF_ROOT_OF_TWO)
        if right < 0:
            mantissa, right = mantissa << -right, 0
    return shift_right(mantissa, 31 + right - fraction_bits, Rounding.HALF_UP)


@kernel
def inverse_square_roots_kernel(values, fraction_bits, out):  # type: ignore[no-untyped-def]
    """:func:`inverse_square_root` of int64 [count] in its range, at up to 20 fraction bits."""
    for index in range(len(values)):
        value = values[index]
        bits = 0
        while value >> bits > 0:
            bits += 1
        mantissa, right = INT32_HIGH, 0
        if value > 1:
            pairs = (31 - bits) // 2 - 1
            right = 11 - pairs
            operand = value << 2 * pairs >> 1
            half = rounding_divide_by_pot_kernel(operand, 1)
            estimate = _ONE
            for _ in range(NEWTON_STEPS):
                square = saturating_rounding_doubling_high_mul_kernel(estimate, estimate)
                cube = saturating_rounding_doubling_high_mul_kernel(square, estimate) << 6
                cube = min(max(cube, INT32_LOW), INT32_HIGH)
                difference = saturating_rounding_doubling_high_mul_kernel(
                    _THREE_HALVES, estimate
                ) - saturating_rounding_doubling_high_mul_kernel(half, cube)
                estimate = min(max(difference << 3, INT32_LOW), INT32_HIGH)
            mantissa = saturating_rounding_doubling_high_mul_kernel(estimate, HALF_ROOT_OF_TWO)
        places = 31 + right - fraction_bits
        out[index] = (mantissa + (1 << places - 1)) >> places
