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
from simulator.numerics.integer_type import INT32, IntArray, IntType, Overflow, fit
from simulator.numerics.jit import kernel
from simulator.numerics.output_stage import ends, output_stage_kernel, stored
from simulator.numerics.rescaling import Arithmetic, LeftShift, RescaleRule, ZeroPointStage
from simulator.numerics.rounding import FIRST_STEP, offsets, shift_right


def requantize(
    value: int,
    multiplier: int,
    shift: int,
    rule: RescaleRule,
    zero_point: int,
    kind: IntType,
    residual_term: int = 0,
) -> tuple[int, bool]:
    """Requantize one value in plain Python integers; also say whether it did not fit.

    ``residual_term`` is added to the product before it is shifted.
    """
    if rule.left_shift is LeftShift.WRAP and shift < FIRST_STEP:
        value = fit(value << (FIRST_STEP - shift), INT32, Overflow.WRAP)
        shift = FIRST_STEP
    product = value * multiplier + residual_term
    if rule.zero_point_stage is ZeroPointStage.BEFORE_ROUND:
        product, zero_point = product + (zero_point << shift), 0
    code = shift_right(product, shift, rule.rounding, rule.double_rounding) + zero_point
    return stored(code, kind, rule.overflow)


@dataclass(frozen=True, slots=True, kw_only=True)
class Requantizer:
    """The constants of a requantization, expanded to one column per channel for the kernels.

    Attributes
    ----------
    multiplier, shift
        int64 [channels]
    left
        int64 [channels]: places by which sums are first shifted left in 32 bits; or none
    pre_shift_offset
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
    pre_shift_offset: NDArray[np.int64]
    offset: NDArray[np.int64]
    zero_point: int
    kind: IntType
    overflow: Overflow

    @classmethod
    def build(
        cls,
        rule: RescaleRule,
        *,
        multiplier: IntArray,
        shift: IntArray,
        channels: int,
        zero_point: int,
        kind: IntType,
    ) -> Requantizer:
        """Expand vectors of length 1 or ``channels`` to ``channels``.

        Raises
        ------
        ValueError
            If choices of the rule do not go together.
        """
        rule.check()
        shifts = _expanded(shift, channels, np.int64)
        left = None
        if rule.left_shift is LeftShift.WRAP and (shifts < FIRST_STEP).any():
            left = np.maximum(FIRST_STEP - shifts, 0)
            shifts = shifts + left
        before = rule.zero_point_stage is ZeroPointStage.BEFORE_ROUND
        return cls(
            multiplier=_expanded(multiplier, channels, np.int64),
            shift=shifts,
            left=left,
            pre_shift_offset=np.int64(zero_point if before else 0) << shifts,
            offset=offsets(shifts, rule.rounding, rule.double_rounding),
            zero_point=0 if before else zero_point,
            kind=kind,
            overflow=rule.overflow,
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
        constants = (self.multiplier, self.pre_shift_offset, self.shift, self.offset)
        last = ends(self.zero_point, self.kind, self.overflow)
        outside = rule(rows, addend, *residual, constants, last, out)
        return out.reshape(accumulators.shape), int(outside)


def _expanded(vector: NDArray[Any], channels: int, dtype: Any) -> NDArray[Any]:
    return np.ascontiguousarray(np.broadcast_to(vector, (channels,)), dtype)


AnyRequantizer = Requantizer | RealRequantizer


def build_requantizer(
    rule: RescaleRule,
    *,
    multiplier: NDArray[Any],
    shift: IntArray | None,
    channels: int,
    zero_point: int,
    kind: IntType,
) -> AnyRequantizer:
    """Build the kernel form of a requantization in any arithmetic; ``shift`` is none in float.

    Raises
    ------
    ValueError
        If choices of the rule do not go together.
    """
    if rule.arithmetic is not Arithmetic.FIXED_POINT:
        factors = _expanded(multiplier, channels, FLOAT_DTYPES[rule.arithmetic])
        return RealRequantizer(rule=rule, multiplier=factors, zero_point=zero_point, kind=kind)
    assert shift is not None
    return Requantizer.build(
        rule,
        multiplier=multiplier,
        shift=shift,
        channels=channels,
        zero_point=zero_point,
        kind=kind,
    )


@kernel
def requantize_rows(rows, addend, constants, ends, out):  # type: ignore[no-untyped-def]
    """Requantize [rows, channels] into ``out``; return how many codes did not fit.

    Parameters
    ----------
    addend
        int64 [channels]: added to every row first
    constants
        ``multiplier``, ``pre_shift_offset``, ``shift`` and ``offset`` of a :class:`Requantizer`
    ends
        the end of what :func:`simulator.numerics.output_stage.output_stage_kernel` takes
    """
    multiplier, pre_shift_offset, shift, offset = constants
    outside = 0
    for i in range(rows.shape[0]):
        for c in range(rows.shape[1]):
            product = (np.int64(rows[i, c]) + addend[c]) * multiplier[c] + pre_shift_offset[c]
            parts = (shift[c], offset[0, c], offset[1, c], offset[2, c])
            out[i, c], misfit = output_stage_kernel(product, parts + ends)
            outside += misfit
    return outside


@kernel
def requantize_rows_onto(  # type: ignore[no-untyped-def]
    rows, addend, residual, residual_zero, factor, constants, ends, out
):
    """Requantize [rows, channels] onto ``residual`` of the same shape; count what did not fit.

    ``addend``, ``constants`` and ``ends`` as in :func:`requantize_rows`.
    """
    multiplier, pre_shift_offset, shift, offset = constants
    outside = 0
    for i in range(rows.shape[0]):
        for c in range(rows.shape[1]):
            total = (np.int64(rows[i, c]) + addend[c]) * multiplier[c] + pre_shift_offset[c]
            total += (np.int64(residual[i, c]) - residual_zero) * factor[c]
            parts = (shift[c], offset[0, c], offset[1, c], offset[2, c])
            out[i, c], misfit = output_stage_kernel(total, parts + ends)
            outside += misfit
    return outside
