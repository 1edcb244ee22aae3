# SPDX-License-Identifier: Apache-2.0
"""XNNPACK's ADD, MUL and QUANTIZE of int8, by what LiteRT's default kernels once answered."""

from __future__ import annotations

import math

import numpy as np
from elementwise_operators import add
from record_litert_elementwise import packed, recorded, unpacked
from rules import by_rules
from tally import Tally
from xnnpack_operators import S8, lowered

from simulator.numerics.fixed_point import q31_multiplier_and_shift
from simulator.numerics.rounding import Rounding, offsets

ORACLE = "LiteRT XNNPACK (rec.)"


def finished(totals, shift, zero_point, rounding=Rounding.HALF_UP):
    """The last step of every fixed-point rule: shift, zero point, saturation."""
    bias, if_negative, if_odd = offsets(np.array([shift]), rounding)[:, 0]
    rounded = totals + bias + if_negative * (totals < 0) + if_odd * ((totals >> shift) & 1)
    return np.clip((rounded >> shift) + zero_point, S8.low, S8.high)


def half_away(values):
    return np.floor(values + 0.5).astype(np.int64)


def half_even(values):
    return np.rint(values).astype(np.int64)


def summed(by, *, bits=21, real=np.float32, nearest=half_even, rounding=Rounding.HALF_UP):
    """A sum by multipliers of ``bits`` bits and one shift; as it stands, XNNPACK's."""
    factors = by.factors(real)
    shift = bits - math.frexp(float(factors.max()))[1]
    a, b = by.centred()
    multiplier_a, multiplier_b = nearest(np.ldexp(factors, shift))
    totals = a * multiplier_a + b * multiplier_b
    return finished(totals, shift, by.zero_points[-1], rounding)


def converted(by, *, places=8, real=np.float32, nearest=half_even, rounding=Rounding.HALF_UP):
    """A conversion by a factor of ``places`` fraction bits; as it stands, XNNPACK's."""
    (x,) = by.centred()
    products = x * nearest(np.ldexp(by.factors(real), places))
    return finished(products, places, by.zero_points[-1], rounding)


def test_sums(record_count):
    tally = Tally(ORACLE, "ADD int8, one rounding", record_count)
    largest = 0
    for by, theirs in recorded("ADD"):
        ours = lowered(by)
        assert (ours == summed(by)).all()
        wrong = {
            "tie, away from zero": summed(by, rounding=Rounding.HALF_AWAY),
            "tie, to even": summed(by, rounding=Rounding.HALF_EVEN),
            "tie of a multiplier": summed(by, nearest=half_away),
            "multiplier of 20 bits": summed(by, bits=20),
            "multiplier of 22 bits": summed(by, bits=22),
            "multiplier of 31 bits": summed(by, bits=31),
            "scales in float64": summed(by, real=np.float64),
            "sum of three stages": add(by.operands, by.result),
        }
        tally.add(theirs, ours, wrong)
        factors = by.factors()
        exponent = math.frexp(float(factors.max()))[1]
        largest = max(largest, half_even(np.ldexp(factors, 21 - exponent)).max())
    assert largest == 1 << 21
    tally.check(at_least=9 << 16)


def test_products(record_count):
    tally = Tally(ORACLE, "MUL int8, float32", record_count)
    rule = "float32 half even"
    others = ("float32 half away", "float64 half even", "Q31 double symmetric", "Q31 half up")
    for by, theirs in recorded("MUL"):
        a, b = by.centred()
        zero_point = by.zero_points[-1]
        wrong = by_rules((rule, *others), a * b, by.factors(), zero_point)
        ours = lowered(by)
        assert (ours == wrong.pop(rule)).all()
        double = np.float64(np.float32(by.factors(np.float64)))
        wrong["scales in float64"] = by_rules((rule,), a * b, double, zero_point)[rule]
        tally.add(theirs, ours, wrong)
    tally.check(at_least=5 << 16)


def test_conversions(record_count):
    tally = Tally(ORACLE, "QUANTIZE int8 to int8, multiples of 1/256", record_count)
    for by, theirs in recorded("QUANTIZE"):
        multiplier, shift = q31_multiplier_and_shift(float(by.factors()[0]))
        (x,) = by.centred()
        wrong = {
            "tie, away from zero": converted(by, rounding=Rounding.HALF_AWAY),
            "tie, to even": converted(by, rounding=Rounding.HALF_EVEN),
            "tie of a factor": converted(by, nearest=half_away),
            "factor of 7 fraction bits": converted(by, places=7),
            "factor of 9 fraction bits": converted(by, places=9),
            "scales in float64": converted(by, real=np.float64),
            "factor of 31 bits": finished(x * multiplier, shift, by.zero_points[-1]),
        }
        ours = lowered(by)
        assert (ours == converted(by)).all()
        tally.add(theirs, ours, wrong)
    tally.check(at_least=256 * 256)


def test_packed_codes_come_back():
    codes = np.random.default_rng(72).integers(-128, 128, (3, 5, 256)).astype(np.int8)
    assert (unpacked(packed(codes), codes.shape) == codes).all()
