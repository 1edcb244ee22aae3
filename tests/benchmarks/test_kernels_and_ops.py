# SPDX-License-Identifier: Apache-2.0
"""Kernels that are timed alone, or with a clock, compute what they compute in the whole."""

from __future__ import annotations

import numpy as np

from benchmarks import engines, kernels
from benchmarks.op_times import kind_of_step, op_times
from simulator.executor import Executor
from simulator.gemm import backend
from simulator.kernel_choice import kernel_of


def test_an_op_alone_computes_what_it_does_in_its_graph(subject):
    codes = engines.codes_of(subject.graph, subject.images[:1])
    found = kernels.alone(subject.graph, codes)
    whole = Executor(subject.graph, threads=1).run(codes, taps=[one.op.name for one in found])
    for one in found:
        kernel = kernel_of(one.op, one.graph, backend("numba"))
        known = {**one.graph.constants, **one.activations}
        result = kernel([known[name] for name in one.op.operands]).codes
        assert np.array_equal(result, whole.taps[one.op.name]), one.op.name
    assert {"requantize", "softmax", "layernorm", "lookup", "add"} <= {one.kind for one in found}
    assert found[0].bytes == 17 * (4 * 48) * (4 + 1)


def test_a_kernel_is_measured(subject):
    codes = engines.codes_of(subject.graph, subject.images[:1])
    one = next(one for one in kernels.alone(subject.graph, codes) if one.kind == "softmax")
    row = kernels.measure(one, backend("numba"), "cache", 2, 1)
    assert row["bytes"] == 2 * one.bytes
    assert row["gigabytes"] > 0
    assert row["of_copy"] > 0


def test_clocks_change_no_result_and_are_taken_off(subject):
    codes = engines.codes_of(subject.graph, subject.images)
    executor = Executor(subject.graph, threads=2)
    before = executor.run(codes)
    steps = executor._steps
    times = op_times(executor, codes)
    assert executor._steps is steps
    after = executor.run(codes)
    name = subject.graph.outputs[0]
    assert np.array_equal(before.outputs[name], after.outputs[name])
    assert set(times.by_op) == {op.name for op in subject.graph.ops}
    assert set(times.by_kind) == {kind_of_step(step, subject.graph) for step in steps}
    assert {name for name, spent in times.by_op.items() if spent} == {step.result for step in steps}
    assert 0 < times.share <= 1
