# SPDX-License-Identifier: Apache-2.0
"""Kernels of fake quantization: from sums or real values to codes in one pass over memory.

Each does what torch does in several operations, in float64 and in the same order, so that results
are equal to the last bit. Tensors are [rows, columns]; factors are [period, 1 or columns], those of
a row being the ones at its number modulo the period. A row with one factor has a loop of its own:
LLVM does not make vectors of one that asks in each column.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from simulator.numerics.jit import kernel

Array = Any  # of numpy, in kernels


@kernel
def clamped(value: float, low: float, high: float) -> float:
    """Return ``clamp(round(value))``, ties to even."""
    code = np.rint(value)
    code = low if code < low else code
    return high if code > high else code


@kernel
def codes_of_sums(
    sums: Array, factor: Array, offset: Array, low: float, high: float, out: Array
) -> None:
    """Write ``clamp(round(sums * factor + offset))``; without an offset its array is empty."""
    for row in range(sums.shape[0]):
        factors = factor[row % factor.shape[0]]
        if factors.size == 1 and offset.size == 0:
            one = factors[0]
            for column in range(sums.shape[1]):
                out[row, column] = clamped(np.float64(sums[row, column]) * one, low, high)
        elif offset.size == 0:
            for column in range(sums.shape[1]):
                code = np.float64(sums[row, column]) * factors[column]
                out[row, column] = clamped(code, low, high)
        else:
            for column in range(sums.shape[1]):
                code = np.float64(sums[row, column]) * factors[column] + offset[column]
                out[row, column] = clamped(code, low, high)


@kernel
def real_of_sums(sums: Array, factor: Array, offset: Array, out: Array) -> None:
    """Write ``sums * factor + offset``; without an offset its array is empty."""
    for row in range(sums.shape[0]):
        factors = factor[row % factor.shape[0]]
        if factors.size == 1 and offset.size == 0:
            one = factors[0]
            for column in range(sums.shape[1]):
                out[row, column] = np.float64(sums[row, column]) * one
        elif offset.size == 0:
            for column in range(sums.shape[1]):
                out[row, column] = np.float64(sums[row, column]) * factors[column]
        else:
            for column in range(sums.shape[1]):
                real = np.float64(sums[row, column]) * factors[column]
                out[row, column] = real + offset[column]


@kernel
def codes_of_real(real: Array, scales: Array, low: float, high: float, out: Array) -> None:
    """Write ``clamp(round(real / scales))``."""
    for row in range(real.shape[0]):
        own = scales[row % scales.shape[0]]
        if own.size == 1:
            one = own[0]
            for column in range(real.shape[1]):
                out[row, column] = clamped(real[row, column] / one, low, high)
        else:
            for column in range(real.shape[1]):
                out[row, column] = clamped(real[row, column] / own[column], low, high)


@kernel
def codes_of_table(
    steps: Array, lowest: int, table: Array, scales: Array, low: float, high: float, out: Array
) -> None:
    """Write ``clamp(round(table[steps - lowest] / scales))``."""
    for row in range(steps.shape[0]):
        own = scales[row % scales.shape[0]]
        if own.size == 1:
            one = own[0]
            for column in range(steps.shape[1]):
                found = table[np.int64(steps[row, column]) - lowest]
                out[row, column] = clamped(found / one, low, high)
        else:
            for column in range(steps.shape[1]):
                found = table[np.int64(steps[row, column]) - lowest]
                out[row, column] = clamped(found / own[column], low, high)


@kernel
def codes_of_added(
    steps: Array, factor: Array, real: Array, scales: Array, low: float, high: float, out: Array
) -> None:
    """Write ``clamp(round((steps * factor + real) / scales))``."""
    for row in range(steps.shape[0]):
        factors, own = factor[row % factor.shape[0]], scales[row % scales.shape[0]]
        if factors.size == 1 or own.size == 1:
            for column in range(steps.shape[1]):
                total = np.float64(steps[row, column]) * factors[column % factors.size]
                total += real[row, column]
                out[row, column] = clamped(total / own[column % own.size], low, high)
        else:
            for column in range(steps.shape[1]):
                total = np.float64(steps[row, column]) * factors[column] + real[row, column]
                out[row, column] = clamped(total / own[column], low, high)


@kernel
def signed_bytes(steps: Array, zero_point: int, out: Array) -> None:
    """Write ``steps + zero_point`` as int8; both are flat."""
    for index in range(steps.size):
        out[index] = np.int8(np.int32(steps[index]) + np.int32(zero_point))


@kernel
def squared_errors(
    rows: Array, scales: Array, low: float, high: float, importance: Array, out: Array
) -> None:
    """Write ``(clamp(round(rows / scales)) * scales - rows)^2 * importance``.

    Scales are [rows, 1], importance is [columns].
    """
    for row in range(rows.shape[0]):
        scale = scales[row, 0]
        for column in range(rows.shape[1]):
            code = clamped(rows[row, column] / scale, low, high)
            error = code * scale - rows[row, column]
            out[row, column] = error * error * importance[column]
