# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from one_op_graphs import CASES, operands_for, results
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
    if kind in TRACES
    for name in cases
]


def graph_of(kind, name, *mode):
    d = Draft(*mode)
    CASES[kind][name](d)
    return d.graph()


def modes(kind):
    every = [(rounding, overflow) for rounding in Rounding for overflow in Overflow]
    return every if kind in ROUNDING_OPS else every[:1]


@pytest.mark.parametrize(("kind", "name"), EVERY_CASE)
def test_result_equals_kernel_and_reference_in_every_mode(kind, name):
    for mode in modes(kind):
        graph = graph_of(kind, name, *mode)
        operands = operands_for(graph)
        kernels, reference = results(graph, operands)
        one = one_op.of_graph(graph, graph.ops[-1].name)
        found = one_op.run_trace(one, operands)["result"]
        assert found.dtype == reference.codes.dtype
        if one.result.is_float:
            np.testing.assert_array_max_ulp(found, reference.codes, maxulp=2)
            continue
        for other in (reference, *kernels):
            assert found.tolist() == other.codes.tolist()
