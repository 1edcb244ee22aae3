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

from simulator.numerics.integer_type import IntArray, IntType, limits
from simulator.numerics.jit import kernel
from simulator.numerics.output_stage import stored
from simulator.numerics.rescaling import Arithmetic, RescaleRule, ZeroPointStage
from simulator.numerics.rounding import (
    ROUNDING_MODES,
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
    rule: RescaleRule,
    zero_point: int,
    kind: IntType,
) -> tuple[int, bool]:
    """Requantize one value, the real part in numpy scalars; also say whether it did not fit."""
    real_type = type(multiplier)
    with np.errstate(over="ignore"):  # a product past the type's range is infinite, and saturates
        # numpy converts a Python integer through float64, which rounds twice.
        product = np.int64(value).astype(real_type) * multiplier
    if rule.zero_point_stage is ZeroPointStage.BEFORE_ROUND:
        product, zero_point = product + real_type(zero_point), 0
    if np.isinf(product):
        code = kind.high + 1 if product > 0 else kind.low - 1
    else:
        code = round_real(float(product), rule.rounding) + zero_point
    return stored(code, kind, rule.overflow)


@dataclass(frozen=True, slots=True, kw_only=True)
class RealRequantizer:
    """The constants of a requantization in float, one column per channel.

    Attributes
    ----------
    rule
        in a float arithmetic
    multiplier
        [channels], of the arithmetic's type
    zero_point, kind
        what is added to whole numbers, and the type of the result
    """

    rule: RescaleRule
    multiplier: FloatArray
    zero_point: int
    kind: IntType

    def __post_init__(self) -> None:
        self.rule.check()
        if FLOAT_DTYPES.get(self.rule.arithmetic) != self.multiplier.dtype:
            raise ValueError(
                f"multiplier is {self.multiplier.dtype}, the arithmetic {self.rule.arithmetic}"
            )

    def __call__(
        self, accumulators: IntArray, addend: NDArray[np.int64] | None = None
    ) -> tuple[IntArray, int]:
        """Requantize ``accumulators`` [..., channels]; also count the codes that did not fit.

        ``addend`` [channels] is added first, in 64 bits.
        """
        rows = accumulators.reshape(-1, self.multiplier.size)
        out = np.empty(rows.shape, self.kind.dtype)
        low, high = limits(self.kind, self.rule.overflow)
        before = self.rule.zero_point_stage is ZeroPointStage.BEFORE_ROUND
        outside = requantize_real_rows(
            rows,
            np.zeros(self.multiplier.size, np.int64) if addend is None else addend,
            self.multiplier,
            np.array(self.zero_point if before else 0, self.multiplier.dtype),
            np.float64(0 if before else self.zero_point),
            ROUNDING_MODES[self.rule.rounding].arguments,
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
    pre_round_offset = before[()]
    for i in range(rows.shape[0]):
        for c in range(rows.shape[1]):
            total = np.int64(rows[i, c]) + addend[c]
            product = multiplier.dtype.type(total) * multiplier[c] + pre_round_offset
            code = round_real_kernel(np.float64(product), mode) + after
            fitted = min(max(code, low), high)
            outside += fitted != code
            out[i, c] = np.int64(fitted)
    return outside
