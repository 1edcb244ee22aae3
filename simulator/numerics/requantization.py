# SPDX-License-Identifier: Apache-2.0
"""Requantization: an accumulator becomes a code of a narrower type.

``y[c] = fit(((acc[c] * multiplier[c] + R) >> shift[c]) + zero_point)`` with ``R`` from
:mod:`simulator.numerics.rounding` and ``fit`` from the output type and its overflow rule.
The zero point may be part of what is rounded, and a left shift may be lossy
(:mod:`simulator.numerics.rescaling`). Rescaling in float is in
:mod:`simulator.numerics.float_requantization`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.numerics.float_requantization import FLOAT_DTYPES, RealRequantizer
from simulator.numerics.integer_type import IntArray, IntType, Overflow, fit, limits
from simulator.numerics.jit import kernel
from simulator.numerics.rescaling import Arithmetic, LeftShift, ZeroPointStage
from simulator.numerics.rounding import (
    FIRST_STEP,
    DoubleRounding,
    Rounding,
    offsets,
    shift_right,
    shift_right_kernel,
)

__all__ = [
    "Arithmetic",
    "DoubleRounding",
    "LeftShift",
    "RealRequantizer",
    "Requantizer",
    "ZeroPointStage",
    "fit_kernel",
    "requantize",
]

WORD = IntType(bits=32)  # in which a lossy left shift happens


def requantize(
    value: int,
    multiplier: int,
    shift: int,
    rounding: Rounding,
    zero_point: int,
    kind: IntType,
    overflow: Overflow,
    beside: int = 0,
    *,
    double_rounding: DoubleRounding = DoubleRounding.NONE,
    zero_point_stage: ZeroPointStage = ZeroPointStage.AFTER_ROUND,
    left_shift: LeftShift = LeftShift.WIDEN,
) -> tuple[int, bool]:
    """Requantize one value in plain Python integers; also say whether it did not fit.

    ``beside`` is added to the product before it is shifted: a residual's term.
    """
    if left_shift is LeftShift.WRAP and shift < FIRST_STEP:
        value = fit(value << (FIRST_STEP - shift), WORD, Overflow.WRAP)
        shift = FIRST_STEP
    product = value * multiplier + beside
    if zero_point_stage is ZeroPointStage.BEFORE_ROUND:
        product, zero_point = product + (zero_point << shift), 0
    code = shift_right(product, shift, rounding, double_rounding) + zero_point
    low, high = limits(kind, overflow)
    return fit(code, kind, overflow), not low <= code <= high


@dataclass(frozen=True, slots=True, kw_only=True)
class Requantizer:
    """The constants of a requantization, expanded to one column per channel for the kernels.

    Attributes
    ----------
    multiplier, shift
        int64 [channels]
    left
        int64 [channels]: places by which sums are first shifted left in 32 bits; or none
    inside
        int64 [channels]: what is added to the products, the zero point where it is rounded too
    offset
        int64 [3, channels]: the parts of ``R``
    zero_point
        added after rounding
    kind, overflow
        the type of the result, and what happens outside it
    """

    multiplier: NDArray[np.int64]
    shift: NDArray[np.int64]
    left: NDArray[np.int64] | None
    inside: NDArray[np.int64]
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
        double_rounding: DoubleRounding = DoubleRounding.NONE,
        zero_point_stage: ZeroPointStage = ZeroPointStage.AFTER_ROUND,
        left_shift: LeftShift = LeftShift.WIDEN,
    ) -> Requantizer:
        """Expand vectors of length 1 or ``channels`` to ``channels``."""
        shifts = _expanded(shift, channels, np.int64)
        left = None
        if left_shift is LeftShift.WRAP and (shifts < FIRST_STEP).any():
            left = np.maximum(FIRST_STEP - shifts, 0)
            shifts = shifts + left
        before = zero_point_stage is ZeroPointStage.BEFORE_ROUND
        return cls(
            multiplier=_expanded(multiplier, channels, np.int64),
            shift=shifts,
            left=left,
            inside=np.int64(zero_point if before else 0) << shifts,
            offset=offsets(shifts, rounding, double_rounding),
            zero_point=0 if before else zero_point,
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
        addend = np.zeros_like(self.multiplier) if addend is None else addend
        if self.left is not None:
            # Bits above the word are lost: int64, which loses only bits above those, holds it.
            sums = rows.astype(np.int64) + addend
            rows = np.where(self.left > 0, (sums << self.left).astype(np.int32), sums)
            addend = np.zeros_like(self.multiplier)
        out = np.empty(rows.shape, dtype=self.kind.dtype)
        low, high = limits(self.kind, self.overflow)
        outside = rule(
            rows,
            addend,
            *residual,
            self.multiplier,
            self.inside,
            self.shift,
            self.offset,
            self.zero_point,
            low,
            high,
            self.overflow is Overflow.WRAP,
            out,
        )
        return out.reshape(accumulators.shape), int(outside)


def _expanded(vector: NDArray[Any], channels: int, dtype: Any) -> NDArray[Any]:
    return np.ascontiguousarray(np.broadcast_to(vector, (channels,)), dtype)


AnyRequantizer = Requantizer | RealRequantizer


def build_requantizer(
    *,
    arithmetic: Arithmetic,
    multiplier: NDArray[Any],
    shift: IntArray | None,
    rounding: Rounding,
    channels: int,
    zero_point: int,
    kind: IntType,
    overflow: Overflow,
    double_rounding: DoubleRounding = DoubleRounding.NONE,
    zero_point_stage: ZeroPointStage = ZeroPointStage.AFTER_ROUND,
    left_shift: LeftShift = LeftShift.WIDEN,
) -> AnyRequantizer:
    """Build the kernel form of a requantization in any arithmetic.

    ``shift`` is none, and double rounding and left shifts have no meaning, where it is float.
    """
    if arithmetic is not Arithmetic.FIXED_POINT:
        return RealRequantizer(
            multiplier=_expanded(multiplier, channels, FLOAT_DTYPES[arithmetic]),
            rounding=rounding,
            stage=zero_point_stage,
            zero_point=zero_point,
            kind=kind,
            overflow=overflow,
        )
    assert shift is not None
    return Requantizer.build(
        multiplier=multiplier,
        shift=shift,
        rounding=rounding,
        channels=channels,
        zero_point=zero_point,
        kind=kind,
        overflow=overflow,
        double_rounding=double_rounding,
        zero_point_stage=zero_point_stage,
        left_shift=left_shift,
    )


@kernel
def fit_kernel(code, low, high, wrap):  # type: ignore[no-untyped-def]
    """``fit`` on int64: saturate between ``low`` and ``high``, or keep the low bits."""
    if wrap:
        # high - low is 2^bits - 1: a mask, and two's complement makes "& mask" a modulo.
        return ((code - low) & (high - low)) + low
    return min(max(code, low), high)


@kernel
def requantize_rows(  # type: ignore[no-untyped-def]
    rows, addend, multiplier, inside, shift, offset, zero_point, low, high, wrap, out
):
    """Requantize [rows, channels] into ``out``; return how many codes did not fit."""
    outside = 0
    always, negative, odd = offset[0], offset[1], offset[2]
    for i in range(rows.shape[0]):
        for c in range(rows.shape[1]):
            product = (np.int64(rows[i, c]) + addend[c]) * multiplier[c] + inside[c]
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
    inside,
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
            total = (np.int64(rows[i, c]) + addend[c]) * multiplier[c] + inside[c]
            total += (np.int64(residual[i, c]) - residual_zero) * factor[c]
            code = shift_right_kernel(total, shift[c], always[c], negative[c], odd[c]) + zero_point
            fitted = fit_kernel(code, low, high, wrap)
            outside += fitted != code
            out[i, c] = fitted
    return outside
