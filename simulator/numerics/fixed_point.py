# SPDX-License-Identifier: Apache-2.0
"""Real factors as integers: ``factor ≈ multiplier / 2^shift``."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

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
        raise ValueError(f"factor {factor}: needs more than {multiplier_bits} multiplier bits")
    return multiplier, shift


def multipliers_and_shifts(
    factors: Sequence[float] | NDArray[np.float64],
    multiplier_bits: int,
    largest_shift: int = LARGEST_SHIFT,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Apply :func:`multiplier_and_shift` to every factor of a vector."""
    pairs = [
        multiplier_and_shift(float(factor), multiplier_bits, largest_shift) for factor in factors
    ]
    both = np.array(pairs, dtype=np.int64)
    return both[:, 0].copy(), both[:, 1].copy()


def multipliers_at_common_shift(
    factors: Sequence[float] | NDArray[np.float64], multiplier_bits: int
) -> tuple[NDArray[np.int64], int]:
    """Approximate several non-negative factors as ``multiplier_i / 2^shift`` with one shift.

    The largest factor decides the shift; the others lose leading bits. Needed where terms are added
    before the one rounding (residual Add, LayerNorm's affine step).
    """
    _, shift = multiplier_and_shift(float(np.max(factors)), multiplier_bits)
    scaled = [_round_half_away(math.ldexp(float(factor), shift)) for factor in factors]
    return np.array(scaled, dtype=np.int64), shift
