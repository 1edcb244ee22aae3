# SPDX-License-Identifier: Apache-2.0
"""The last step of an op on whole arrays: shifted, rounded, given its zero point, stored."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.golden.variants.trial import Trial, requantization_of
from simulator.graph.op import Op
from simulator.numerics.integer_type import IntArray, Overflow, limits
from simulator.numerics.rescaling import RescaleRule, ZeroPointStage
from simulator.numerics.rounding import DoubleRounding, offsets


def rule_of(op: Op) -> RescaleRule:
    """Return the rounding and overflow of an op's last step."""
    holder: Any = requantization_of(op) or op
    stage = getattr(holder, "zero_point_stage", ZeroPointStage.AFTER_ROUND)
    return RescaleRule(
        rounding=holder.rounding,
        overflow=holder.overflow,
        double_rounding=getattr(holder, "double_rounding", DoubleRounding.NONE),
        zero_point_stage=stage,
    )


def shifted(
    values: NDArray[np.int64], shifts: NDArray[np.int64], rule: RescaleRule
) -> NDArray[np.int64]:
    """Shift integers to the right and round by a rule's mode; shifts [channels] or [1]."""
    bias, if_negative, if_odd = offsets(shifts, rule.rounding, rule.double_rounding)
    rest = bias + np.where(values < 0, if_negative, 0) + ((values >> shifts) & 1) * if_odd
    found: NDArray[np.int64] = (values + rest) >> shifts
    return found


def stored_codes(
    trial: Trial, rounded: NDArray[np.int64], zero_point: int | None = None
) -> IntArray:
    """Add the result's zero point to rounded numbers and store them by the op's overflow rule."""
    result, overflow = trial.result, rule_of(trial.op).overflow
    low, high = limits(result.code_type, overflow)
    codes = rounded + (_added_zero_point(trial) if zero_point is None else zero_point)
    if overflow is Overflow.WRAP:
        codes = ((codes - low) & (high - low)) + low
    return np.clip(codes, low, high).astype(result.type.dtype)


def _added_zero_point(trial: Trial) -> int:
    """Return the zero point that is added after rounding: an interpolated table has none."""
    return 0 if type(trial.op).__name__ == "InterpolatedLookup" else trial.result.zero_point


def before_rounding(trial: Trial) -> tuple[NDArray[np.int64], int]:
    """Return what is rounded, and the zero point that is added later."""
    zero_point = _added_zero_point(trial)
    if rule_of(trial.op).zero_point_stage is ZeroPointStage.BEFORE_ROUND:
        return trial.scaled + (np.int64(zero_point) << trial.shifts), 0
    return trial.scaled, zero_point
