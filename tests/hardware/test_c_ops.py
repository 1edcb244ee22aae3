# SPDX-License-Identifier: Apache-2.0
"""Every op in C against its reference, on the small graphs that hold the kernels to it."""

from __future__ import annotations

import pytest
from c_compiler import COMPILERS, OpCase, run_ops
from one_op_graphs import CASES, operands_for, reference_result
from small_graphs import Draft

from simulator.errors import InputError
from simulator.export.c_calls import require_integers
from simulator.graph.ops import SPECS
from simulator.numerics.integer_type import Overflow
from simulator.numerics.rounding import Rounding


def graph_of(kind, name, rounding=Rounding.HALF_UP, overflow=Overflow.SATURATE):
    d = Draft(rounding, overflow)
    CASES[kind][name](d)
    return d.graph()


def in_integers(kind, name):
    return graph_of(kind, name).ops[-1].computes_in == "integer"


INTEGER_OPS = [kind for kind in SPECS if any(in_integers(kind, name) for name in CASES[kind])]
FLOAT_CASES = [
    (kind, name) for kind in SPECS for name in CASES[kind] if not in_integers(kind, name)
]


@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("kind", INTEGER_OPS)
def test_op_in_c_equals_its_reference_in_every_mode(needs, tmp_path, kind, compiler):
    needs("cc")
    cases, wanted = [], []
    for name in CASES[kind]:
        if not in_integers(kind, name):
            continue
        seen = set()
        for rounding in Rounding:
            for overflow in Overflow:
                graph = graph_of(kind, name, rounding, overflow)
                if graph.ops[-1] in seen:  # the op neither rounds nor overflows
                    continue
                seen.add(graph.ops[-1])
                operands = operands_for(graph)
                cases.append(OpCase(graph, operands))
                wanted.append(reference_result(graph, operands))
    for case, found, reference in zip(
        cases, run_ops(cases, tmp_path, compiler=compiler), wanted, strict=True
    ):
        assert found.codes.dtype == reference.codes.dtype
        assert found.codes.tolist() == reference.codes.tolist(), case.graph.ops[-1]
        assert found.saturated == reference.saturated, case.graph.ops[-1]


@pytest.mark.parametrize(("kind", "name"), FLOAT_CASES, ids=str)
def test_an_op_in_float_is_refused(kind, name):
    with pytest.raises(InputError, match="integer arithmetic only"):
        require_integers(graph_of(kind, name).ops[-1])
