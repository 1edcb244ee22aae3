# SPDX-License-Identifier: Apache-2.0
"""Real factors in the form in which a profile's chip applies them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.numerics.fixed_point import (
    LARGEST_SHIFT,
    multipliers_and_shifts,
    q15_multiplier_and_shift,
    q31_multiplier_and_shift,
)
from simulator.profile import RescaleSection

Real = NDArray[np.float64]
FRACTION_BITS_8 = 8  # XNNPACK's conversion between 8-bit types


class FixedPoint(NamedTuple):
    """Factors as integers: ``multiplier / 2^shift``, int64 [C] or [1]."""

    multipliers: NDArray[np.int64]
    shifts: NDArray[np.int64]


def ratio(numerators: Real, denominators: Real, section: RescaleSection) -> Real:
    """Return the quotient of scales as the chip's tools compute it, in float64.

    ``float32_product``: the numerator, itself a product of scales, is rounded to float32.
    ``float32_ratio``: numerator, denominator and quotient are. Otherwise in float64; scales that
    are float32 are so already.
    """
    if section.scale_type == "float32_product":
        return np.asarray(np.float64(np.float32(numerators)) / denominators)
    if section.scale_type != "float32_ratio":
        return np.asarray(numerators / denominators)
    quotient = np.float32(numerators) / np.float32(denominators)
    return np.asarray(quotient, np.float64)


def fixed_point(
    factors: Sequence[float] | Real, section: RescaleSection, largest_shift: int = LARGEST_SHIFT
) -> FixedPoint:
    """Return factors as multipliers and shifts, by the profile's derivation.

    Raises
    ------
    ValueError
        If a factor is too large, no power of two where the chip only shifts, or needs a shift that
        the chip does not have.
    """
    if section.kind == "power_of_two":
        pairs = [_power_of_two(float(factor)) for factor in factors]
    elif section.derivation == "normalized":
        limit = min(largest_shift, section.shift[1])
        multipliers, shifts = multipliers_and_shifts(factors, section.multiplier_bits, limit)
        pairs = list(zip(multipliers.tolist(), shifts.tolist(), strict=True))
    elif section.derivation == "fraction_8":
        whole = [_fraction_8(float(factor)) for factor in factors]
        pairs = [(multiplier, FRACTION_BITS_8) for multiplier in whole]
    else:
        derive = {"q31": q31_multiplier_and_shift, "q15": q15_multiplier_and_shift}
        pairs = [derive[section.derivation](float(factor)) for factor in factors]
    low, high = section.shift
    for multiplier, shift in pairs:
        if multiplier and not low <= shift <= high:
            raise ValueError(
                f"a factor needs the shift {shift}, rescale.shift has {low}..{high}; quantize for "
                "this profile, or choose another"
            )
    both = np.array(pairs, np.int64).reshape(-1, 2)
    return FixedPoint(both[:, 0].copy(), both[:, 1].copy())


def _fraction_8(factor: float) -> int:
    """Return XNNPACK's multiplier of a conversion, for which it asks for 2^-8 to 2^7."""
    if not 2.0**-FRACTION_BITS_8 <= factor <= 2.0**7:
        raise ValueError(
            f'the factor {factor:.6g} is not between 2^-8 and 2^7, as derivation = "fraction_8" '
            "needs; quantize both tensors to nearer scales, or choose another derivation"
        )
    return round(factor * (1 << FRACTION_BITS_8))


def _power_of_two(factor: float) -> tuple[int, int]:
    mantissa, exponent = np.frexp(factor)
    if mantissa != 0.5:
        raise ValueError(
            f'the factor {factor:.6g} is no power of two, and rescale.kind = "power_of_two" only '
            'shifts; give this kind of op a multiplier: [ops.KIND.rescale] kind = "fixed_point", '
            "KIND being matmul for two activations, mean, rescale"
        )
    places = int(exponent) - 1
    return (1 << places, 0) if places > 0 else (1, -places)
