# SPDX-License-Identifier: Apache-2.0
"""β of a LayerNorm in 32 bits and a shift."""

from __future__ import annotations

import numpy as np
import pytest

from aocq.lowering.normalization import _held


@pytest.mark.parametrize(
    ("beta", "codes", "shift"),
    [
        ([2**31 - 1, -(2**31)], [2**31 - 1, -(2**31)], 0),
        ([2**31, 3, 2, 1, -1, -3], [2**30, 2, 1, 1, 0, -1], 1),
        ([2**40, 511, 256, 255, -256, -257], [2**30, 0, 0, 0, 0, 0], 10),
        ([2**40, 1535, 512, 511, -512, -513], [2**30, 1, 1, 0, 0, -1], 10),
        ([2**40 - 1, -(2**40)], [2**31 - 1, -(2**31)], 9),
    ],
)
def test_it_is_rounded_to_the_nearest_ties_upwards(
    beta: list[int], codes: list[int], shift: int
) -> None:
    found, places = _held(np.array(beta, np.int64))
    assert (found.tolist(), places) == (codes, shift)
