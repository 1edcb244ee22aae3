# SPDX-License-Identifier: Apache-2.0
"""Two operands in one op, in vector registers: taken where they fit, equal to the references."""

from __future__ import annotations

import pytest
from one_op_graphs import assert_kernel_equals_reference, operands_for
from simd_cases import RANDOM, assert_taken_and_equal, every_rounding, module_of, needs_avx2
from small_graphs import S8, S16, SATURATE, U8, Draft

from simulator.graph import verify
from simulator.graph.ops import AddShifted, Mul, SquaredDifference
from simulator.numerics.integer_type import Overflow
from simulator.numerics.rounding import DoubleRounding, Rounding

pytestmark = needs_avx2
SHAPES = {
    "alike": ((5, 19), (5, 19), False),
    "one code a row": ((2, 5, 16), (2, 5, 1), False),
    "a constant row": ((2, 3, 21), (21,), True),
    "constant rows": ((2, 3, 8), (3, 8), True),
    "a constant code a row": ((2, 3, 9), (3, 1), True),
}
every_shape = pytest.mark.parametrize("shape", SHAPES)
# As TFLite derives them: twice the larger scale as the common one.
SUM = {
    "factors": ((1 << 30, 31), (1981860625, 33), (1434567890, 49)),
    "input_left_shift": 20,
}
SQUARES = {
    "factors": ((1 << 30, 31), (1981860625, 33), (1918553963, 46)),
    "input_left_shift": 7,
}


def draft(rounding, shape, overflow=SATURATE, kinds=(S8, S8)):
    a, b, constant = SHAPES[shape]
    d = Draft(rounding, overflow)
    d.input("a", a, kinds[0], 17)
    if constant:
        codes = RANDOM.integers(-128, 128, b)
        d.constant("b", codes.tolist(), S8, -5)
    else:
        d.operand("b", b, kinds[1], 9)
    return d


def assert_taken(graph, module):
    result = assert_taken_and_equal(graph, module)
    assert 0 < result.saturated < result.codes.size


def double_of(rounding):
    return DoubleRounding.SYMMETRIC if rounding is Rounding.HALF_UP else DoubleRounding.NONE


@every_shape
@pytest.mark.parametrize("rounding", [r for r in Rounding if r is not Rounding.HALF_EVEN])
@pytest.mark.parametrize("overflow", [Overflow.SATURATE, Overflow.SATURATE_SYMMETRIC])
def test_sums_differences_and_squares(rounding, overflow, shape):
    twice = double_of(rounding)
    for op_type, constants, changes in (
        (AddShifted, SUM, {"subtract": True, "zero_point": 3}),
        (AddShifted, SUM, {"zero_point": -20}),
        (SquaredDifference, SQUARES, {"zero_point": -100}),
    ):
        d = draft(rounding, shape, overflow)
        d.op(op_type, "y", "a", "b", double_rounding=twice, **constants, **changes)
        assert_taken(d.graph(), "common_scale")


def test_the_second_operand_at_the_common_scale():
    factors = ((1981860625, 33), (1 << 30, 31), (1434567890, 49))
    d = draft(Rounding.HALF_UP, "alike", kinds=(U8, U8))
    d.op(AddShifted, "y", "a", "b", zero_point=-20, **(SUM | {"factors": factors}))
    assert_taken(d.graph(), "common_scale")


FINE, LAST = (1981860625, 33), (1434567890, 49)


def test_factors_so_small_that_they_are_zero():
    for factors in (((0, 31), FINE, LAST), (FINE, (0, 31), LAST), (FINE, FINE, (0, 49))):
        d = draft(Rounding.HALF_UP, "alike")
        d.op(AddShifted, "y", "a", "b", **(SUM | {"factors": factors}))
        assert verify(d.graph()) == []
        assert_kernel_equals_reference(d.graph(), operands_for(d.graph(), images=2))


@pytest.mark.parametrize(
    "changes",
    [
        {"input_left_shift": 24},
        {"factors": ((3, 1), FINE, LAST)},
        {"factors": ((1 << 30, 31), FINE, (3, 20))},
        {"overflow": Overflow.WRAP},
        {"rounding": Rounding.HALF_EVEN, "factors": ((1 << 30, 31), (1 << 28 | 1, 31), LAST)},
    ],
)
def test_none_for_numbers_that_lanes_cannot_hold(changes):
    changes = dict(changes)
    d = draft(changes.pop("rounding", Rounding.HALF_UP), "alike")
    fields = SUM | {"overflow": SATURATE} | changes
    d.defaults["overflow"] = fields.pop("overflow")
    d.op(AddShifted, "y", "a", "b", **fields)
    assert verify(d.graph()) == []
    assert module_of(d.graph()) == "ops.common_scale"
    assert_kernel_equals_reference(d.graph(), operands_for(d.graph(), images=2))


@every_shape
@every_rounding
@pytest.mark.parametrize("kinds", [(S8, S8), (U8, S8), (S8, U8)])
def test_products(rounding, shape, kinds):
    d = draft(rounding, shape, kinds=kinds)
    channels = SHAPES[shape][0][-1]
    multiplier = tuple(RANDOM.integers(1 << 30, 1 << 31, channels).tolist())
    d.op(Mul, "y", "a", "b", multiplier=multiplier, shift=(36,), zero_point=-3)
    assert_taken(d.graph(), "mul")


def test_products_of_wide_codes_are_not_taken():
    d = draft(Rounding.HALF_UP, "alike", kinds=(S16, S8))
    d.op(Mul, "y", "a", "b", multiplier=((1 << 30) + 9,), shift=(44,))
    assert module_of(d.graph()) == "ops.mul"
    assert_kernel_equals_reference(d.graph(), operands_for(d.graph(), images=2))
