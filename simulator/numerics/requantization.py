# SPDX-License-Identifier: Apache-2.0
"""Requantization: an accumulator becomes a code of a narrower type.

``y[c] = fit(((acc[c] * multiplier[c] + R) >> shift[c]) + zero_point)`` with ``R`` from
:mod:`simulator.numerics.rounding` and ``fit`` from the output type and its overflow rule.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.numerics.integer_type import IntArray, IntType, Overflow, fit, limits
from simulator.numerics.jit import kernel
from simulator.numerics.rounding import Rounding, offsets, shift_right, shift_right_kernel


def requantize(
    value: int,
    multiplier: int,
    shift: int,
    rounding: Rounding,
    zero_point: int,
    kind: IntType,
    overflow: Overflow,
    beside: int = 0,
) -> tuple[int, bool]:
    """Requantize one value in plain Python integers; also say whether it did not fit.

    ``beside`` is added to the product before it is shifted: a residual's term.
    """
    code = shift_right(value * multiplier + beside, shift, rounding) + zero_point
    low, high = limits(kind, overflow)
    return fit(code, kind, overflow), not low <= code <= high


@dataclass(frozen=True, slots=True, kw_only=True)
class Requantizer:
    """The constants of a requantization, expanded to one column per channel for the kernels.

    Attributes
    ----------
    multiplier, shift
        int64 [channels]
    offset
        int64 [3, channels]: the parts of ``R``
    zero_point
        added after rounding
    kind, overflow
        the type of the result, and what happens outside it
    """

    multiplier: NDArray[np.int64]
    shift: NDArray[np.int64]
    offset: NDArray[np.int64]
    zero_point: int
    kind: IntType
    overflow: Overflow

    @classmethod
    def build(
        cls,
        *,
        multiplier: IntArray,
        shift: IntArray,
        rounding: Rounding,
        channels: int,
        zero_point: int,
        kind: IntType,
        overflow: Overflow,
    ) -> Requantizer:
        """Expand vectors of length 1 or ``channels`` to ``channels``."""
        shifts = np.ascontiguousarray(np.broadcast_to(shift, (channels,)), dtype=np.int64)
        return cls(
            multiplier=np.ascontiguousarray(np.broadcast_to(multiplier, (channels,)), np.int64),
            shift=shifts,
            offset=offsets(shifts, rounding),
            zero_point=zero_point,
            kind=kind,
            overflow=overflow,
        )

    def __call__(
        self, accumulators: IntArray, addend: NDArray[np.int64] | None = None
    ) -> tuple[IntArray, int]:
        """Requantize ``accumulators`` [..., channels]; also count the codes that did not fit.

        ``addend`` [channels] is added first, in 64 bits: a bias, or minus a zero point.
        """
        return self._apply(requantize_rows, accumulators, addend)

    def onto(
        self,
        accumulators: IntArray,
        addend: NDArray[np.int64] | None,
        residual: IntArray,
        residual_zero: int,
        factor: NDArray[np.int64],
    ) -> tuple[IntArray, int]:
        """Requantize onto a residual: its codes [..., channels] times ``factor`` [channels].

        ``acc * multiplier + (residual - residual_zero) * factor`` is shifted and rounded once.
        """
        codes = np.ascontiguousarray(residual).reshape(-1, self.multiplier.size)
        return self._apply(requantize_rows_onto, accumulators, addend, codes, residual_zero, factor)

    def _apply(
        self,
        rule: Callable[..., int],
        accumulators: IntArray,
        addend: NDArray[np.int64] | None,
        *residual: Any,
    ) -> tuple[IntArray, int]:
        """Run one of the kernels below; ``residual`` are its arguments behind the addend."""
        rows = accumulators.reshape(-1, self.multiplier.size)
        out = np.empty(rows.shape, dtype=self.kind.dtype)
        low, high = limits(self.kind, self.overflow)
        outside = rule(
            rows,
            np.zeros_like(self.multiplier) if addend is None else addend,
            *residual,
            self.multiplier,
            self.shift,
            self.offset,
            self.zero_point,
            low,
            high,
            self.overflow is Overflow.WRAP,
            out,
        )
        return out.reshape(accumulators.shape), int(outside)


@kernel
def fit_kernel(code, low, high, wrap):  # type: ignore[no-untyped-def]
    """``fit`` on int64: saturate between ``low`` and ``high``, or keep the low bits."""
    if wrap:
        # high - low is 2^bits - 1: a mask, and two's complement makes "& mask" a modulo.
        return ((code - low) & (high - low)) + low
    return min(max(code, low), high)


@kernel
def requantize_rows(  # type: ignore[no-untyped-def]
    rows, addend, multiplier, shift, offset, zero_point, low, high, wrap, out
):
    """Requantize [rows, channels] into ``out``; return how many codes did not fit."""
    outside = 0
    always, negative, odd = offset[0], offset[1], offset[2]
    for i in range(rows.shape[0]):
        for c in range(rows.shape[1]):
            product = (np.int64(rows[i, c]) + addend[c]) * multiplier[c]
            code = (
                shift_right_kernel(product, shift[c], always[c], negative[c], odd[c]) + zero_point
            )
            fitted = fit_kernel(code, low, high, wrap)
            outside += fitted != code
            out[i, c] = fitted
    return outside


@kernel
def requantize_rows_onto(  # type: ignore[no-untyped-def]
    rows,
    addend,
    residual,
    residual_zero,
    factor,
    multiplier,
    shift,
    offset,
    zero_point,
    low,
    high,
    wrap,
    out,
):
    """Requantize [rows, channels] onto ``residual`` of the same shape; count what did not fit."""
    outside = 0
    always, negative, odd = offset[0], offset[1], offset[2]
    for i in range(rows.shape[0]):
        for c in range(rows.shape[1]):
            total = (np.int64(rows[i, c]) + addend[c]) * multiplier[c]
            total += (np.int64(residual[i, c]) - residual_zero) * factor[c]
            code = shift_right_kernel(total, shift[c], always[c], negative[c], odd[c]) + zero_point
            fitted = fit_kernel(code, low, high, wrap)
            outside += fitted != code
            out[i, c] = fitted
    return outside
