# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np

from simulator.simd.product.narrow_bounds import is_checked_often, whole_root


def test_how_often_clipping_is_looked_for():
    assert is_checked_often(8192)  # eight terms may carry a sum round all 16 bits
    assert not is_checked_often(8191)


def test_lengths_are_rounded_up():
    largest = (1 << 31) - 1
    roots = np.arange(1, 46341)
    for squares in {
        0,
        largest,
        *(roots**2).tolist(),
        *(roots**2 - 1).tolist(),
        *(roots**2 + 1).tolist(),
    }:
        root = int(whole_root(np.int32(squares)))
        assert (root - 1) ** 2 < squares <= root**2 or squares == root == 0
