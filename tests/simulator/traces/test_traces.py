# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from one_op_graphs import CASES, operands_for
from small_graphs import Draft

from simulator.golden import one_op
from simulator.graph.ops import SPECS
from simulator.numerics.integer_type import Overflow
from simulator.numerics.rounding import Rounding
from simulator.traces import TRACES

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
    every = [(rounding, overflow) for rounding in Rounding for overflow in Overflow]
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
