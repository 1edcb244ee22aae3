# SPDX-License-Identifier: Apache-2.0
"""Requantization with a real factor: the product is rounded to a float type, then to a code.

``y[c] = fit(round(float(acc[c]) * multiplier[c]) + zero_point)`` in float32 or float64. The sum is
converted to that type first, which rounds float32 above 2^24; conversion and product round to
nearest, ties to even (IEEE 754). With the zero point before rounding it is added in the same type.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.numerics.integer_type import IntArray, IntType, Overflow, fit, limits
from simulator.numerics.jit import kernel
from simulator.numerics.rescaling import Arithmetic, ZeroPointStage
from simulator.numerics.rounding import (
    ROUNDING_MODES,
    Rounding,
    round_real,
    round_real_kernel,
)

FloatArray = NDArray[Any]

FLOAT_DTYPES = {
    Arithmetic.FLOAT32: np.dtype(np.float32),
    Arithmetic.FLOAT64: np.dtype(np.float64),
}


def requantize_real(
    value: int,
    multiplier: np.floating[Any],
    rounding: Rounding,
    zero_point: int,
    kind: IntType,
    overflow: Overflow,
    stage: ZeroPointStage = ZeroPointStage.AFTER_ROUND,
) -> tuple[int, bool]:
    """Requantize one value, the real part in numpy scalars; also say whether it did not fit."""
    real_type = type(multiplier)
    with np.errstate(over="ignore"):  # a product past the type's range is infinite, and saturates
        # numpy converts a Python integer through float64, which rounds twice.
        product = np.int64(value).astype(real_type) * multiplier
    if stage is ZeroPointStage.BEFORE_ROUND:
        product, zero_point = product + real_type(zero_point), 0
    if np.isinf(product):
        code = kind.high + 1 if product > 0 else kind.low - 1
    else:
        code = round_real(float(product), rounding) + zero_point
    low, high = limits(kind, overflow)
    return fit(code, kind, overflow), not low <= code <= high


@dataclass(frozen=True, slots=True, kw_only=True)
class RealRequantizer:
    """The constants of a requantization in float, one column per channel.

    Attributes
    ----------
    multiplier
        float32 or float64 [channels]
    rounding, stage
        how a real code becomes a whole one, and whether the zero point is in it
    zero_point, kind, overflow
        as in :class:`simulator.numerics.requantization.Requantizer`; saturating only
    """

    multiplier: FloatArray
    rounding: Rounding
    stage: ZeroPointStage
    zero_point: int
    kind: IntType
    overflow: Overflow

    def __post_init__(self) -> None:
        if self.overflow is Overflow.WRAP:
            raise ValueError("a requantization in float saturates: it has no low bits to keep")

    def __call__(
        self, accumulators: IntArray, addend: NDArray[np.int64] | None = None
    ) -> tuple[IntArray, int]:
        """Requantize ``accumulators`` [..., channels]; also count the codes that did not fit.

        ``addend`` [channels] is added first, in 64 bits.
        """
        rows = accumulators.reshape(-1, self.multiplier.size)
        out = np.empty(rows.shape, self.kind.dtype)
        low, high = limits(self.kind, self.overflow)
        before = self.stage is ZeroPointStage.BEFORE_ROUND
        outside = requantize_real_rows(
            rows,
            np.zeros(self.multiplier.size, np.int64) if addend is None else addend,
            self.multiplier,
            np.array(self.zero_point if before else 0, self.multiplier.dtype),
            np.float64(0 if before else self.zero_point),
            ROUNDING_MODES[self.rounding].arguments,
            float(low),
            float(high),
            out,
        )
        return out.reshape(accumulators.shape), int(outside)


@kernel
def requantize_real_rows(  # type: ignore[no-untyped-def]
    rows, addend, multiplier, before, after, mode, low, high, out
):
    """Requantize [rows, channels] in the type of ``multiplier``; return how many did not fit.

    ``before`` is added before rounding: an array without dimensions, of that type, so that the
    addition is too. ``after`` is added to the whole number, in float64.
    """
    outside = 0
    inside = before[()]
    for i in range(rows.shape[0]):
        for c in range(rows.shape[1]):
            total = np.int64(rows[i, c]) + addend[c]
            product = multiplier.dtype.type(total) * multiplier[c] + inside
            code = round_real_kernel(np.float64(product), mode) + after
            fitted = min(max(code, low), high)
            outside += fitted != code
            out[i, c] = np.int64(fitted)
    return outside
