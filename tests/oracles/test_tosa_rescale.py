# SPDX-License-Identifier: Apache-2.0
"""RESCALE and MATMUL against TOSA's reference model."""

from __future__ import annotations

import numpy as np
import pytest
from one_product import product
from oracle_process import OracleError
from tally import Tally
from vectors import Q31_FACTORS, WIDE_FACTORS, codes, sums_near_ties

from simulator.numerics.accumulator import Accumulator, AccumulatorLevel
from simulator.numerics.integer_type import IntType, Overflow
from simulator.numerics.requantization import Requantizer
from simulator.numerics.rescaling import RescaleRule
from simulator.numerics.rounding import DoubleRounding, Rounding

S8, S16 = IntType(bits=8), IntType(bits=16)
ROWS = 1 << 17


def requantize(values, multiplier, shift, rounding, double, zero_point, kind=S8):
    kernel = Requantizer.build(
        RescaleRule(rounding=rounding, overflow=Overflow.SATURATE, double_rounding=double),
        multiplier=np.atleast_1d(multiplier),
        shift=np.atleast_1d(shift),
        channels=values.shape[-1],
        zero_point=zero_point,
        kind=kind,
    )
    return kernel(values)[0]


SINGLE = (Rounding.HALF_UP, DoubleRounding.NONE)
DOUBLE = (Rounding.HALF_UP, DoubleRounding.SYMMETRIC)
WRONG = {
    "single": {
        "double symmetric": DOUBLE,
        "double asymmetric": (Rounding.HALF_UP, DoubleRounding.ASYMMETRIC),
        **{mode.value: (mode, DoubleRounding.NONE) for mode in Rounding if mode != SINGLE[0]},
    },
    "double": {
        "double asymmetric": (Rounding.HALF_UP, DoubleRounding.ASYMMETRIC),
        **{mode.value: (mode, DoubleRounding.NONE) for mode in Rounding},
    },
}


@pytest.mark.parametrize(("mode", "ours"), [("single", SINGLE), ("double", DOUBLE)])
def test_rescale_int32_to_int8(tosa, record_count, mode, ours):
    random = np.random.default_rng(1)
    tally = Tally("TOSA reference model", f"RESCALE int32 to int8, {mode} round", record_count)

    def compare(values, multiplier, shift, zero_point):
        theirs = tosa.rescale(
            values, multiplier, shift, rounding=mode, output_zero_point=zero_point
        )
        results = {
            name: requantize(values, multiplier, shift, *rule, zero_point)
            for name, rule in WRONG[mode].items()
        }
        tally.add(theirs, requantize(values, multiplier, shift, *ours, zero_point), results)

    for index, (multiplier, shift) in enumerate(Q31_FACTORS):
        # TOSA wants sums of no more bits than the shift.
        values = sums_near_ties(random, ROWS, multiplier / 2**shift, bits=min(shift, 32))
        compare(values.reshape(-1, 1), multiplier, shift, (index * 37) % 256 - 128)
    per_channel = [(m, s) for m, s in (*Q31_FACTORS, *WIDE_FACTORS) if s > 1]
    columns = [sums_near_ties(random, 9000, m / 2**s, bits=min(s, 32)) for m, s in per_channel]
    multipliers, shifts = zip(*per_channel, strict=True)
    compare(np.stack(columns, axis=-1), multipliers, shifts, -3)
    tally.check(at_least=1_000_000)


def test_rescale_int48_to_int16_by_16_bit_multipliers(tosa, record_count):
    random = np.random.default_rng(2)
    tally = Tally("TOSA reference model", "RESCALE int48 to int16, single round", record_count)
    for multiplier, shift in [(1 << 14, 20), (1 << 14, 31), (32767, 42), (3 << 12, 47), (5, 24)]:
        factor = multiplier / 2**shift
        # What is rescaled must fit 32 bits before it is clipped to 16.
        bits = min(48, 32 + shift - multiplier.bit_length())
        values = sums_near_ties(random, 1 << 18, factor, bits=bits, largest_code=33000)[:, None]
        theirs = tosa.rescale(
            values,
            multiplier,
            shift,
            rounding="single",
            input_type="int48",
            output_type="int16",
            scale32=False,
        )
        ours = requantize(values, multiplier, shift, *SINGLE, 0, S16)
        wrong = {
            mode.value: requantize(values, multiplier, shift, mode, DoubleRounding.NONE, 0, S16)
            for mode in (Rounding.HALF_AWAY, Rounding.HALF_EVEN, Rounding.FLOOR)
        }
        tally.add(theirs, ours, wrong)
    tally.check(at_least=1_000_000)


def test_the_model_refuses_what_the_specification_leaves_open(tosa):
    # Otherwise a comparison on such values would show nothing.
    with pytest.raises(OracleError, match="UNPREDICTABLE"):
        tosa.rescale(np.array([[1 << 20]]), 1, 20, rounding="single")


@pytest.mark.parametrize(("bits", "register"), [(8, 32), (16, 48)])
def test_matmul(tosa, record_count, bits, register):
    random = np.random.default_rng(3)
    tally = Tally("TOSA reference model", f"MATMUL int{bits} to int{register}", record_count)
    level = AccumulatorLevel(group=0, bits=register, overflow=Overflow.WRAP)
    for rows, depth, columns in [(197, 64, 197), (64, 768, 256), (3, 1, 5), (1, 3000, 1)]:
        a, b = codes(random, (rows, depth), bits), codes(random, (depth, columns), bits)
        theirs = tosa.matmul(a[None], b[None])[0]
        exact = Accumulator(levels=(level,))
        ours = product(a, b, np.zeros(columns, np.int64), exact, bits=register)
        narrow = (a[:, :16].astype(np.int64) @ b[:16]).astype(np.int64)
        tally.add(theirs, ours, {"sum of the first products only": narrow})
    tally.check(at_least=50_000)
