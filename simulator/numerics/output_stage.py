# SPDX-License-Identifier: Apache-2.0
"""The output stage of an operation: an exact integer is shifted, rounded and stored as a code.

``y = fit(((p + R) >> shift) + zero_point)`` with ``R`` from :mod:`simulator.numerics.rounding` and
``fit`` from the result's type and its overflow rule.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from simulator.numerics.integer_type import IntType, Overflow, fit, limits
from simulator.numerics.jit import kernel
from simulator.numerics.rounding import (
    DoubleRounding,
    Rounding,
    offsets,
    shift_right,
    shift_right_kernel,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputStage:
    """Conversion of one integer to a code.

    Attributes
    ----------
    shift
        places to the right, with a rounding or two
    zero_point
        added to the rounded number
    kind, overflow
        the type of the result, and what becomes of numbers outside it
    """

    shift: int
    rounding: Rounding
    zero_point: int
    kind: IntType
    overflow: Overflow
    double_rounding: DoubleRounding = DoubleRounding.NONE

    def __call__(self, value: int) -> tuple[int, bool]:
        """Return the code in plain Python integers; also say whether it did not fit."""
        rounded = shift_right(value, self.shift, self.rounding, self.double_rounding)
        return stored(rounded + self.zero_point, self.kind, self.overflow)

    @property
    def arguments(self) -> tuple[Any, ...]:
        """The ``stage`` argument of :func:`output_stage_kernel`.

        Raises
        ------
        ValueError
            If it rounds twice by another mode than ``half_up``.
        """
        parts = offsets(np.array([self.shift]), self.rounding, self.double_rounding)[:, 0].tolist()
        return self.shift, *parts, *ends(self.zero_point, self.kind, self.overflow)


def stored(code: int, kind: IntType, overflow: Overflow) -> tuple[int, bool]:
    """Return what a type holds of a code, and whether it did not fit: plain Python integers."""
    low, high = limits(kind, overflow)
    return fit(code, kind, overflow), not low <= code <= high


def ends(zero_point: int, kind: IntType, overflow: Overflow) -> tuple[int, int, int, bool]:
    """Return the last of what kernels take as ``stage``: zero point, ends, whether it wraps."""
    return zero_point, *limits(kind, overflow), overflow is Overflow.WRAP


@kernel
def fit_kernel(code, low, high, wrap):  # type: ignore[no-untyped-def]
    """``fit`` on int64: saturate between ``low`` and ``high``, or keep the low bits."""
    if wrap:
        # high - low is 2^bits - 1: a mask, and two's complement makes "& mask" a modulo.
        return ((code - low) & (high - low)) + low
    return min(max(code, low), high)


@kernel
def output_stage_kernel(value, stage):  # type: ignore[no-untyped-def]
    """:class:`OutputStage` on int64: the code, and whether it did not fit.

    ``stage``: shift, bias, if_negative, if_odd, zero point, low, high, wrap.
    """
    shift, bias, if_negative, if_odd, zero_point, low, high, wrap = stage
    code = shift_right_kernel(value, shift, bias, if_negative, if_odd) + zero_point
    fitted = fit_kernel(code, low, high, wrap)
    return fitted, fitted != code
