# SPDX-License-Identifier: Apache-2.0
"""The requantizer in every mode against the emulator's kernels, with sums at ties and beside."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from many_units import Configuration, Field, ManyUnits
from rtl_choices import every_rescaling

from simulator.export.rtl.folder import unit_files
from simulator.numerics.requantization import Requantizer
from simulator.numerics.rescaling import ZeroPointStage
from simulator.numerics.rounding import DoubleRounding, Rounding

STAGE = ZeroPointStage.AFTER_ROUND
PLAIN = (Rounding.FLOOR, Rounding.HALF_UP, Rounding.HALF_DOWN)
FRACTION_BITS = 12
RESIDUAL_ZERO_POINT = 3
FIELDS = (
    Field(name="accumulator", bits=48),
    Field(name="multiplier", bits=32),
    Field(name="shift", bits=8),
    Field(name="zero_point", bits=16),
    Field(name="residual", bits=8),
    Field(name="residual_multiplier", bits=32),
)
INPUTS = {
    "in_accumulator": "accumulator_field",
    "in_multiplier": "multiplier_field[30:0]",
    "in_shift": "shift_field[5:0]",
    "in_zero_point": "zero_point_field",
}
SHARED = {"ACCUMULATOR_BITS": 48, "MULTIPLIER_BITS": 31, "ZERO_POINT_BITS": 16}
TERM = f"""
  wire signed [63:0] term;
  residual_term #(.RESIDUAL_ZERO_POINT({RESIDUAL_ZERO_POINT}), .FRACTION_BITS({FRACTION_BITS}))
      residual_unit (.residual(residual_field), .multiplier(residual_multiplier_field[30:0]),
                     .shift(shift_field[5:0]), .term(term));
"""


@cache
def vectors(rows):
    """Return sums [rows, columns] near ties, and the factors of each column."""
    from vectors import Q31_FACTORS, WIDE_FACTORS, sums_near_ties

    random = np.random.default_rng(43)
    factors = [*Q31_FACTORS, *WIDE_FACTORS]
    sums = np.stack([sums_near_ties(random, rows, m / 2**s) for m, s in factors], axis=-1)
    multipliers, shifts = np.array(factors).T
    zero_points = (np.arange(len(factors)) * 37) % 256 - 128
    joins = shifts >= FRACTION_BITS
    residuals = random.integers(-128, 128, sums.shape)
    # A term of half a step keeps sums at ties; others take them anywhere.
    residual_multipliers = np.where(joins, [1 << (FRACTION_BITS - 1), 4096, 2811] * 4 + [0, 0], 0)
    residuals = np.where(joins & (random.integers(0, 2, sums.shape) > 0), residuals, 3)
    return sums, multipliers, shifts, zero_points, residuals, residual_multipliers


def by_kernel(one, rows):
    sums, multipliers, shifts, zero_points, residuals, residual_multipliers = vectors(rows)
    found = np.empty(sums.shape, np.int64)
    for c in range(sums.shape[1]):
        kernel = Requantizer.build(
            one.rule,
            multiplier=multipliers[[c]],
            shift=shifts[[c]],
            channels=1,
            zero_point=int(zero_points[c]),
            kind=one.kind,
        )
        column = np.ascontiguousarray(sums[:, [c]])
        if one.takes_residual:
            left = max(int(shifts[c]) - FRACTION_BITS, 0)
            factor = np.array([int(residual_multipliers[c]) << left], np.int64)
            residual = residuals[:, [c]].astype(np.int8)
            codes, _ = kernel.onto(column, None, residual, RESIDUAL_ZERO_POINT, factor)
        else:
            codes, _ = kernel(column)
        found[:, c] = codes[:, 0]
    return found.reshape(-1)


def configuration(one):
    return Configuration(
        module="requantizer",
        parameters={**SHARED, **one.parameters},
        inputs={**INPUTS, "in_residual_term": "term" if one.takes_residual else "64'd0"},
        out_bits=one.kind.bits,
        out_signed=one.kind.signed,
    )


def too_narrow(one):
    """Return a unit that is built wrong: its register of the scaled sum has too few bits."""
    return Configuration(
        module="requantizer",
        parameters={**SHARED, **one.parameters, "SCALED_WIDTH": 52},
        inputs={**INPUTS, "in_residual_term": "term[51:0]"},
    )


def the_same(one, other):
    """Whether two rules differ in the zero point's stage alone, and it does not matter.

    Where what rounding adds depends neither on the sign nor on the code, whole codes pass it.
    """
    stages = [replace(rule, zero_point_stage=STAGE) for rule in (one.rule, other.rule)]
    double = one.rule.double_rounding is not DoubleRounding.SYMMETRIC
    return stages[0] == stages[1] and one.rule.rounding in PLAIN and double


@pytest.mark.parametrize(("simulator", "rows"), [("verilator", 72_000), ("iverilog", 220)])
def test_every_mode(needs, request, record_count, tmp_path, simulator, rows):
    needs(simulator)
    runtime = request.getfixturevalue("verilator_runtime") if simulator == "verilator" else None
    choices = every_rescaling()
    bench = ManyUnits(
        fields=FIELDS,
        configurations=(*(configuration(one) for one in choices), too_narrow(choices[0])),
        files=unit_files(["requantizer", "residual_term"]),
        nets=TERM,
    )
    every = np.broadcast_arrays(*vectors(rows))
    fields = {one.name: array.reshape(-1) for one, array in zip(FIELDS, every, strict=True)}
    last = np.ones(every[0].size, bool)
    *results, wrong = bench.run(tmp_path, simulator, runtime, fields, last)
    compared: dict[str, int] = {}
    for one, theirs in zip(choices, results, strict=True):
        ours = by_kernel(one, rows)
        assert np.array_equal(theirs, ours), one
        compared[one.mode] = compared.get(one.mode, 0) + theirs.size
        others = [
            other
            for other, codes in zip(choices, results, strict=True)
            if other is not one
            and other.kind == one.kind
            and not the_same(one, other)
            and np.array_equal(codes, ours)
        ]
        assert not others, f"nothing tells {one} from {others}"
    assert not np.array_equal(wrong, results[0])
    least = 1_000_000 if simulator == "verilator" else 20_000
    for mode, count in compared.items():
        record_count(simulator, f"RTL requantizer, {mode}", compared=count, mismatches=0)
        assert count >= least
