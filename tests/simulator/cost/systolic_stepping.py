# SPDX-License-Identifier: Apache-2.0
"""A systolic array, one clock cycle at a time: an oracle for the closed forms.

Every function computes the real product, register by register, and counts the cycles it took.
"""

from __future__ import annotations

import numpy as np


def _padded(matrix: np.ndarray, rows: int, columns: int) -> np.ndarray:
    short = (-matrix.shape[0] % rows, -matrix.shape[1] % columns)
    return np.pad(matrix, ((0, short[0]), (0, short[1])))


def output_stationary(a: np.ndarray, b: np.ndarray, rows: int, columns: int):
    """Return a @ b and the cycles: folds one after the other."""
    m, n = a.shape[0], b.shape[1]
    a, b = _padded(a, rows, 1), _padded(b, 1, columns)
    out = np.zeros((a.shape[0], b.shape[1]), np.int64)
    cycles = 0
    for i in range(0, a.shape[0], rows):
        for j in range(0, b.shape[1], columns):
            tile, spent = _output_stationary_fold(a[i : i + rows], b[:, j : j + columns])
            out[i : i + rows, j : j + columns] = tile
            cycles += spent
    return out[:m, :n], cycles


def _output_stationary_fold(a: np.ndarray, b: np.ndarray):
    """Operands enter at the left and top edges, one cycle later per row and column."""
    rows, k = a.shape
    columns = b.shape[1]
    a_register, b_register = (np.zeros((rows, columns), np.int64) for _ in range(2))
    sums, products = (np.zeros((rows, columns), np.int64) for _ in range(2))
    valid = np.zeros((rows, columns), bool)
    cycle = 0
    while products.min() < k:
        a_register[:, 1:], b_register[1:] = a_register[:, :-1].copy(), b_register[:-1].copy()
        valid[:, 1:] = valid[:, :-1].copy()
        for i in range(rows):
            valid[i, 0] = 0 <= cycle - i < k
            a_register[i, 0] = a[i, cycle - i] if valid[i, 0] else 0
        for j in range(columns):
            b_register[0, j] = b[cycle - j, j] if 0 <= cycle - j < k else 0
        sums += a_register * b_register
        products += valid
        cycle += 1
    return sums, cycle


def weight_stationary(a: np.ndarray, b: np.ndarray, rows: int, columns: int):
    """Return a @ b and the cycles; ``b`` stays in the array, partial sums are added outside."""
    m, n = a.shape[0], b.shape[1]
    a, b = _padded(a, 1, rows), _padded(b, rows, columns)
    out = np.zeros((m, b.shape[1]), np.int64)
    cycles = 0
    for i in range(0, b.shape[0], rows):
        for j in range(0, b.shape[1], columns):
            tile = b[i : i + rows, j : j + columns]
            sums, spent = _weight_stationary_fold(a[:, i : i + rows], tile)
            out[:, j : j + columns] += sums
            cycles += spent
    return out[:, :n], cycles


def _weight_stationary_fold(a: np.ndarray, b: np.ndarray):
    m = a.shape[0]
    rows, columns = b.shape
    weights = np.zeros((rows, columns), np.int64)
    cycle = 0
    while not np.array_equal(weights, b) or cycle < rows:  # they move down from the top edge
        weights[1:] = weights[:-1].copy()
        weights[0] = b[rows - 1 - cycle]
        cycle += 1
    loaded = cycle
    a_register, sums = (np.zeros((rows, columns), np.int64) for _ in range(2))
    out = np.zeros((m, columns), np.int64)
    collected = 0
    while collected < m * columns:
        step = cycle - loaded
        a_register[:, 1:] = a_register[:, :-1].copy()
        for i in range(rows):
            a_register[i, 0] = a[step - i, i] if 0 <= step - i < m else 0
        sums[1:] = sums[:-1].copy()
        sums[0] = 0
        sums += weights * a_register
        for j in range(columns):
            if 0 <= (row := step - (rows - 1) - j) < m:
                out[row, j] = sums[rows - 1, j]
                collected += 1
        cycle += 1
    return out, cycle


def input_stationary(a: np.ndarray, b: np.ndarray, rows: int, columns: int):
    """Return a @ b and the cycles: rows of ``a`` stay, columns of ``b`` stream."""
    out, cycles = weight_stationary(b.T, a.T, rows, columns)
    return out.T, cycles


def overlapped_end(folds: int, fed: int, ports: int, first: int, latency: int) -> int:
    """Return the cycle at which the last of overlapping folds is complete.

    Parameters
    ----------
    folds, fed
        folds, and cycles for which each takes operands in at the array's edge
    ports
        cycles that the weights of the next fold take to load, or the sums of the last one to leave
    first
        cycles before the first fold starts
    latency
        cycles from the last operands in to the last result
    """
    edge_free = shadow_free = first
    end = 0
    for _ in range(folds):
        start = max(edge_free, shadow_free)
        edge_free, shadow_free = start + fed, start + ports
        end = start + fed + latency
    return end
