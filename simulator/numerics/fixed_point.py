# SPDX-License-Identifier: Apache-2.0
"""Real factors as integers: ``factor ≈ multiplier / 2^shift``."""

from __future__ import annotations

import math

LARGEST_SHIFT = 62


def _round_half_away(value: float) -> int:
    below = math.floor(abs(value))
    # Not floor(value + 0.5): for the float just below 0.5 that addition rounds up to 1.
    nearest = below + (abs(value) - below >= 0.5)
    return nearest if value >= 0 else -nearest


def multiplier_and_shift(
    factor: float, multiplier_bits: int, largest_shift: int = LARGEST_SHIFT
) -> tuple[int, int]:
    """Approximate a non-negative real factor by ``multiplier / 2^shift``.

    The multiplier uses all its bits: ``2^(multiplier_bits-1) <= multiplier < 2^multiplier_bits``,
    rounded half away from zero, as TFLite's ``QuantizeMultiplier`` derives Q31 multipliers.
    A factor so small that the shift would pass ``largest_shift`` becomes a smaller multiplier at
    that shift.

    Parameters
    ----------
    factor
        The real factor, finite and at least 0.
    multiplier_bits
        Width of the multiplier without sign, 1 to 31.
    largest_shift
        0 to 62.

    Returns
    -------
    multiplier, shift
        ``0 <= multiplier < 2^multiplier_bits`` and ``0 <= shift <= largest_shift``.

    Raises
    ------
    ValueError
        If the factor is negative, not finite, or ``>= 2^multiplier_bits``: a left shift.
    """
    if not (math.isfinite(factor) and factor >= 0):
        raise ValueError(f"factor {factor}: must be finite and not negative")
    if factor == 0:
        return 0, 0
    _, exponent = math.frexp(factor)  # factor = fraction * 2^exponent, fraction in [0.5, 1)
    shift = min(multiplier_bits - exponent, largest_shift)
    multiplier = _round_half_away(math.ldexp(factor, shift))
    if multiplier == 1 << multiplier_bits:
        multiplier, shift = multiplier // 2, shift - 1
    if shift < 0:
        raise ValueError(
            f"factor {factor}: needs more than {multiplier_bits} multiplier bits; a wider "
            "rescale.multiplier_bits may help"
        )
    return multiplier, shift


def q31_multiplier_and_shift(factor: float) -> tuple[int, int]:
    """Return a factor as TFLite's ``QuantizeMultiplier`` does: a Q31 multiplier, a total shift.

    ``factor ≈ multiplier / 2^shift`` with ``2^30 <= multiplier < 2^31`` and
    ``shift = 31 - exponent``; a factor below 2^-32 becomes 0.

    Raises
    ------
    ValueError
        If the factor is negative, not finite, or at least 2^31.
    """
    if not (math.isfinite(factor) and factor >= 0):
        raise ValueError(f"factor {factor}: must be finite and not negative")
    fraction, exponent = math.frexp(factor)
    multiplier = _round_half_away(math.ldexp(fraction, 31))
    if multiplier == 1 << 31:
        multiplier, exponent = multiplier // 2, exponent + 1
    if exponent < -31:
        return 0, 31
    if exponent > 31:
        raise ValueError(f"factor {factor}: needs more than 31 multiplier bits")
    return multiplier, 31 - exponent


def q15_multiplier_and_shift(factor: float) -> tuple[int, int]:
    """Return a factor as TFLite's 16-bit kernels do: the Q31 multiplier rounded to 15 bits.

    The rounding is half up; a multiplier that would become 2^15 stays 2^15 - 1. ``shift`` is that
    of Q31 less 16.

    Raises
    ------
    ValueError
        If the factor is negative, not finite, or at least 2^15: a left shift.
    """
    multiplier, shift = q31_multiplier_and_shift(factor)
    reduced = (multiplier + (1 << 15)) >> 16 if multiplier < 0x7FFF0000 else 0x7FFF
    if shift < 16:
        raise ValueError(f"factor {factor}: needs more than 15 multiplier bits")
    return reduced, shift - 16


def mean_multiplier_and_shift(factor: float, count: int) -> tuple[int, int]:
    """Return the 31-bit multiplier and shift of ``factor / count``, as TFLite's MEAN derives them.

    The divisor is folded into the multiplier of the factor alone: with ``m / 2^s ≈ factor`` and
    ``h = min(floor(log2 count), 32, 62 - s)`` it is ``floor(m 2^h / count) / 2^(s + h)``. The
    multiplier loses at most one bit, and is rounded down.
    """
    multiplier, shift = q31_multiplier_and_shift(factor)
    more = min(count.bit_length() - 1, 32, LARGEST_SHIFT - shift)
    return (multiplier << more) // count, shift + more
