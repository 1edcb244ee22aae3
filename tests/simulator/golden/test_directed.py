# SPDX-License-Identifier: Apache-2.0
"""Directed vectors: they tell every mode and width apart or equality is proven, read every entry.

Of all shipped profiles: ``tests/hardware/test_directed_profiles.py``.
"""

from __future__ import annotations

import numpy as np
import pytest
from one_op_graphs import CASES
from small_graphs import Draft, encoder_block

from simulator.golden.coverage.of_op import unit_coverage
from simulator.golden.directed import STIMULI, stimuli
from simulator.golden.directed.of_graph import units_of_graph
from simulator.golden.directed.of_profile import units_of_profile
from simulator.golden.one_op import OneOp, of_op, run_kernel, run_reference, run_trace
from simulator.graph.ops import (
    GroupExponent,
    GroupMaximum,
    GroupQuantize,
    GroupShift,
    Hadamard,
    MatMul,
    Op,
    ScaledMatMul,
)
from simulator.numerics.rounding import Rounding
from simulator.profile import load_profile

QUICK = ("ort_cpu", "vta")  # in float, before rounding; shifts alone, wrapping


@pytest.mark.parametrize("name", QUICK)
def test_directed_vectors_of_a_profile_leave_nothing_open(name: str) -> None:
    for unit, base in units_of_profile(load_profile(name)):
        coverage = unit_coverage(unit, [made.trial for made in stimuli(base, unit)])
        assert [row.variant for row in coverage.missing] == [], unit


@pytest.mark.parametrize("kind", [Hadamard, GroupMaximum, GroupExponent, GroupQuantize, GroupShift])
@pytest.mark.parametrize("rounding", [Rounding.HALF_UP, Rounding.HALF_EVEN])
def test_directed_vectors_of_rotations_and_groups_leave_nothing_open(
    kind: type[Op], rounding: Rounding
) -> None:
    draft = Draft(rounding)
    next(iter(CASES[kind].values()))(draft)
    graph = draft.graph()
    base = of_op(graph.ops[-1], graph)
    coverage = unit_coverage("unit", [made.trial for made in stimuli(base, "unit")])
    assert [row.variant for row in coverage.missing] == []


@pytest.mark.parametrize(
    ("kind", "case"),
    [
        (GroupExponent, "trimmed"),
        (GroupExponent, "trimmed by half"),
        (GroupExponent, "16 bits, trimmed least"),
        (GroupQuantize, "clipped"),
        (GroupQuantize, "16 bits, clipped"),
    ],
)
def test_directed_vectors_of_clipped_groups_leave_nothing_open(kind: type[Op], case: str) -> None:
    draft = Draft()
    CASES[kind][case](draft)
    graph = draft.graph()
    base = of_op(graph.ops[-1], graph)
    found = list(stimuli(base, "unit"))
    coverage = unit_coverage("unit", [made.trial for made in found])
    assert [row.variant for row in coverage.missing] == []
    for made in found:
        codes = run_kernel(made.one, made.operands).codes
        assert np.array_equal(run_trace(made.one, made.operands)["result"], codes)
        assert np.array_equal(run_reference(made.one, dict(made.operands)).codes, codes)


def test_units_of_a_graph_have_its_modes_and_widths() -> None:
    graph = encoder_block()
    units = [*units_of_graph(graph)]
    covered = [name for unit in units for name in unit.ops]
    assert sorted(covered) == sorted(op.name for op in graph.ops if type(op) in STIMULI)
    for unit in units:
        assert unit.base.op.name in unit.ops
    matmul = next(unit for unit in units if isinstance(unit.base.op, MatMul))
    for made in stimuli(matmul.base, matmul.name):
        op = made.one.op
        assert isinstance(op, MatMul)
        assert op.accumulator == matmul.base.op.accumulator
        assert op.requantize.rounding is matmul.base.op.requantize.rounding
        assert made.one.result.type == matmul.base.result.type
        assert made.one.op.name.startswith(f"{matmul.name}.")


def few(one: OneOp, operands: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: codes[:2] for name, codes in operands.items()}


def test_kernels_traces_and_references_agree_on_directed_vectors() -> None:
    for unit in units_of_graph(encoder_block()):
        for made in stimuli(unit.base, unit.name):
            codes = run_kernel(made.one, made.operands).codes
            assert np.array_equal(run_trace(made.one, made.operands)["result"], codes)
            if codes[0].size < 600:
                first = few(made.one, dict(made.operands))
                assert np.array_equal(run_reference(made.one, first).codes, codes[:2])


@pytest.mark.parametrize(
    "case",
    [
        "row factors, saturating",
        "exponents, blocks, then shifted",
        "exponents and row factors, rows in three dimensions",
        "onto a residual",
        "activations, exponents, proven",
        "values with a factor per column",
    ],
)
def test_directed_vectors_of_scaled_products_leave_nothing_open(case: str) -> None:
    draft = Draft()
    CASES[ScaledMatMul][case](draft)
    graph = draft.graph()
    base = of_op(graph.ops[-1], graph)
    found = list(stimuli(base, "unit"))
    coverage = unit_coverage("unit", [made.trial for made in found])
    assert [row.variant for row in coverage.missing] == []
    for made in found:
        codes = run_kernel(made.one, made.operands).codes
        assert np.array_equal(run_trace(made.one, made.operands)["result"], codes)


@pytest.mark.parametrize(
    ("name", "units"),
    [
        ("edge_npu_w4a4_dynamic", ["scaled_linear", "scaled_matmul", "shifted_linear"]),
        ("edge_npu_w4a4_shifts", ["shifted_linear"]),
        ("edge_npu_w4a4", []),
    ],
)
def test_chips_with_steps_for_rows_and_blocks_have_scaled_products(
    name: str, units: list[str]
) -> None:
    found = [
        (unit, base)
        for unit, base in units_of_profile(load_profile(name))
        if isinstance(base.op, ScaledMatMul)
    ]
    assert [unit for unit, _ in found] == units
    for unit, base in found:
        coverage = unit_coverage(unit, [made.trial for made in stimuli(base, unit)])
        assert [row.variant for row in coverage.missing] == [], unit
