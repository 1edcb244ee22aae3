# SPDX-License-Identifier: Apache-2.0
"""Real factors as a profile's multipliers and shifts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.numerics.fixed_point import (
    LARGEST_SHIFT,
    multiplier_and_shift,
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
    factors: Sequence[float] | Real,
    section: RescaleSection,
    largest_shift: int = LARGEST_SHIFT,
    sum_bits: int = 64,
) -> FixedPoint:
    """Return factors as multipliers and shifts, by the profile's derivation.

    A normalized factor whose shift would pass the chip's largest has a smaller multiplier at that
    shift, 0 in the end; other derivations say which multiplier it must be.

    Parameters
    ----------
    largest_shift
        that there is room for, if it is less than the chip's; any factor has a smaller multiplier
        there
    sum_bits
        width of what is multiplied: where a chip only shifts, a shift beyond that width yields what
        the chip's largest one does

    Raises
    ------
    ValueError
        If a factor is too large, no power of two where the chip only shifts, or needs a shift that
        the chip does not have.
    """
    limit = min(largest_shift, section.shift[1])
    bits = section.multiplier_bits
    derive = _DERIVATIONS[section.derivation]

    def of(factor: float) -> tuple[int, int]:
        if section.kind == "power_of_two":
            return on_chip(_power_of_two(factor, limit, sum_bits), section)
        pair = derive(factor, bits, limit)
        if pair[1] > largest_shift:
            pair = multiplier_and_shift(factor, bits, largest_shift)
        return on_chip(pair, section)

    numbers = [float(factor) for factor in factors]
    pairs = {factor: of(factor) for factor in dict.fromkeys(numbers)}  # each number once
    both = np.array([pairs[factor] for factor in numbers], np.int64).reshape(-1, 2)
    return FixedPoint(both[:, 0].copy(), both[:, 1].copy())


def on_chip(pair: tuple[int, int], section: RescaleSection) -> tuple[int, int]:
    """Return a multiplier and a shift; the shift of a factor 0 is any that the chip has.

    Raises
    ------
    ValueError
        If the chip does not have the shift.
    """
    multiplier, shift = pair
    low, high = section.shift
    if not multiplier:
        return 0, min(max(shift, low), high)
    if not low <= shift <= high:
        raise ValueError(
            f"a factor needs the shift {shift}, rescale.shift has {low}..{high}; quantize for "
            "this profile, or choose another"
        )
    return multiplier, shift


def at_common_shift(
    factors: Sequence[float] | Real, section: RescaleSection, largest_shift: int = LARGEST_SHIFT
) -> tuple[NDArray[np.int64], int]:
    """Return factors as multipliers at one shift, which the largest of them decides.

    The others lose leading bits. Needed where terms are added before the one rounding (residual
    Add, LayerNorm's affine step).

    Raises
    ------
    ValueError
        If the largest factor needs a smaller shift than the chip has.
    """
    limit = min(largest_shift, section.shift[1])
    largest = multiplier_and_shift(float(np.max(factors)), section.multiplier_bits, limit)
    _, shift = on_chip(largest, section)
    return nearest(np.ldexp(factors, shift)), shift


def nearest(values: Real) -> NDArray[np.int64]:
    """Return the nearest whole numbers to values that are not negative, ties upwards."""
    below = np.floor(values)
    return (below + (values - below >= 0.5)).astype(np.int64)


def _normalized(factor: float, multiplier_bits: int, largest_shift: int) -> tuple[int, int]:
    pair = multiplier_and_shift(factor, multiplier_bits, largest_shift)
    return pair if pair[0] else (0, largest_shift)


def _q31(factor: float, _: int, __: int) -> tuple[int, int]:
    return q31_multiplier_and_shift(factor)


def _q15(factor: float, _: int, __: int) -> tuple[int, int]:
    return q15_multiplier_and_shift(factor)


def _at_shift_8(factor: float, _: int, __: int) -> tuple[int, int]:
    return _fraction_8(factor), FRACTION_BITS_8


_DERIVATIONS: Mapping[str, Callable[[float, int, int], tuple[int, int]]] = MappingProxyType(
    {"normalized": _normalized, "q31": _q31, "q15": _q15, "fraction_8": _at_shift_8}
)


def _fraction_8(factor: float) -> int:
    """Return XNNPACK's multiplier of a conversion, for which it asks for 2^-8 to 2^7."""
    if not 2.0**-FRACTION_BITS_8 <= factor <= 2.0**7:
        raise ValueError(
            f'the factor {factor:.6g} is not between 2^-8 and 2^7, as derivation = "fraction_8" '
            "needs; quantize both tensors to nearer scales, or choose another derivation"
        )
    return round(factor * (1 << FRACTION_BITS_8))


def _power_of_two(factor: float, largest_shift: int, sum_bits: int) -> tuple[int, int]:
    mantissa, exponent = np.frexp(factor)
    places = int(exponent) - 1
    # Half a code at most, whatever the shift: also where the factor is too small for float64.
    if (factor == 0 or -places > largest_shift) and largest_shift > sum_bits:
        return 1, largest_shift
    if mantissa != 0.5:
        raise ValueError(
            f'the factor {factor:.6g} is no power of two, and rescale.kind = "power_of_two" only '
            'shifts; give this kind of op a multiplier: [ops.KIND.rescale] kind = "fixed_point", '
            "KIND being matmul for two activations, mean, rescale"
        )
    if -places > largest_shift:
        raise ValueError(
            f"the factor 2^{places} needs the shift {-places}, rescale.shift ends at "
            f"{largest_shift}; quantize for this profile, or choose another"
        )
    return (1 << places, 0) if places > 0 else (1, -places)
