# SPDX-License-Identifier: Apache-2.0
"""Requantization in 32-bit lanes: the same codes as :mod:`simulator.numerics.requantization`.

A product of two 32-bit numbers has 64 bits, but where it is shifted right by more than 32 only its
upper half matters once ``R`` is added: ``(p + R) >> s == ((p + R) >> 32) >> (s - 32)``, all floor.
What follows fits 32 bits, of which a vector register holds twice as many. The kernel is in
:mod:`simulator.simd.lanes.requantize_row`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from llvmlite import ir
from numpy.typing import NDArray

from simulator.numerics.integer_type import Overflow, limits
from simulator.numerics.requantization import Requantizer
from simulator.simd.lanes.vectors import (
    I32X8,
    I64X4,
    INT32,
    INT64,
    LANES,
    Values,
    constant,
    element,
    fill,
    joined,
    larger,
    load,
    smaller,
    splat,
    store,
)

LANE_BITS = 32
LARGEST_ZERO_POINT = 1 << 30  # a shifted upper half has 31 bits: their sum has 32
LOWER_HALF = (1 << LANE_BITS) - 1
LARGEST_UPPER_BIAS = 1 << 62  # an upper half of 31 bits and one of this still fit 32

Parts = Sequence[Callable[[Any], Any]]  # of ``arguments``: each gives its address as that of a type
# 8 sums and the first one's channel become rounded numbers; in fixed point third what is added to
# even and to odd products
Rule = Callable[..., Any]


class DependsOn(Enum):
    """Property of a product that its rounding offset depends on."""

    UPPER = -1  # nothing, and only the upper half of a product takes part: that of ``bias`` is all
    NOTHING = 0  # ``pre_shift_offset`` is in ``bias``
    SIGN = 1  # and ``pre_shift_offset`` is 0
    BITS = 2


@dataclass(frozen=True, slots=True)
class SimdRequantizer:
    """The constants of a :class:`Requantizer` as kernels take them, padded to 8 channels.

    Attributes
    ----------
    multiplier, shift
        int32 [channels]; the shift of the upper half
    pre_shift_offset, bias, if_negative, if_odd
        int64 [channels / 8, 2, 4], of even and of odd channels: what belongs to the product (the
        zero point where it is rounded too), and the parts of ``R``: what is always added, what to
        negative products, what where the last bit that stays is set
    distance
        int64, the same shape: the whole shift
    depends_on
        what is added
    """

    multiplier: NDArray[np.int32]
    shift: NDArray[np.int32]
    pre_shift_offset: NDArray[np.int64]
    bias: NDArray[np.int64]
    if_negative: NDArray[np.int64]
    if_odd: NDArray[np.int64]
    distance: NDArray[np.int64]
    depends_on: DependsOn
    zero_point: int
    low: int
    high: int

    @classmethod
    def of(cls, requantizer: Requantizer, padded: int) -> SimdRequantizer | None:
        """Return the 32-bit form of a requantizer, or none where it has no such form.

        ``padded`` is the number of channels with padding, a multiple of 8. Padding yields the zero
        point, and must not be counted: it has to be a code that may be.
        """
        if not _fits_lanes(requantizer, padded):
            return None
        low, high = limits(requantizer.kind, requantizer.overflow)
        bias, if_negative, if_odd = requantizer.offset
        depends_on = DependsOn.BITS
        if not (if_negative.any() or if_odd.any()):
            depends_on, bias = DependsOn.NOTHING, bias + requantizer.pre_shift_offset
            if not (bias & LOWER_HALF).any() and (np.abs(bias) < LARGEST_UPPER_BIAS).all():
                depends_on = DependsOn.UPPER
        elif not (if_odd.any() or requantizer.pre_shift_offset.any()):
            depends_on = DependsOn.SIGN

        def halves(vector: NDArray[np.int64], filling: int = 0) -> NDArray[np.int64]:
            return even_and_odd(_padded(vector, padded, filling))

        return cls(
            multiplier=_padded(requantizer.multiplier, padded, 0).astype(np.int32),
            shift=_padded(requantizer.shift - LANE_BITS, padded, 1).astype(np.int32),
            pre_shift_offset=halves(requantizer.pre_shift_offset),
            bias=halves(bias),
            if_negative=halves(if_negative),
            if_odd=halves(if_odd),
            distance=halves(requantizer.shift, LANE_BITS + 1),
            depends_on=depends_on,
            zero_point=requantizer.zero_point,
            low=low,
            high=high,
        )

    @property
    def arguments(self) -> tuple[object, ...]:
        """Return what kernels take as ``requantizer``; how many they are tells what is added."""
        ends = (self.zero_point, self.low, self.high)
        if self.depends_on is DependsOn.UPPER:
            return (self.multiplier, *self._upper_parts(), self.shift, *ends)
        all_parts = [self.pre_shift_offset, self.bias, self.if_negative, self.if_odd, self.distance]
        halves = {
            DependsOn.NOTHING: [self.bias],
            DependsOn.SIGN: [self.bias, self.if_negative],
            DependsOn.BITS: all_parts,
        }[self.depends_on]
        return (self.multiplier, self.shift, *(half.reshape(-1) for half in halves), *ends)

    def _upper_parts(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Return the odd multipliers where the even ones are, and the upper halves of the bias."""
        odd = np.repeat(self.multiplier[1::2], 2)
        bias = self.bias.transpose(0, 2, 1).reshape(-1) >> LANE_BITS
        return odd, bias.astype(np.int32)


def _fits_lanes(requantizer: Requantizer, padded: int) -> bool:
    """Tell whether 32-bit lanes can hold a requantizer's numbers, and whether padding fits."""
    shift, multiplier = requantizer.shift, requantizer.multiplier
    lane = np.iinfo(np.int32)
    low, high = limits(requantizer.kind, requantizer.overflow)
    return not (
        (padded > len(multiplier) and not low <= requantizer.zero_point <= high)
        or requantizer.left is not None
        or requantizer.overflow is Overflow.WRAP
        or low < lane.min
        or high > lane.max
        or abs(requantizer.zero_point) >= LARGEST_ZERO_POINT
        or (shift <= LANE_BITS).any()
        or not is_bit_mask(requantizer.offset[2])
        or (multiplier < lane.min).any()
        or (multiplier > lane.max).any()
    )


def is_bit_mask(if_odd: NDArray[np.int64]) -> bool:
    """Tell whether what odd quotients add is their lowest bit, as lanes take it, or nothing."""
    return bool(np.isin(if_odd, (0, 1)).all())


def even_and_odd(vector: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return [channels / 8, 2, 4]: of each 8 channels the even ones, then the odd ones."""
    return np.ascontiguousarray(vector.reshape(-1, LANES // 2, 2).transpose(0, 2, 1))


def _padded(vector: NDArray[np.int64], length: int, filling: int) -> NDArray[np.int64]:
    return np.concatenate([vector, np.full(length - len(vector), filling, np.int64)])


def upper_rule(builder: Any, parts: Parts) -> Rule:
    """Return how 8 or 16 sums become rounded numbers where nothing but upper halves takes part.

    ``parts`` are the multipliers, those of odd channels in pairs, the offsets of the upper halves,
    and the shifts.
    """
    multipliers, odd_ones, offsets, shifts = (part(INT32) for part in parts)

    def rule(values: Any, first: Any, terms: Values = ()) -> Any:
        def constants(start: Any) -> Any:
            return load(builder, element(builder, start, (first, 1)), values.type)

        products = [
            builder.mul(
                widened(builder, values, odd), widened(builder, constants(factors), odd=False)
            )
            for odd, factors in ((False, multipliers), (True, odd_ones))
        ]
        if terms:
            products = [builder.add(*both) for both in zip(products, terms, strict=True)]
        upper = builder.add(upper_halves(builder, products, values.type), constants(offsets))
        return builder.ashr(upper, constants(shifts))

    return rule


def fixed_point_rule(builder: Any, parts: Parts) -> Rule:
    """Return how 8 or 16 sums become rounded numbers by what stands before the ends."""
    multipliers, shifts = (part(INT32) for part in parts[:2])
    halves = [part(INT64) for part in parts[2:]]

    def rule(values: Any, first: Any, terms: Values = ()) -> Any:
        factors = load(builder, element(builder, multipliers, (first, 1)), values.type)

        def constants_of(half: Any, odd: bool) -> Any:
            found = None
            for eight in range(0, values.type.count, LANES):
                offset = constant(eight + (LANES // 2 if odd else 0))
                some = load(builder, element(builder, half, (first, 1), (offset, 1)), I64X4)
                found = some if found is None else joined(builder, found, some)
            return found

        products = []
        for odd in (False, True):
            constants = [constants_of(half, odd) for half in halves]
            product = builder.mul(widened(builder, values, odd), widened(builder, factors, odd))
            if terms:
                product = builder.add(product, terms[odd])
            products.append(rounded(builder, product, constants))
        distance = load(builder, element(builder, shifts, (first, 1)), values.type)
        return builder.ashr(upper_halves(builder, products, values.type), distance)

    return rule


def upper_halves(builder: Any, products: Values, vector: Any) -> Any:
    """Return the upper halves of even and odd products of 64 bits, in turns, as a ``vector``."""
    order = [i + 1 if i % 2 == 0 else vector.count + i for i in range(vector.count)]
    mask = ir.Constant(ir.VectorType(INT32, vector.count), order)
    return builder.shuffle_vector(*(builder.bitcast(half, vector) for half in products), mask)


def broadcast_each(builder: Any, numbers: Values, vector: Any = I32X8) -> list[Any]:
    """Return a register per number, which it fills."""
    return [fill(builder, builder.trunc(number, INT32), vector) for number in numbers]


def store_fitted(builder: Any, rounded: Any, ends: Values, place: Any, saturated: Any) -> Any:
    """Store rounded values as codes; return ``saturated``, one more in lanes that did not fit.

    ``ends`` holds zero point, lowest and highest code.
    """
    zero, low, high = ends
    codes = builder.add(rounded, zero)
    fitted = smaller(builder, larger(builder, codes, low), high)
    changed = builder.sext(builder.icmp_signed("!=", codes, fitted), codes.type)
    narrow = ir.VectorType(place.type.pointee, rounded.type.count)
    store(builder, builder.trunc(fitted, narrow), place)
    return builder.sub(saturated, changed)


def sum_of_lanes(builder: Any, values: Any) -> Any:
    """Return the sum of 8 lanes of 32 bits, in 64 bits."""
    total = constant(0)
    for lane in range(LANES):
        one = builder.extract_element(values, ir.Constant(INT32, lane))
        total = builder.add(total, builder.sext(one, INT64))
    return total


def widened(builder: Any, values: Any, odd: bool) -> Any:
    """Return the even or the odd ones of 32-bit lanes as 64-bit numbers."""
    vector = ir.VectorType(INT64, values.type.count // 2)
    wide = builder.bitcast(values, vector)
    distance = splat(vector, LANE_BITS)
    return builder.ashr(wide if odd else builder.shl(wide, distance), distance)


def rounded(builder: Any, product: Any, constants: Values) -> Any:
    """Add ``R``: one, two or five constants, for what of the product it depends on."""
    if len(constants) == 1:
        return builder.add(product, constants[0])
    distance = None
    if len(constants) == 2:
        bias, if_negative = constants
    else:
        pre_shift_offset, bias, if_negative, if_odd, distance = constants
        product = builder.add(product, pre_shift_offset)
    none = splat(product.type, 0)
    below = builder.sext(builder.icmp_signed("<", product, none), product.type)
    total = builder.add(builder.add(product, bias), builder.and_(below, if_negative))
    if distance is None:
        return total
    return builder.add(total, builder.and_(builder.lshr(product, distance), if_odd))
