# SPDX-License-Identifier: Apache-2.0
"""The steps of traces against their definitions in plain Python integers."""

from __future__ import annotations

from itertools import product
from math import isqrt

import numpy as np
import pytest
from small_graphs import S8, U8, Draft

from simulator.graph.ops import Rescale
from simulator.numerics.integer_type import IntType, Overflow
from simulator.numerics.integer_type import fit as fit_one
from simulator.numerics.requantization import requantize
from simulator.numerics.rescaling import LeftShift, RescaleRule, ZeroPointStage
from simulator.numerics.rounding import (
    DoubleRounding,
    Rounding,
    divide,
    double_rounding_problem,
    round_real,
    shift_right,
)
from simulator.numerics.square_root import newton_root as newton_one
from simulator.traces.roots import floor_root, newton_root
from simulator.traces.steps import divided, fit, requantized, round_shift, rounded_real

ROUNDINGS = [
    (rounding, double)
    for rounding, double in product(Rounding, DoubleRounding)
    if double_rounding_problem(rounding, double) is None
]


def around(*values):
    return np.array([value + i for value in values for i in (-2, -1, 0, 1, 2)], np.int64)


@pytest.mark.parametrize(("rounding", "double"), ROUNDINGS)
@pytest.mark.parametrize("shift", [0, 1, 2, 15, 30, 31, 32, 33, 45, 61, 62])
def test_shifts_round_by_definition(rounding, double, shift):
    step = 1 << shift
    ties = [q * step + half for q in (-3, -2, -1, 0, 1, 2) for half in (0, step // 2)]
    values = around(*(tie for tie in ties if abs(tie) < 1 << 62), 1 << 30, -(1 << 30))
    found = round_shift(values, shift, rounding, double)
    assert found.tolist() == [shift_right(int(v), shift, rounding, double) for v in values]
    # One shift per channel.
    shifts = np.array([shift, 0, 31, 40])
    found = round_shift(values[:, None], shifts, rounding, double)
    for channel, places in enumerate(shifts.tolist()):
        expected = [shift_right(int(v), places, rounding, double) for v in values]
        assert found[:, channel].tolist() == expected


@pytest.mark.parametrize("rounding", Rounding)
def test_divisions_round_by_definition(rounding):
    values = np.arange(-40, 40)
    for divisor in (1, 2, 3, 4, 7, 10):
        expected = [divide(int(v), divisor, rounding) for v in values]
        assert divided(values, divisor, rounding).tolist() == expected


@pytest.mark.parametrize("rounding", Rounding)
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_real_numbers_round_by_definition(rounding, kind):
    near = [-2.5, -1.5, -1, -0.5, 0, 0.5, 1.5, 2.5, 1e-20, -1e-20, 8388607.5, 2.0**40, -(2.0**60)]
    values = np.array(near, kind)
    values = np.concatenate([values, np.nextafter(values, kind(9)), np.nextafter(values, kind(-9))])
    assert rounded_real(values, rounding).tolist() == [
        round_real(float(v), rounding) for v in values
    ]


@pytest.mark.parametrize("overflow", Overflow)
@pytest.mark.parametrize("kind", [S8, U8, IntType(bits=1), IntType(bits=20), IntType(bits=64)])
def test_values_are_stored_by_definition(overflow, kind):
    values = around(kind.low // 2, kind.high // 2, 0, 1 << 40, -(1 << 40))
    if kind.bits < 60:
        values = np.concatenate([values, around(kind.low, kind.high, 3 * kind.high)])
    assert fit(values, kind, overflow).tolist() == [fit_one(int(v), kind, overflow) for v in values]


@pytest.mark.parametrize("left_shift", LeftShift)
@pytest.mark.parametrize("stage", ZeroPointStage)
def test_requantizations_are_those_of_the_definition(left_shift, stage):
    rule = RescaleRule(
        rounding=Rounding.HALF_EVEN,
        overflow=Overflow.WRAP,
        left_shift=left_shift,
        zero_point_stage=stage,
    )
    shifts, multipliers = (29, 30, 31, 32), (3, (1 << 31) - 1, 5, 1 << 28)
    d = Draft()
    d.input("a", (2, 4), IntType(bits=40))
    d.op(
        Rescale,
        "y",
        "a",
        multiplier=multipliers,
        shift=shifts,
        zero_point=-7,
        rounding=rule.rounding,
        overflow=rule.overflow,
        left_shift=left_shift,
        zero_point_stage=stage,
    )
    graph = d.graph()
    values = around(0, 1 << 29, -(1 << 30), 1 << 31, -(1 << 32), 1 << 33)
    sums = np.repeat(values[:, None], 4, axis=1)
    found = requantized(sums, graph, graph.ops[-1].requantize, graph.tensors["y"])["result"]
    expected = [
        [
            requantize(int(value), multiplier, shift, rule, -7, S8)[0]
            for multiplier, shift in zip(multipliers, shifts, strict=True)
        ]
        for value in values
    ]
    assert found.tolist() == expected


def test_roots_are_exact_beside_squares():
    roots = [0, 1, 2, 3, 1000, 46341, 94906265, 94906267, (1 << 31) - 1, 3037000499]
    values = np.concatenate([around(root * root) for root in roots])
    values = np.concatenate([values[values >= 0], [(1 << 63) - 1, (1 << 62) - 1, 1 << 62]])
    assert floor_root(values).tolist() == [isqrt(int(v)) for v in values]


@pytest.mark.parametrize(("steps", "start"), [(1, 0), (3, 0), (10, 16), (64, 31), (2, 1)])
def test_newtons_roots_are_those_of_the_definition(steps, start):
    values = np.array([0, 1, 2, 3, 4, 15, 16, 17, 10**6, (1 << 40) + 1, (1 << 62) - 1, 1 << 62])
    found = newton_root(values, steps, start)
    assert found.tolist() == [newton_one(int(v), steps, start) for v in values]
