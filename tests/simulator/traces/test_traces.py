# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from one_op_graphs import CASES, operands_for
from small_graphs import SATURATE, WRAP, Draft, accumulator

from simulator.golden import one_op
from simulator.golden.inner_types import inner_types
from simulator.graph.ops import SPECS
from simulator.numerics.accumulator import OverflowPolicy
from simulator.numerics.integer_type import Overflow
from simulator.numerics.rounding import Rounding
from simulator.traces import TRACES
from simulator.traces.sums import accumulated

ROUNDING_OPS = tuple(
    op for op in SPECS if {"overflow", "requantize"} & {field.name for field in fields(op)}
)
EVERY_CASE = [
    pytest.param(kind, name, id=f"{kind.__name__}: {name}")
    for kind, cases in CASES.items()
    for name in cases
]


def graph_of(kind, name, *mode):
    d = Draft(*mode)
    CASES[kind][name](d)
    return d.graph()


def modes(kind):
    """Every rounding, and every overflow: the first does not ask which the second is."""
    every = [(rounding, Overflow.SATURATE) for rounding in Rounding]
    every += [(Rounding.HALF_EVEN, overflow) for overflow in Overflow]
    return every if kind in ROUNDING_OPS else every[:1]


def one_case(kind, name, *mode):
    graph = graph_of(kind, name, *mode)
    return one_op.of_graph(graph, graph.ops[-1].name), operands_for(graph)


def assert_equal(found, codes):
    assert found.dtype == codes.dtype
    assert found.shape == codes.shape
    if codes.dtype.kind == "f":
        np.testing.assert_array_max_ulp(found, codes, maxulp=2)
    else:
        assert np.array_equal(found, codes)


def test_every_op_has_a_trace():
    assert set(TRACES) == set(SPECS)


@pytest.mark.parametrize(("kind", "name"), EVERY_CASE)
def test_the_result_is_that_of_the_kernel_in_every_mode(kind, name):
    for mode in modes(kind):
        one, operands = one_case(kind, name, *mode)
        found = one_op.run_trace(one, operands)
        assert [*found][-1] == "result"
        assert_equal(found["result"], one_op.run_kernel(one, operands, portable=True).codes)


@pytest.mark.parametrize(("kind", "name"), EVERY_CASE)
def test_the_result_is_that_of_the_reference(kind, name):
    one, operands = one_case(kind, name)
    assert_equal(
        one_op.run_trace(one, operands)["result"], one_op.run_reference(one, operands).codes
    )


@pytest.mark.parametrize(("kind", "name"), EVERY_CASE)
def test_names_and_values_are_those_of_the_intermediates(kind, name):
    one, operands = one_case(kind, name)
    found = dict(one_op.run_trace(one, operands))
    found.pop("result")
    kinds = inner_types(one.op, one.graph)
    assert [*found] == [*kinds]
    for intermediate in SPECS[kind].intermediates(one.graph, one.op):
        values = found[intermediate.name]
        assert values.dtype == np.int64
        low, high = intermediate.held
        exact = intermediate.levels and one.op.accumulator.policy is OverflowPolicy.REPORT
        if not exact and not all(level.proven for level in intermediate.levels):
            register = intermediate.levels[-1].register
            low, high = register.low, register.high
        assert low <= values.min()
        assert values.max() <= high
        assert kinds[intermediate.name].low <= low
        assert high <= kinds[intermediate.name].high


def test_levels_of_an_accumulator_are_those_of_the_documentation():
    products = [90, 60, -70, 20, 100, 100, 100, -50]
    for levels, last, expected in (
        ([(0, 32, WRAP)], False, 550),
        ([(0, 10, WRAP)], False, -474),
        ([(0, 10, SATURATE)], False, 461),
        ([(0, 10, SATURATE)], True, 511),
        ([(4, 8, WRAP), (0, 10, WRAP)], False, 294),
        ([(4, 8, SATURATE), (0, 10, WRAP)], True, 354),
    ):
        found = accumulated(
            lambda start, stop: np.array(sum(products[start:stop])),
            len(products),
            np.array(200),
            accumulator(*levels, bias_last=last),
            free=False,
        )
        assert int(found) == expected
