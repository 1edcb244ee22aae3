# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from simulator.numerics.integer_type import IntType
from simulator.simd.product.narrow_bounds import (
    CLIPPED_I16,
    CLIPPED_I32,
    FULL_I16,
    is_checked_often,
    whole_root,
)


@pytest.mark.parametrize(
    ("layout", "bits", "largest", "often"),
    [
        (FULL_I16, 16, 8192, True),  # eight terms may carry a sum round all 16 bits
        (FULL_I16, 16, 8191, False),
        (CLIPPED_I16, 12, 586, True),  # seven terms may reach from one end to the other
        (CLIPPED_I16, 12, 585, False),
        (CLIPPED_I32, 17, 32640, True),
        (CLIPPED_I32, 18, 32640, False),
    ],
)
def test_how_often_clipping_is_looked_for(layout, bits, largest, often):
    kind = IntType(bits=bits)
    assert is_checked_often(largest, layout, kind.low, kind.high) == often


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
