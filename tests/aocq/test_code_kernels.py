# SPDX-License-Identifier: Apache-2.0
"""Kernels of fake quantization and of the closed form yield what NumPy yields, to the last bit."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from aocq.methods.aocq.column_kernels import ROWS_AT_ONCE, descend_block, round_block
from aocq.methods.code_kernels import (
    codes_of_added,
    codes_of_real,
    codes_of_sums,
    codes_of_table,
    real_of_sums,
    signed_bytes,
    squared_errors,
)

Real = NDArray[np.float64]
LOW, HIGH = -120.0, 135.0
SHAPES = [(1, 1), (1, 37), (9, 1), (6, 67), (3, 256)]
RNG = np.random.default_rng(5)


def factors(rows: int, columns: int) -> list[Real]:
    """One factor, one per column, one per row of a period, and both."""
    period = 3 if rows % 3 == 0 else 1
    return [
        RNG.uniform(1e-3, 0.9, size)
        for size in ((1, 1), (1, columns), (period, 1), (period, columns))
    ]


def sums(rows: int, columns: int, dtype: type) -> NDArray[np.generic]:
    """Sums of all sizes, the ends of what is exact, zeros and ties among them."""
    found = RNG.integers(-(2**24), 2**24, (rows, columns)) >> RNG.integers(0, 24, (rows, columns))
    ends = np.array([0, 2**24, -(2**24), 1, -1])[: found.size]
    found.reshape(-1)[: ends.size] = ends
    return found.astype(dtype)


def over_rows(factor: Real, rows: int) -> Real:
    return np.tile(factor, (rows // len(factor), 1))


def clip(values: Real) -> NDArray[np.float32]:
    return np.clip(np.rint(values), LOW, HIGH).astype(np.float32)


def same(a: NDArray[np.generic], b: NDArray[np.generic]) -> None:
    assert a.dtype == b.dtype
    assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_sums_become_codes_and_real_values(shape: tuple[int, int], dtype: type) -> None:
    x = sums(*shape, dtype)
    for factor in factors(*shape):
        offsets = [np.empty(0)]
        if factor.shape[1] == shape[1]:  # layers have one of each per column
            offsets.append(RNG.normal(size=shape[1]) * 50)
        for offset in offsets:
            real = x.astype(np.float64) * over_rows(factor, shape[0])
            if offset.size:
                real = real + offset
            codes, found = np.empty(shape, np.float32), np.empty(shape)
            codes_of_sums(x, factor, offset, LOW, HIGH, codes)
            real_of_sums(x, factor, offset, found)
            same(codes, clip(real))
            same(found, real)


@pytest.mark.parametrize("shape", SHAPES)
def test_real_values_and_sums_with_codes_become_codes(shape: tuple[int, int]) -> None:
    real = RNG.normal(size=shape) * 40
    real.reshape(-1)[:3] = [0.5, -0.0, 1e30][: real.size]
    steps = RNG.integers(-128, 128, shape).astype(np.float32)
    for scales in [np.ones((1, 1)), *factors(*shape)]:
        codes = np.empty(shape, np.float32)
        codes_of_real(real, scales, LOW, HIGH, codes)
        same(codes, clip(real / over_rows(scales, shape[0])))
        for factor in factors(*shape):
            codes_of_added(steps, factor, real, scales, LOW, HIGH, codes)
            total = steps.astype(np.float64) * over_rows(factor, shape[0]) + real
            same(codes, clip(total / over_rows(scales, shape[0])))


@pytest.mark.parametrize("shape", SHAPES)
def test_codes_are_looked_up_and_become_bytes(shape: tuple[int, int]) -> None:
    lowest, table = -100, RNG.normal(size=256) * 30
    steps = RNG.integers(lowest, lowest + 256, shape).astype(np.float32)
    steps.reshape(-1)[:2] = [lowest, lowest + 255][: steps.size]
    for scales in factors(*shape):
        codes = np.empty(shape, np.float32)
        codes_of_table(steps, lowest, table, scales, LOW, HIGH, codes)
        found = table[steps.astype(np.int64) - lowest]
        same(codes, clip(found / over_rows(scales, shape[0])))
    stored = np.empty(steps.size, np.int8)
    signed_bytes(steps.reshape(-1), -lowest - 128, stored)
    same(stored, (steps.reshape(-1) - lowest - 128).astype(np.int8))


def test_nothing_is_read_outside_a_table() -> None:
    steps = np.array([[np.nan, 5.0, -1.0, 3e9]], np.float32)
    codes = np.empty(steps.shape, np.float32)
    with np.errstate(invalid="ignore"):  # where kernels run as plain Python
        codes_of_table(steps, 0, np.arange(1.0, 6.0), np.ones((1, 1)), LOW, HIGH, codes)
    assert np.array_equal(codes, [[np.nan, 5.0, 1.0, 5.0]], equal_nan=True)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("bits", [2, 8])
def test_squared_errors(shape: tuple[int, int], bits: int) -> None:
    low, high = -(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1
    rows, importance = RNG.normal(size=shape), RNG.uniform(size=shape[1])
    scales, found = RNG.uniform(1e-3, 1, (shape[0], 1)), np.empty(shape)
    squared_errors(rows, scales, low, high, importance, found)
    error = np.clip(np.rint(rows / scales), low, high) * scales - rows
    same(found, error * error * importance)


def plain_round_block(
    work: Real, codes: Real, sought: Real, errors: Real, factor: Real, scales: Real, ends: Real
) -> None:
    for column in range(len(work)):
        np.divide(work[column], scales, out=sought[column])
        np.clip(np.rint(sought[column]), *ends, out=codes[column])
        errors[column] = (work[column] - codes[column] * scales) / factor[column, column]
        work[column + 1 :] -= factor[column, column + 1 :, None] * errors[column]


def plain_descend_block(
    codes: Real, sought: Real, changes: Real, slope: Real, moments: Real, ends: Real
) -> None:
    for column in range(len(codes)):
        np.subtract(codes[column], slope[column] / moments[column, column], out=sought[column])
        code = np.clip(np.rint(sought[column]), *ends)
        np.subtract(code, codes[column], out=changes[column])
        codes[column] = code
        slope[column + 1 :] += moments[column, column + 1 :, None] * changes[column]


@pytest.mark.parametrize(
    ("columns", "rows"), [(1, 1), (1, 5), (7, 1), (64, ROWS_AT_ONCE), (13, 2 * ROWS_AT_ONCE + 3)]
)
@pytest.mark.parametrize("bits", [2, 8])
def test_columns_are_rounded_and_improved_as_by_numpy(columns: int, rows: int, bits: int) -> None:
    ends = np.array([-(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1])
    square = RNG.normal(size=(columns, columns + 4))
    moments = square @ square.T
    factor = np.linalg.cholesky(moments).T.copy()
    scales = RNG.uniform(0.01, 0.5, rows)
    work = RNG.normal(size=(columns, rows)) * 10
    plain = [work.copy(), *(np.zeros_like(work) for _ in range(3))]
    found = [array.copy() for array in plain]
    plain_round_block(*plain, factor, scales, ends)
    round_block(*found, factor, scales, *map(float, ends))
    for a, b in zip(found, plain, strict=True):
        same(a, b)
    slope = moments @ (plain[1] - work / scales)
    plain = [plain[1], plain[1].copy(), np.zeros_like(work), slope]
    found = [array.copy() for array in plain]
    plain_descend_block(*plain, moments, ends)
    descend_block(*found, moments, *map(float, ends))
    for a, b in zip(found, plain, strict=True):
        same(a, b)
