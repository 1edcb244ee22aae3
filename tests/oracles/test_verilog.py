# SPDX-License-Identifier: Apache-2.0
"""Every integer rounding mode, overflow rule and accumulator against Verilog under Icarus."""

from __future__ import annotations

import numpy as np
import pytest
from one_product import product
from tally import Tally
from vectors import Q31_FACTORS, WIDE_FACTORS, codes, sums_near_ties
from verilog_oracle import ROUNDINGS, Unit

from simulator.numerics.accumulator import Accumulator, AccumulatorLevel, BiasStage
from simulator.numerics.integer_type import IntType, Overflow
from simulator.numerics.requantization import Requantizer
from simulator.numerics.rescaling import RescaleRule, ZeroPointStage
from simulator.numerics.rounding import DoubleRounding, Rounding

RULES = {
    **{mode.value: (mode, DoubleRounding.NONE) for mode in Rounding},
    **{f"double_{double}": (Rounding.HALF_UP, double) for double in list(DoubleRounding)[1:]},
}


def test_the_hardware_has_every_mode_that_we_have():
    assert set(ROUNDINGS) == set(RULES)


def vectors(random, count):
    """One column per factor and zero point: sums [rows, columns], and the rest per column."""
    factors = [*Q31_FACTORS, *WIDE_FACTORS]
    columns = [sums_near_ties(random, count, m / 2**s) for m, s in factors]
    multipliers, shifts = np.array(factors).T
    zero_points = (np.arange(len(factors)) * 37) % 256 - 128
    return np.stack(columns, axis=-1), multipliers, shifts, zero_points


def ours(sums, multipliers, shifts, zero_points, rule, overflow, stage, bits):
    results = [
        Requantizer.build(
            RescaleRule(
                rounding=rule[0],
                overflow=overflow,
                double_rounding=rule[1],
                zero_point_stage=stage,
            ),
            multiplier=multipliers[[c]],
            shift=shifts[[c]],
            channels=1,
            zero_point=int(zero_points[c]),
            kind=IntType(bits=bits),
        )(sums[:, [c]])[0]
        for c in range(sums.shape[1])
    ]
    return np.concatenate(results, axis=-1)


@pytest.mark.parametrize(
    ("overflow", "stage", "bits", "rows"),
    [
        (Overflow.SATURATE, ZeroPointStage.AFTER_ROUND, 8, 35_000),
        (Overflow.WRAP, ZeroPointStage.AFTER_ROUND, 8, 19_000),
        (Overflow.SATURATE_SYMMETRIC, ZeroPointStage.AFTER_ROUND, 16, 12_000),
        (Overflow.SATURATE, ZeroPointStage.BEFORE_ROUND, 8, 6_000),
    ],
)
def test_requantization(verilog, record_count, overflow, stage, bits, rows):
    # Together more than a million results per mode.
    random = np.random.default_rng(41)
    sums, multipliers, shifts, zero_points = vectors(random, rows)
    every = np.broadcast_arrays(sums, multipliers, shifts, zero_points)
    hardware = verilog.requantize(
        *(array.ravel() for array in every),
        overflow=overflow.value,
        zero_point_first=stage is ZeroPointStage.BEFORE_ROUND,
        bits=bits,
    )
    results = {
        name: ours(sums, multipliers, shifts, zero_points, rule, overflow, stage, bits)
        for name, rule in RULES.items()
    }
    for name, theirs in hardware.items():
        tally = Tally("Verilog under Icarus", f"requantization, {name}", record_count)
        wrong = {other: codes for other, codes in results.items() if other != name}
        tally.add(theirs.reshape(sums.shape), results[name], wrong)
        tally.check(at_least=sums.size)


UNITS = [
    Unit(group=group, inner_bits=inner, inner_saturates=clips, bits=bits, saturates=s, bias_last=b)
    for group, inner, clips, bits, s, b in [
        (0, 8, False, 16, False, False),
        (0, 8, False, 16, True, False),
        (0, 8, False, 17, True, True),
        (0, 8, False, 12, True, False),
        (16, 17, True, 18, False, False),
        (16, 16, False, 17, True, True),
        (1, 15, True, 18, True, False),
        (7, 15, True, 16, True, True),
    ]
]


def accumulator(unit):
    rules = {False: Overflow.WRAP, True: Overflow.SATURATE}
    outer = AccumulatorLevel(group=0, bits=unit.bits, overflow=rules[unit.saturates])
    inner = AccumulatorLevel(
        group=unit.group, bits=unit.inner_bits, overflow=rules[unit.inner_saturates]
    )
    return Accumulator(
        levels=(inner, outer) if unit.group else (outer,),
        bias=BiasStage.AFTER_LAST_BLOCK if unit.bias_last else BiasStage.PRELOAD,
    )


@pytest.mark.parametrize(("rows", "columns", "depth"), [(64, 48, 48), (96, 128, 10)])
def test_accumulators(verilog, record_count, rows, columns, depth):
    # One addition per clock is slow to simulate: about 15,000 outputs of every accumulator.
    random = np.random.default_rng(42)
    a, b = codes(random, (rows, depth)), codes(random, (depth, columns))
    bias = random.integers(-20_000, 20_000, columns)
    every_a = np.repeat(a, columns, axis=0)
    every_b = np.tile(b.T, (rows, 1))
    hardware = verilog.accumulate(every_a, every_b, np.tile(bias, rows), UNITS)
    exact = a.astype(np.int64) @ b.astype(np.int64) + bias
    for column, unit in enumerate(UNITS):
        theirs = hardware[:, column].reshape(rows, columns)
        tally = Tally("Verilog under Icarus", f"accumulator {accumulator(unit)}", record_count)
        wrong = {"accumulator of unlimited width": exact}
        if unit.saturates or unit.inner_saturates:
            once = np.clip(exact, -(1 << unit.bits - 1), (1 << unit.bits - 1) - 1)
            wrong["saturation of the completed sum"] = once
        tally.add(theirs, product(a, b, bias, accumulator(unit)), wrong)
        tally.check(at_least=rows * columns)
