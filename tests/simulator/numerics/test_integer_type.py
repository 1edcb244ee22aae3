# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.numerics.integer_type import IntType, Overflow, fit, limits
from simulator.numerics.output_stage import fit_kernel

SATURATE, SYMMETRIC, WRAP = Overflow.SATURATE, Overflow.SATURATE_SYMMETRIC, Overflow.WRAP
VALID = [f"s{bits}" for bits in range(1, 65)] + [f"u{bits}" for bits in range(1, 64)]


@pytest.mark.parametrize(
    ("text", "low", "high", "dtype"),
    [
        ("s1", -1, 0, "int8"),
        ("u1", 0, 1, "uint8"),
        ("s4", -8, 7, "int8"),
        ("u6", 0, 63, "uint8"),
        ("s8", -128, 127, "int8"),
        ("u8", 0, 255, "uint8"),
        ("s9", -256, 255, "int16"),
        ("u16", 0, 65535, "uint16"),
        ("s17", -65536, 65535, "int32"),
        ("s32", -(1 << 31), (1 << 31) - 1, "int32"),
        ("u33", 0, (1 << 33) - 1, "uint64"),
        ("s64", -(1 << 63), (1 << 63) - 1, "int64"),
        ("u63", 0, (1 << 63) - 1, "uint64"),
    ],
)
def test_codes_and_storage(text, low, high, dtype):
    kind = IntType.parse(text)
    assert (kind.low, kind.high, kind.dtype) == (low, high, np.dtype(dtype))


@pytest.mark.parametrize("text", VALID)
def test_text_is_read_back(text):
    kind = IntType.parse(text)
    assert str(kind) == text
    assert kind.high - kind.low + 1 == 1 << kind.bits
    assert (kind.low < 0) == kind.signed
    assert np.iinfo(kind.dtype).min <= kind.low
    assert kind.high <= np.iinfo(kind.dtype).max


@pytest.mark.parametrize(
    "text",
    ["", "s", "8", "s0", "u0", "u64", "s65", "s-8", "S8", "i8", "s8 ", " s8", "s8.0", "s100"],
)
def test_no_other_text_is_a_type(text):
    with pytest.raises(ValueError, match="integer type"):
        IntType.parse(text)


@pytest.mark.parametrize(
    ("text", "overflow", "low", "high"),
    [
        ("s8", SATURATE, -128, 127),
        ("s8", WRAP, -128, 127),
        ("s8", SYMMETRIC, -127, 127),
        ("u8", SYMMETRIC, 0, 255),
        ("s1", SYMMETRIC, 0, 0),
    ],
)
def test_limits(text, overflow, low, high):
    assert limits(IntType.parse(text), overflow) == (low, high)


@pytest.mark.parametrize(
    ("text", "overflow", "pairs"),
    [
        ("s8", SATURATE, {-129: -128, -128: -128, 127: 127, 128: 127, 10**30: 127}),
        ("s8", SYMMETRIC, {-129: -127, -128: -127, -127: -127, 128: 127}),
        ("s8", WRAP, {-129: 127, -128: -128, 127: 127, 128: -128, 256: 0, -257: -1, 10**30: 0}),
        ("u8", SATURATE, {-1: 0, 0: 0, 255: 255, 256: 255}),
        ("u8", SYMMETRIC, {-1: 0, 0: 0, 255: 255, 256: 255}),
        ("u8", WRAP, {-1: 255, 255: 255, 256: 0, 511: 255}),
        ("s4", WRAP, {8: -8, -9: 7, 23: 7, 24: -8}),
    ],
)
def test_what_does_not_fit(text, overflow, pairs):
    kind = IntType.parse(text)
    assert {value: fit(value, kind, overflow) for value in pairs} == pairs


@given(st.sampled_from(VALID), st.sampled_from(Overflow), st.data())
def test_kernel_fits_like_the_reference(text, overflow, data):
    kind = IntType.parse(text)
    low, high = limits(kind, overflow)
    ends = [end + step for end in (low, high) for step in (-1, 0, 1)]
    ends += [2 * high + 1, -(1 << 63), (1 << 63) - 1]
    inside = [value for value in ends if -(1 << 63) <= value < 1 << 63]
    for value in [*inside, data.draw(st.integers(-(1 << 63), (1 << 63) - 1))]:
        expected = fit(value, kind, overflow)
        assert fit_kernel(value, low, high, overflow is WRAP) == expected, value
        assert low <= expected <= high
        assert expected == value or not low <= value <= high
