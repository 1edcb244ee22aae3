# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.numerics.integer_type import IntType, Overflow
from simulator.numerics.output_stage import OutputStage, output_stage_kernel
from simulator.numerics.rounding import DoubleRounding, Rounding

S4, U8 = IntType(bits=4), IntType(bits=8, signed=False)


def stage_of(rounding=Rounding.HALF_UP, kind=S4, overflow=Overflow.SATURATE, shift=2, **fields):
    return OutputStage(
        shift=shift, rounding=rounding, zero_point=3, kind=kind, overflow=overflow, **fields
    )


@pytest.mark.parametrize(
    ("value", "overflow", "expected"),
    [
        (6, Overflow.SATURATE, (5, False)),  # 1.5 + 3, a tie: up
        (17, Overflow.SATURATE, (7, False)),
        (18, Overflow.SATURATE, (7, True)),
        (18, Overflow.WRAP, (-8, True)),
        (-44, Overflow.SATURATE, (-8, False)),
        (-44, Overflow.SATURATE_SYMMETRIC, (-7, True)),
    ],
)
def test_known_values(value, overflow, expected):
    assert stage_of(overflow=overflow)(value) == expected


@given(
    st.sampled_from(Rounding),
    st.sampled_from(Overflow),
    st.sampled_from([S4, U8]),
    st.integers(0, 40),
    st.integers(-(1 << 50), 1 << 50) | st.integers(-100, 100),
)
def test_kernel_equals_reference(rounding, overflow, kind, shift, value):
    stage = stage_of(rounding, kind, overflow, shift)
    code, misfit = output_stage_kernel(np.int64(value), stage.arguments)
    assert (code, bool(misfit)) == stage(value)


@pytest.mark.parametrize("double", DoubleRounding)
@given(st.integers(-20, 20), st.integers(0, 40), st.integers(-2, 2))
def test_kernel_equals_reference_with_two_roundings(double, halves, shift, beside):
    stage = stage_of(shift=shift, double_rounding=double)
    value = (halves << shift >> 1) + beside
    code, misfit = output_stage_kernel(np.int64(value), stage.arguments)
    assert (code, bool(misfit)) == stage(value)


def test_two_roundings_are_half_up():
    stage = stage_of(Rounding.FLOOR, double_rounding=DoubleRounding.SYMMETRIC)
    with pytest.raises(ValueError, match="half_up twice, not floor"):
        assert stage.arguments
