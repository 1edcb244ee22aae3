# SPDX-License-Identifier: Apache-2.0
"""Requantization in vector registers: equal to the reference for one value."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import ceil, floor

import numpy as np
import pytest

from simulator.numerics.float_requantization import RealRequantizer, requantize_real
from simulator.numerics.integer_type import IntType, Overflow
from simulator.numerics.jit import has_avx2, kernel
from simulator.numerics.requantization import Requantizer
from simulator.numerics.rescaling import Arithmetic, RescaleRule, ZeroPointStage
from simulator.numerics.rounding import Rounding, RoundingMode, offset_of
from simulator.simd.lanes import float_requantization
from simulator.simd.lanes.float_requantization import SimdFloatRequantizer
from simulator.simd.lanes.requantization import SimdRequantizer
from simulator.simd.lanes.requantize_row import requantize_row
from simulator.simd.lanes.vectors import LANES

S8, U8, S16, S24 = (IntType(bits=b, signed=s) for b, s in ((8, 1), (8, 0), (16, 1), (24, 1)))
LEAST, MOST = -(1 << 31), (1 << 31) - 1
SUMS = [
    LEAST,
    LEAST + 1,
    -(1 << 24) - 1,
    -1000,
    -3,
    -2,
    -1,
    0,
    1,
    2,
    3,
    77,
    1 << 24,
    MOST - 1,
    MOST,
]
pytestmark = pytest.mark.skipif(not has_avx2(), reason="this CPU has no AVX2")


@kernel
def one_row(sums, constants, extremes, out):
    return requantize_row(sums, 0, out, 0, constants, extremes)


def multipliers(dtype, *, small):
    if small:  # products of 32 bits: nothing is clipped
        return [2.0**-3, 2.0**-25, 0.12499999, 1e-9, 3e-8, -(2.0**-31), -1e-4, 0.0]
    below_half = np.nextafter(dtype(0.5), dtype(0))
    largest = np.finfo(dtype).max
    return [0.5, 0.25, 1.5, below_half, 0.3, 1e-9, 1e-3, 3e-8, 2.0**40, largest, -0.5, -0.7, 0.0]


@pytest.mark.parametrize("rounding", Rounding)
@pytest.mark.parametrize("stage", ZeroPointStage)
@pytest.mark.parametrize("small", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_sum_by_every_multiplier(rounding, stage, small, dtype):
    for kind, zero_point, overflow in (
        (S8, -128, Overflow.SATURATE),
        (S8, 5, Overflow.SATURATE_SYMMETRIC),
        (U8, 130, Overflow.SATURATE),
        (S16, -300, Overflow.SATURATE),
        (S24, 1 << 20, Overflow.SATURATE),
    ):
        pairs = [(value, factor) for value in SUMS for factor in multipliers(dtype, small=small)]
        sums = np.array([value for value, _ in pairs], np.int32)
        rule = RescaleRule(
            rounding=rounding,
            overflow=overflow,
            zero_point_stage=stage,
            arithmetic=Arithmetic(str(np.dtype(dtype))),
        )
        requantizer = RealRequantizer(
            rule=rule,
            multiplier=np.array([factor for _, factor in pairs], dtype),
            zero_point=zero_point,
            kind=kind,
        )
        padded = -(-len(pairs) // LANES) * LANES
        simd = SimdFloatRequantizer.of(requantizer, padded)
        out = np.empty(padded, kind.dtype)
        extremes = np.zeros(2 * LANES, np.int32)
        room = np.zeros(padded - len(pairs), np.int32)
        saturated = one_row(np.concatenate([sums, room]), simd.arguments, extremes, out)
        expected = [
            requantize_real(int(value), factor, rule, zero_point, kind)
            for value, factor in zip(sums, requantizer.multiplier, strict=True)
        ]
        assert out[: len(pairs)].tolist() == [code for code, _ in expected]
        assert saturated == sum(flag for _, flag in expected)
        assert (extremes[:LANES].min(), extremes[LANES:].max()) == (LEAST, MOST)
        codes, outside = requantizer(sums[None])
        assert (codes.tolist(), outside) == ([[code for code, _ in expected]], saturated)


def test_none_where_padding_would_be_counted_or_codes_are_too_wide():
    three = np.ones(3, np.float32)
    symmetric, plain = (
        RescaleRule(rounding=Rounding.FLOOR, overflow=overflow, arithmetic=Arithmetic.FLOAT32)
        for overflow in (Overflow.SATURATE_SYMMETRIC, Overflow.SATURATE)
    )
    outside = RealRequantizer(rule=symmetric, multiplier=three, zero_point=-128, kind=S8)
    assert SimdFloatRequantizer.of(outside, 8) is None
    wide = RealRequantizer(rule=plain, multiplier=three, zero_point=0, kind=IntType(bits=25))
    assert SimdFloatRequantizer.of(wide, 8) is None


@pytest.mark.parametrize("rounding", Rounding)
def test_none_of_a_rounding_mode_that_is_not_in_the_table(rounding, monkeypatch):
    requantizer = RealRequantizer(
        rule=RescaleRule(
            rounding=rounding, overflow=Overflow.SATURATE, arithmetic=Arithmetic.FLOAT32
        ),
        multiplier=np.ones(8, np.float32),
        zero_point=0,
        kind=S8,
    )
    assert SimdFloatRequantizer.of(requantizer, 8) is not None
    others = dict(float_requantization.BEFORE_TRUNCATION)
    del others[rounding]
    monkeypatch.setattr(float_requantization, "BEFORE_TRUNCATION", others)
    assert SimdFloatRequantizer.of(requantizer, 8) is None


# --- fixed point, by modes that no profile can name -----------------------------------------------


def requantizer_of(mode, shift):
    plain = Requantizer.build(
        RescaleRule(rounding=Rounding.FLOOR, overflow=Overflow.SATURATE),
        multiplier=np.array([1]),
        shift=np.array([shift]),
        channels=LANES,
        zero_point=0,
        kind=S8,
    )
    return replace(plain, offset=np.repeat([offset_of(mode, shift)], LANES, axis=0).T)


@pytest.mark.parametrize(
    ("mode", "definition"),
    [
        (RoundingMode(nearest=False, always=1), ceil),
        (
            RoundingMode(nearest=True, if_negative=1),
            lambda v: ceil(v - Fraction(1, 2)) if v > 0 else floor(v + Fraction(1, 2)),
        ),
    ],
)
def test_lanes_take_the_rounding_from_the_row_of_a_mode(mode, definition):
    simd = SimdRequantizer.of(requantizer_of(mode, 33), LANES)
    quarters = np.arange(-10, 10)
    for start in range(0, 16, LANES):
        eight = quarters[start : start + LANES]
        sums = (eight << 27).astype(np.int32)  # quarters of 2^29, by 16: quarters of 2^33
        out = np.empty(LANES, np.int8)
        constants = (np.full(LANES, 16, np.int32), *simd.arguments[1:])
        one_row(sums, constants, np.zeros(2 * LANES, np.int32), out)
        exact = [Fraction(int(value) * 16, 1 << 33) for value in sums]
        assert out.tolist() == [definition(value) for value in exact]


def test_none_for_a_mode_that_adds_more_than_a_bit_to_odd_quotients():
    to_odd = RoundingMode(nearest=False, always=1, if_odd=-1)
    assert SimdRequantizer.of(requantizer_of(to_odd, 33), LANES) is None
