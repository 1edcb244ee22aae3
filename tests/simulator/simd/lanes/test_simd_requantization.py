# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from small_graphs import (
    S8,
    S32,
)

from simulator.numerics.integer_type import IntType, Overflow
from simulator.numerics.requantization import Requantizer
from simulator.numerics.rescaling import RescaleRule
from simulator.numerics.rounding import Rounding
from simulator.simd.lanes.requantization import SimdRequantizer


@pytest.mark.parametrize(
    "changes",
    [
        {"shift": np.array([32])},
        {"multiplier": np.array([1 << 31])},
        {"rule": RescaleRule(rounding=Rounding.HALF_UP, overflow=Overflow.WRAP)},
        {"kind": IntType(bits=33)},
        {"kind": IntType(bits=32, signed=False)},
        {"kind": S32, "zero_point": 1 << 30},
    ],
)
def test_none_for_numbers_that_lanes_cannot_hold(changes):
    fields = {
        "multiplier": np.array([1 << 30]),
        "shift": np.array([40]),
        "rule": RescaleRule(rounding=Rounding.HALF_UP, overflow=Overflow.SATURATE),
        "channels": 8,
        "zero_point": 0,
        "kind": S8,
    }
    assert SimdRequantizer.of(Requantizer.build(**fields), 8) is not None
    assert SimdRequantizer.of(Requantizer.build(**(fields | changes)), 8) is None
