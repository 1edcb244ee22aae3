# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace

import pytest

from simulator.graph.op import Requantization
from simulator.numerics.integer_type import Overflow
from simulator.numerics.rescaling import Arithmetic, LeftShift, RescaleRule, ZeroPointStage
from simulator.numerics.rounding import DoubleRounding, Rounding

PLAIN = RescaleRule(rounding=Rounding.FLOOR, overflow=Overflow.SATURATE)


@pytest.mark.parametrize("rounding", Rounding)
@pytest.mark.parametrize("overflow", Overflow)
@pytest.mark.parametrize("stage", ZeroPointStage)
@pytest.mark.parametrize("left", LeftShift)
def test_in_fixed_point_everything_but_two_other_roundings_goes_together(
    rounding, overflow, stage, left
):
    rule = RescaleRule(
        rounding=rounding, overflow=overflow, zero_point_stage=stage, left_shift=left
    )
    assert rule.problems() == []
    for double in (DoubleRounding.SYMMETRIC, DoubleRounding.ASYMMETRIC):
        found = replace(rule, double_rounding=double).problems()
        assert len(found) == (rounding is not Rounding.HALF_UP)


@pytest.mark.parametrize(
    ("changes", "problems"),
    [
        ({}, []),
        ({"overflow": Overflow.SATURATE_SYMMETRIC}, []),
        ({"zero_point_stage": ZeroPointStage.BEFORE_ROUND}, []),
        (
            {"overflow": Overflow.WRAP},
            [
                'overflow = "wrap": a rescaling in float32 saturates, it has no low bits to keep',
            ],
        ),
        (
            {"left_shift": LeftShift.WRAP},
            ["double_rounding, left_shift: a factor in float32 has no shift"],
        ),
        (
            {"rounding": Rounding.HALF_UP, "double_rounding": DoubleRounding.SYMMETRIC},
            ["double_rounding, left_shift: a factor in float32 has no shift"],
        ),
    ],
)
def test_what_does_not_go_together_in_float(changes, problems):
    rule = replace(PLAIN, arithmetic=Arithmetic.FLOAT32, **changes)
    assert rule.problems() == problems
    if problems:
        with pytest.raises(ValueError, match=r"float32"):
            rule.check()
    else:
        rule.check()


def test_a_requantization_is_a_rule_with_its_factors():
    rule = replace(PLAIN, left_shift=LeftShift.WRAP, rounding=Rounding.HALF_UP)
    found = Requantization.by(rule, multiplier="m", shift="s")
    assert found == Requantization(
        multiplier="m",
        shift="s",
        rounding=Rounding.HALF_UP,
        overflow=Overflow.SATURATE,
        left_shift=LeftShift.WRAP,
    )
