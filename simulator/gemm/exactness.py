# SPDX-License-Identifier: Apache-2.0
"""Exactness check of a backend on this CPU, by products that inexact backends get wrong."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from simulator.gemm.protocol import Gemm
from simulator.numerics.integer_type import IntArray


def is_exact(gemm: Gemm) -> bool:
    """Try a backend on values that break inexact int8 products, against exact sums."""
    for a, b in _trials():
        # Sums of so few products of bytes are exact in float64, which numpy multiplies quickly.
        if not np.array_equal(gemm.prepare(b)(a), a.astype(np.float64) @ b.astype(np.float64)):
            return False
    return True


def _trials() -> Iterator[tuple[IntArray, IntArray]]:
    """Extremes, which overflow 16 bits in pairs, and large odd sums, which float32 rounds."""
    shapes = ((3, 7, 5), (40, 192, 33), (17, 1600, 64))
    for left in ((-128, 127), (0, 255), (-128, -128), (255, 255)):
        for right in ((-128, 127), (-128, -128), (127, 127), (-8, 7), (-8, -8), (7, 7)):
            dtype = np.dtype(np.uint8 if max(left) > 127 else np.int8)
            for rows, terms, columns in shapes:
                a = np.resize(np.array([left, left[::-1]]), (rows, terms)).astype(dtype)
                yield a, np.resize(np.array(right), (terms, columns)).astype(np.int8)
    random = np.random.default_rng(0)
    for low, high, kind in ((64, 127, np.int8), (128, 255, np.uint8)):
        for rows, terms, columns in shapes:
            a = random.integers(low, high, (rows, terms), kind, endpoint=True)
            yield a, random.integers(64, 127, (terms, columns), np.int8, endpoint=True)
