# SPDX-License-Identifier: Apache-2.0
"""Double rounding against gemmlowp's two steps: the rounding high product, the rounding shift.

We do both in one shift (:mod:`simulator.numerics.rounding`).
"""

from __future__ import annotations

import numpy as np
from tally import Tally
from vectors import sums_near_ties

from simulator.numerics.integer_type import IntType, Overflow
from simulator.numerics.requantization import Requantizer
from simulator.numerics.rescaling import LeftShift, RescaleRule
from simulator.numerics.rounding import DoubleRounding, Rounding

S32 = IntType(bits=32)
COUNT = 1 << 14


def requantize(values, multipliers, shift, rounding, double=DoubleRounding.NONE):
    kernel = Requantizer.build(
        RescaleRule(
            rounding=rounding,
            overflow=Overflow.SATURATE,
            double_rounding=double,
            left_shift=LeftShift.WRAP,
        ),
        multiplier=np.array(multipliers),
        shift=np.array([shift]),
        channels=len(multipliers),
        zero_point=0,
        kind=S32,
    )
    return kernel(values)[0]


def multipliers_of(random):
    return [1 << 30, (1 << 31) - 1, (1 << 30) + 1, 3 << 29, *random.integers(1 << 30, 1 << 31, 4)]


def test_two_steps_are_one_double_rounding(gemmlowp, record_count):
    random = np.random.default_rng(31)
    tally = Tally("gemmlowp", "high product, rounding shift: Q31 double symmetric", record_count)
    for exponent in (1, 2, 3, 5, 8, 12, 16, 20, 25, 30):
        multipliers = multipliers_of(random)
        shift = 31 + exponent
        columns = [
            sums_near_ties(random, COUNT, m / 2**shift, largest_code=1 << min(30 - exponent, 16))
            for m in multipliers
        ]
        values = np.stack(columns, axis=-1)
        high = gemmlowp.high_mul(values, multipliers)
        theirs = gemmlowp.divide_by_pot(high, exponent)
        rules = {
            "half up": (Rounding.HALF_UP,),
            "half away": (Rounding.HALF_AWAY,),
            "double asymmetric": (Rounding.HALF_UP, DoubleRounding.ASYMMETRIC),
        }
        wrong = {name: requantize(values, multipliers, shift, *r) for name, r in rules.items()}
        ours = requantize(values, multipliers, shift, Rounding.HALF_UP, DoubleRounding.SYMMETRIC)
        tally.add(theirs, ours, wrong)
    tally.check(at_least=1_000_000)


def test_the_high_product_alone_rounds_ties_up(gemmlowp, record_count):
    random = np.random.default_rng(32)
    tally = Tally("gemmlowp", "high product: half up at bit 31", record_count)
    multipliers = multipliers_of(random)
    columns = [sums_near_ties(random, 1 << 17, m / 2**31, largest_code=1000) for m in multipliers]
    values = np.stack(columns, axis=-1)
    wrong = {"half away": requantize(values, multipliers, 31, Rounding.HALF_AWAY)}
    ours = requantize(values, multipliers, 31, Rounding.HALF_UP)
    tally.add(gemmlowp.high_mul(values, multipliers), ours, wrong)
    tally.check(at_least=1_000_000)


def test_the_rounding_shift_alone_rounds_ties_away_from_zero(gemmlowp, record_count):
    random = np.random.default_rng(33)
    tally = Tally("gemmlowp", "rounding shift: half away", record_count)
    for exponent in (1, 2, 7, 13, 24, 30):
        values = sums_near_ties(random, 1 << 16, 2.0**-exponent)[:, None]
        wrong = {"half up": requantize_shift(values, exponent, Rounding.HALF_UP)}
        ours = requantize_shift(values, exponent, Rounding.HALF_AWAY)
        tally.add(gemmlowp.divide_by_pot(values, exponent), ours, wrong)
    tally.check(at_least=390_000)


def requantize_shift(values, exponent, rounding):
    kernel = Requantizer.build(
        RescaleRule(rounding=rounding, overflow=Overflow.SATURATE),
        multiplier=np.array([1]),
        shift=np.array([exponent]),
        channels=1,
        zero_point=0,
        kind=S32,
    )
    return kernel(values)[0]
