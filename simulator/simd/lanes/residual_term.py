# SPDX-License-Identifier: Apache-2.0
"""What a residual adds to products before their one shift, in vector registers.

A term is ``(code - zero_point) * multiplier << left``, of which the multiplier has 32 bits and the
product with it 64: :func:`simulator.graph.ops.onto_residual.residual_factors` has it in one number.
Sums and shifts of 64-bit lanes lose only bits above them: a total that fits, as the bounds of a
valid graph say, is exact whatever its terms are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numpy.typing import NDArray

from simulator.numerics.integer_type import IntArray
from simulator.simd.lanes.padded_codes import PaddedCodes
from simulator.simd.lanes.requantization import LANE_BITS, LOWER_HALF, widened
from simulator.simd.lanes.vectors import (
    INT32,
    INT64,
    LANES,
    Values,
    address_of,
    element,
    fill,
    load,
    splat,
)

LONGEST_SHIFT = 62
WIDEST_CODE = 2  # bytes: a code without its zero point still fits 32 bits


@dataclass(frozen=True, slots=True)
class ResidualTerm:
    """The constants of a residual as kernels take them, padded to 8 channels with zeros.

    Attributes
    ----------
    multiplier, left
        int32 [channels]; by how many places the products are shifted left
    channels
        how many there are without padding
    """

    multiplier: NDArray[np.int32]
    left: NDArray[np.int32]
    channels: int
    zero_point: int

    @classmethod
    def of(
        cls,
        multiplier: IntArray,
        left: IntArray,
        *,
        channels: int,
        zero_point: int,
        dtype: np.dtype[Any],
    ) -> ResidualTerm | None:
        """Return the form of a residual of type ``dtype``, or none where it does not fit lanes.

        ``multiplier`` and ``left``, not negative, are vectors of length 1 or ``channels``.
        """
        largest = np.iinfo(np.int32).max
        if dtype.itemsize > WIDEST_CODE or multiplier.max() > largest or left.max() > LONGEST_SHIFT:
            return None
        padded = -(-channels // LANES) * LANES

        def expanded(vector: IntArray) -> NDArray[np.int32]:
            found = np.zeros(padded, np.int32)
            found[:channels] = vector
            return found

        return cls(expanded(multiplier), expanded(left), channels, zero_point)

    def arguments(self, codes: IntArray) -> tuple[object, ...]:
        """Return what stands behind a requantizer's arguments: codes [..., channels], constants.

        Whole registers are loaded: codes whose rows end within one are copied, with room behind.
        """
        if self.channels % LANES:
            padded = PaddedCodes.empty(codes.shape, codes.dtype)
            padded.codes[...] = codes
            flat = padded.flat
        else:
            flat = np.ascontiguousarray(codes).reshape(-1)
        return flat, self.multiplier, self.left, self.zero_point


# Where in the codes a row begins, the register's first channel, its type: to even and odd terms.
Terms = Callable[[Any, Any, Any], Values]


def residual_terms(context: Any, builder: Any, kind: Any, value: Any) -> Terms:
    """Return how a register's terms are made, by ``arguments`` of a :class:`ResidualTerm`.

    ``kind`` and ``value`` are those of the tuple. Terms have 64 bits, even and odd ones apart.
    """
    kinds = list(kind.types)
    codes, multipliers, lefts, zero = (builder.extract_value(value, i) for i in range(len(kinds)))
    lane = ir.IntType(kinds[0].dtype.bitwidth)
    extend = builder.sext if kinds[0].dtype.signed else builder.zext
    start = address_of(context, builder, kinds[0], codes, lane)
    factors_of = address_of(context, builder, kinds[1], multipliers, INT32)
    lefts_of = address_of(context, builder, kinds[2], lefts, INT32)

    def terms(row: Any, first: Any, vector: Any) -> Values:
        place = element(builder, start, (row, 1), (first, 1))
        narrow = load(builder, place, ir.VectorType(lane, vector.count))
        zeros = fill(builder, builder.trunc(zero, INT32), vector)
        centred = builder.sub(extend(narrow, vector), zeros)
        factors, distances = (
            load(builder, element(builder, some, (first, 1)), vector)
            for some in (factors_of, lefts_of)
        )
        return [
            builder.shl(
                builder.mul(widened(builder, centred, odd), widened(builder, factors, odd)),
                _distances(builder, distances, odd),
            )
            for odd in (False, True)
        ]

    return terms


def _distances(builder: Any, values: Any, odd: bool) -> Any:
    """Return the even or the odd ones of 32-bit lanes, none negative, as 64-bit numbers."""
    vector = ir.VectorType(INT64, values.type.count // 2)
    wide = builder.bitcast(values, vector)
    if odd:
        return builder.lshr(wide, splat(vector, LANE_BITS))
    return builder.and_(wide, splat(vector, LOWER_HALF))


def is_residual(kind: Any) -> bool:
    """Tell whether the last of a requantizer's arguments are those of a residual."""
    return isinstance(kind, types.BaseTuple)
