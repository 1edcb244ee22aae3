# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import fields
from functools import cache
from itertools import combinations

import numpy as np
import pytest
from one_op_graphs import CASES, assert_kernel_equals_reference, operands_for
from small_graphs import Draft

from simulator.graph import ops, verify
from simulator.graph.ops import OP_TYPES, SPECS, MatMul, Mean, ScaledMatMul, Softmax, op_name
from simulator.numerics.integer_type import Overflow
from simulator.numerics.jit import has_avx2
from simulator.numerics.rounding import Rounding
from simulator.ops import BEHAVIOURS

# What rounds and overflows as its fields say, or those of its requantization.
ROUNDING_OPS = tuple(
    op for op in SPECS if {"overflow", "requantize"} & {field.name for field in fields(op)}
)


def usable(name):
    return name != "avx2" or has_avx2()


EVERY_CASE = [
    pytest.param(kind, name, id=f"{kind.__name__}: {name}")
    for kind, cases in CASES.items()
    for name in cases
]


def graph_of(kind, name, rounding=Rounding.HALF_UP, overflow=Overflow.SATURATE):
    d = Draft(rounding, overflow)
    CASES[kind][name](d)
    return d.graph()


@cache
def outcome(kind, name, rounding=Rounding.HALF_UP, overflow=Overflow.SATURATE):
    """Compare all kernels with the reference, once for every case and mode; return its result."""
    graph = graph_of(kind, name, rounding, overflow)
    return assert_kernel_equals_reference(graph, operands_for(graph))


@pytest.mark.parametrize("table", [BEHAVIOURS, CASES, SPECS])
def test_no_table_misses_an_op(table):
    assert set(table) == set(OP_TYPES.values())


def test_no_two_ops_have_one_name():
    owners = {
        (op_name(graph_of(kind, name).ops[-1]), kind)
        for kind, cases in CASES.items()
        for name in cases
    }
    assert {kind for _, kind in owners} == set(SPECS)
    assert len({name for name, _ in owners}) == len(owners)


def test_every_op_has_a_name_in_files():
    defined = {name for name, kind in vars(ops).items() if is_op(kind)}
    assert {name: vars(ops)[name] for name in defined} == OP_TYPES


def is_op(kind):
    return isinstance(kind, type) and issubclass(kind, ops.Op) and kind is not ops.Op


@pytest.mark.parametrize(("kind", "name"), EVERY_CASE)
def test_kernel_equals_reference_in_every_mode(kind, name):
    assert verify(graph_of(kind, name)) == []
    modes = [(rounding, overflow) for rounding in Rounding for overflow in Overflow]
    for mode in modes if kind in ROUNDING_OPS else modes[:1]:
        outcome(kind, name, *mode)


@pytest.mark.parametrize("gemm", [name for name in ("torch", "blas", "avx2") if usable(name)])
@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind in (MatMul, ScaledMatMul) for name in CASES[kind]]
)
def test_products_are_the_same_with_every_backend(kind, name, gemm):
    graph = graph_of(kind, name)
    assert_kernel_equals_reference(graph, operands_for(graph, seed=3), gemm)


@pytest.mark.parametrize(("kind", "name"), EVERY_CASE)
def test_one_image_and_views_give_the_same(kind, name):
    graph = graph_of(kind, name)
    operands = operands_for(graph, images=7, seed=1)
    for view in (lambda codes: codes[3:4], lambda codes: codes[::-3], np.asfortranarray):
        assert_kernel_equals_reference(graph, {n: view(codes) for n, codes in operands.items()})


# --- the cases themselves: they must be able to tell one behaviour from another -------------------


def outcomes(kind, *mode):
    return [outcome(kind, name, *mode) for name in CASES[kind]]


@pytest.mark.parametrize("kind", ROUNDING_OPS)
def test_the_cases_tell_any_two_roundings_apart(kind):
    codes = {
        rounding: [result.codes.tolist() for result in outcomes(kind, rounding, Overflow.SATURATE)]
        for rounding in Rounding
    }
    if kind is Softmax:  # it rounds no negative value
        assert codes.pop(Rounding.TOWARD_ZERO) == codes[Rounding.FLOOR]
        assert codes.pop(Rounding.HALF_AWAY) == codes[Rounding.HALF_UP]
    assert all(one != other for one, other in combinations(codes.values(), 2))


@pytest.mark.parametrize("kind", ROUNDING_OPS)
def test_the_cases_tell_any_two_overflows_apart(kind):
    found = [outcomes(kind, Rounding.HALF_EVEN, overflow) for overflow in Overflow]
    for one, other in combinations(found, 2):
        assert [r.codes.tolist() for r in one] != [r.codes.tolist() for r in other]
    for results in found:
        assert any(0 < result.saturated < result.codes.size for result in results)


@pytest.mark.parametrize("kind", [MatMul, ScaledMatMul, Mean])
def test_some_accumulators_overflow_in_part_and_others_never(kind):
    results = outcomes(kind, Rounding.HALF_UP, Overflow.SATURATE)
    assert any(0 < result.sums.overflowed < result.codes.size for result in results)
    assert any(result.sums.overflowed == 0 for result in results)
    assert any(result.sums.transient for result in results)
    assert any(result.sums.persistent for result in results)
