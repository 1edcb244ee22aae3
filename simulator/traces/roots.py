# SPDX-License-Identifier: Apache-2.0
"""Integer square roots of whole arrays."""

from __future__ import annotations

import numpy as np

from simulator.traces.steps import Int64, wide


def floor_root(values: Int64) -> Int64:
    """Return ``floor(sqrt(v))`` of values that are not negative.

    A float64 root, which for 63 bits may be one too large and is never too small.
    """
    root = wide(np.sqrt(values.astype(np.float64)))
    return root - (root * root > values)


def newton_root(values: Int64, steps: int, start_bits: int) -> Int64:
    """Return what ``steps`` steps ``r = floor((r + floor(v / r)) / 2)`` leave; 0 where v is 0.

    They start from ``2^start_bits``, or where that is 0 from 2^ceil(bits / 2), with the bits of v.
    """
    if start_bits:
        root = np.full_like(values, 1 << start_bits)
    else:
        bits = (values[..., None] >> np.arange(63) > 0).sum(axis=-1)
        root = np.int64(1) << (bits + 1) // 2
    for _ in range(steps):
        root = (root + values // np.maximum(root, 1)) // 2
    return np.where(values > 0, root, 0)
