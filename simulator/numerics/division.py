# SPDX-License-Identifier: Apache-2.0
"""Division of integers that drops the fraction, as C's does: toward zero, not down."""

from __future__ import annotations

import numpy as np

from simulator.numerics.jit import kernel


def divide_toward_zero(dividend: int, divisor: int) -> int:
    """``dividend / divisor`` without its fraction, for a positive divisor: plain Python."""
    quotient = abs(dividend) // divisor
    return quotient if dividend >= 0 else -quotient


@kernel
def divide_toward_zero_kernel(dividend, divisor):  # type: ignore[no-untyped-def]
    """``dividend / divisor`` without its fraction, on int64, for a positive divisor."""
    quotient = np.int64(dividend) // divisor  # rounds down
    if quotient < 0 and quotient * divisor != dividend:
        quotient += 1
    return quotient
