# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import systolic_stepping
from hypothesis import given
from hypothesis import strategies as st

from simulator.cost import gemm_cycles
from simulator.profile import DotEngine, SystolicEngine

DATAFLOWS = ("output_stationary", "weight_stationary", "input_stationary")
extents = st.integers(1, 300)
sides = st.integers(1, 64)


def systolic(rows, columns, dataflow="output_stationary", overlap="none"):
    return SystolicEngine(
        kind="systolic", rows=rows, columns=columns, dataflow=dataflow, overlap=overlap
    )


def dot(m, n, k, cycles_per_step=1, pipeline_depth=0):
    return DotEngine(
        kind="dot", m=m, n=n, k=k, cycles_per_step=cycles_per_step, pipeline_depth=pipeline_depth
    )


engines = st.one_of(
    st.builds(
        systolic, sides, sides, st.sampled_from(DATAFLOWS), st.sampled_from(["none", "fold"])
    ),
    st.builds(dot, sides, sides, sides, st.integers(1, 4), st.integers(0, 20)),
)


def test_scale_sim_row_of_deit_tiny():
    # qkv of DeiT-Tiny on a 16 x 16 array: SCALE-Sim 3.0.0 reports 103,895, the last cycle's index.
    assert gemm_cycles(197, 192, 576, systolic(16, 16)) == 103_895 + 1 == 13 * 36 * 222


def test_scale_sim_figure():
    # Counted by hand in scalesim-project/SCALE-Sim issue 125: 10 cycles, reported as 9.
    assert gemm_cycles(4, 4, 4, systolic(4, 4)) == 10


@pytest.mark.parametrize("dataflow", DATAFLOWS)
@given(data=st.data())
def test_strict_forms_count_the_cycles_of_an_array_stepped_by_hand(dataflow, data):
    m, k, n = (data.draw(st.integers(1, 7), label=name) for name in "mkn")
    rows, columns = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4))
    generator = np.random.default_rng(m * 64 + k * 8 + n)
    a, b = generator.integers(-9, 10, (m, k)), generator.integers(-9, 10, (k, n))
    product, cycles = getattr(systolic_stepping, dataflow)(a, b, rows, columns)
    assert np.array_equal(product, a @ b)  # the oracle is an array that works
    assert gemm_cycles(m, k, n, systolic(rows, columns, dataflow)) == cycles


@given(extents, extents, extents, sides, sides)
def test_overlapped_output_stationary_follows_its_timeline(m, k, n, rows, columns):
    folds = len(range(0, m, rows)) * len(range(0, n, columns))
    end = systolic_stepping.overlapped_end(folds, k, rows, 0, rows + columns - 2)
    assert gemm_cycles(m, k, n, systolic(rows, columns, overlap="fold")) == end


@given(extents, extents, extents, sides, sides)
def test_overlapped_weight_stationary_follows_its_timeline(m, k, n, rows, columns):
    folds = len(range(0, k, rows)) * len(range(0, n, columns))
    end = systolic_stepping.overlapped_end(folds, m, rows, rows, rows + columns - 2)
    engine = systolic(rows, columns, "weight_stationary", "fold")
    assert gemm_cycles(m, k, n, engine) == end


def test_overlapped_weight_stationary_in_numbers():
    # 2 x 3 folds of 4 x 4 weights, 10 vectors: 4 to load, 5 * 10 apart, 10 + 6 for the last.
    engine = systolic(4, 4, "weight_stationary", "fold")
    assert gemm_cycles(10, 8, 12, engine) == 4 + 50 + 16
    # 3 vectors are fewer than the 4 cycles that the next weights need.
    assert gemm_cycles(3, 8, 12, engine) == 4 + 20 + 9


@given(extents, extents, extents, sides, sides)
def test_a_single_fold_has_nothing_to_overlap(m, k, n, rows, columns):
    k, n = min(k, rows), min(n, columns)
    engines = [systolic(rows, columns, "weight_stationary", word) for word in ("none", "fold")]
    strict, overlapped = (gemm_cycles(m, k, n, engine) for engine in engines)
    assert strict == overlapped


@pytest.mark.parametrize("overlap", ["none", "fold"])
@given(m=extents, k=extents, n=extents, rows=sides, columns=sides)
def test_input_stationary_is_weight_stationary_of_the_transposed_product(
    overlap, m, k, n, rows, columns
):
    inputs = systolic(rows, columns, "input_stationary", overlap)
    weights = systolic(rows, columns, "weight_stationary", overlap)
    assert gemm_cycles(m, k, n, inputs) == gemm_cycles(n, k, m, weights)


@pytest.mark.parametrize("dataflow", DATAFLOWS)
@given(m=extents, k=extents, n=extents, rows=sides, columns=sides)
def test_overlap_never_costs_cycles(dataflow, m, k, n, rows, columns):
    strict = gemm_cycles(m, k, n, systolic(rows, columns, dataflow))
    assert strict >= gemm_cycles(m, k, n, systolic(rows, columns, dataflow, "fold"))


@given(*[st.integers(1, 9)] * 6, st.integers(1, 4), st.integers(0, 9))
def test_dot_engine_counts_steps(m, k, n, engine_m, engine_n, engine_k, per_step, depth):
    steps = [
        (i, j, p)
        for i in range(0, m, engine_m)
        for j in range(0, n, engine_n)
        for p in range(0, k, engine_k)
    ]
    engine = dot(engine_m, engine_n, engine_k, per_step, depth)
    assert gemm_cycles(m, k, n, engine) == len(steps) * per_step + depth


@given(extents, extents, extents, engines)
def test_no_engine_beats_its_multipliers(m, k, n, engine):
    if isinstance(engine, DotEngine):
        multipliers = engine.m * engine.n * engine.k
    else:
        multipliers = engine.rows * engine.columns
    assert gemm_cycles(m, k, n, engine) * multipliers >= m * k * n


@given(extents, extents, extents, engines)
def test_a_larger_product_is_never_faster(m, k, n, engine):
    cycles = gemm_cycles(m, k, n, engine)
    for larger in ((m + 1, k, n), (m, k + 1, n), (m, k, n + 1)):
        assert gemm_cycles(*larger, engine) >= cycles
