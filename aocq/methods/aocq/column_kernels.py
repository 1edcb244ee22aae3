# SPDX-License-Identifier: Apache-2.0
"""Kernels of the closed form: columns of weights one after the other, rows beside each other.

Arrays are [columns, N], float64: a column of weights lies in one piece. Rows do not depend on each
other, so that few of them at a time go through all columns, and stay in the first cache.
"""

from __future__ import annotations

from typing import Any

from aocq.methods.code_kernels import clamped
from simulator.numerics.jit import kernel

Array = Any  # of numpy, in kernels

ROWS_AT_ONCE = 64


@kernel
def round_block(
    work: Array,
    codes: Array,
    sought: Array,
    errors: Array,
    factor: Array,
    scales: Array,
    low: float,
    high: float,
) -> None:
    """Round some columns, each one's error spread over those behind it; in place.

    Parameters
    ----------
    work
        the weights, of which what is behind a column is corrected
    codes, sought, errors
        results: whole numbers, what was rounded to them, and each column's error over its pivot
    factor
        upper Cholesky factor of the inverse moments of these columns, [columns, columns]
    scales
        of the rows, [N]
    """
    columns, rows = work.shape
    for start in range(0, rows, ROWS_AT_ONCE):
        stop = min(start + ROWS_AT_ONCE, rows)
        for column in range(columns):
            pivot = factor[column, column]
            for row in range(start, stop):
                sought[column, row] = work[column, row] / scales[row]
                code = clamped(sought[column, row], low, high)
                codes[column, row] = code
                errors[column, row] = (work[column, row] - code * scales[row]) / pivot
            for later in range(column + 1, columns):
                share = factor[column, later]
                for row in range(start, stop):
                    work[later, row] -= share * errors[column, row]


@kernel
def descend_block(
    codes: Array,
    sought: Array,
    changes: Array,
    slope: Array,
    moments: Array,
    low: float,
    high: float,
) -> None:
    """Improve the codes of some columns one after the other; in place.

    Parameters
    ----------
    sought, changes
        results: what was rounded to the codes, and by how much these changed
    slope
        of half the output error by each code; that of the columns behind is kept up to date
    moments
        second moments of these columns, [columns, columns]
    """
    columns, rows = codes.shape
    for start in range(0, rows, ROWS_AT_ONCE):
        stop = min(start + ROWS_AT_ONCE, rows)
        for column in range(columns):
            pivot = moments[column, column]
            for row in range(start, stop):
                sought[column, row] = codes[column, row] - slope[column, row] / pivot
                code = clamped(sought[column, row], low, high)
                changes[column, row] = code - codes[column, row]
                codes[column, row] = code
            for later in range(column + 1, columns):
                share = moments[column, later]
                for row in range(start, stop):
                    slope[later, row] += share * changes[column, row]
