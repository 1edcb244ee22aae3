# SPDX-License-Identifier: Apache-2.0
"""Kernels of fake quantization: from sums or real values to codes in one pass over memory.

Each does what torch does in several operations, in float64 and in the same order, so that results
are equal to the last bit. Tensors are [rows, columns]; factors are [period, 1 or columns], those of
a row being the ones at its number modulo the period.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from simulator.numerics.jit import kernel

Array = Any  # of numpy, in kernels


@kernel
def codes_of_sums(
    sums: Array, factor: Array, offset: Array, low: float, high: float, out: Array
) -> None:
    """Write ``clamp(round(sums * factor + offset))``; without an offset its array is empty."""
    period, wide = factor.shape[0], factor.shape[1] > 1
    for row in range(sums.shape[0]):
        factors = factor[row % period]
        for column in range(sums.shape[1]):
            code = np.float64(sums[row, column]) * factors[column if wide else 0]
            if offset.size:
                code += offset[column]
            code = np.rint(code)
            code = low if code < low else code
            out[row, column] = high if code > high else code


@kernel
def real_of_sums(sums: Array, factor: Array, offset: Array, out: Array) -> None:
    """Write ``sums * factor + offset``; without an offset its array is empty."""
    period, wide = factor.shape[0], factor.shape[1] > 1
    for row in range(sums.shape[0]):
        factors = factor[row % period]
        for column in range(sums.shape[1]):
            real = np.float64(sums[row, column]) * factors[column if wide else 0]
            if offset.size:
                real += offset[column]
            out[row, column] = real


@kernel
def codes_of_real(real: Array, scales: Array, low: float, high: float, out: Array) -> None:
    """Write ``clamp(round(real / scales))``."""
    period, wide = scales.shape[0], scales.shape[1] > 1
    for row in range(real.shape[0]):
        own = scales[row % period]
        for column in range(real.shape[1]):
            code = np.rint(real[row, column] / own[column if wide else 0])
            code = low if code < low else code
            out[row, column] = high if code > high else code


@kernel
def codes_of_table(
    steps: Array, lowest: int, table: Array, scales: Array, low: float, high: float, out: Array
) -> None:
    """Write ``clamp(round(table[steps - lowest] / scales))``."""
    period, wide = scales.shape[0], scales.shape[1] > 1
    for row in range(steps.shape[0]):
        own = scales[row % period]
        for column in range(steps.shape[1]):
            found = table[np.int64(steps[row, column]) - lowest]
            code = np.rint(found / own[column if wide else 0])
            code = low if code < low else code
            out[row, column] = high if code > high else code


@kernel
def codes_of_added(
    steps: Array,
    factor: Array,
    real: Array,
    scales: Array,
    low: float,
    high: float,
    out: Array,
) -> None:
    """Write ``clamp(round((steps * factor + real) / scales))``."""
    period, wide = scales.shape[0], scales.shape[1] > 1
    own_period, own_wide = factor.shape[0], factor.shape[1] > 1
    for row in range(steps.shape[0]):
        factors, own = factor[row % own_period], scales[row % period]
        for column in range(steps.shape[1]):
            total = np.float64(steps[row, column]) * factors[column if own_wide else 0]
            total += real[row, column]
            code = np.rint(total / own[column if wide else 0])
            code = low if code < low else code
            out[row, column] = high if code > high else code


@kernel
def signed_bytes(steps: Array, zero_point: int, out: Array) -> None:
    """Write ``steps + zero_point`` as int8; both are flat."""
    for index in range(steps.size):
        out[index] = np.int8(np.int32(steps[index]) + zero_point)
