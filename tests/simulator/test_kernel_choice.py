# SPDX-License-Identifier: Apache-2.0
"""One function chooses a kernel: in vector registers on AVX2, portable otherwise or on demand."""

from __future__ import annotations

import numpy as np
import pytest
from one_op_graphs import CASES, operands_for
from simd_graphs import IN_REGISTERS
from small_graphs import Draft, random_codes

from simulator import kernel_choice
from simulator.executor import Executor
from simulator.gemm import backend
from simulator.graph import verify
from simulator.kernel_choice import kernel_of
from simulator.numerics.integer_type import Overflow
from simulator.numerics.jit import has_avx2
from simulator.numerics.rounding import Rounding
from simulator.ops import BEHAVIOURS
from simulator.simd.ops import FORMS

needs_avx2 = pytest.mark.skipif(not has_avx2(), reason="this CPU has no AVX2")
VECTOR, PORTABLE = "simulator.simd.ops.", "simulator.ops."


def in_registers(kind):
    """Return a graph whose last op is of a kind and runs in vector registers."""
    d = Draft(Rounding.HALF_UP, Overflow.SATURATE)
    CASES[kind][IN_REGISTERS](d)
    graph = d.graph()
    assert verify(graph) == []
    return graph


def chosen(graph, gemm="avx2", **options):
    return kernel_of(graph.ops[-1], graph, backend(gemm), **options)


def module_of(step_kernel):
    """Return the module of a step's kernel, whether of one op or of a group."""
    return getattr(step_kernel, "kernel", step_kernel).__module__


def computed(graph, kernel):
    known = {**graph.constants, **operands_for(graph)}
    return kernel([known[name] for name in graph.ops[-1].operands])


def test_every_vector_form_has_a_case():
    assert {kind for kind, cases in CASES.items() if IN_REGISTERS in cases} == set(FORMS)


@needs_avx2
@pytest.mark.parametrize("kind", FORMS)
def test_a_vector_form_is_taken_by_one_guard(kind, monkeypatch):
    graph = in_registers(kind)
    vector = chosen(graph)
    on_demand = chosen(graph, portable=True)
    monkeypatch.setattr(kernel_choice, "has_avx2", lambda: False)
    without = chosen(graph)
    assert vector.__module__.startswith(VECTOR)
    assert on_demand.__module__.startswith(PORTABLE)
    assert without.__module__ == on_demand.__module__
    expected = computed(graph, on_demand)
    for kernel in (vector, without):
        result = computed(graph, kernel)
        assert np.array_equal(result.codes, expected.codes)
        assert (result.saturated, result.sums) == (expected.saturated, expected.sums)


@pytest.mark.parametrize("kind", [kind for kind in BEHAVIOURS if kind not in FORMS])
def test_ops_without_a_vector_form_are_portable(kind):
    for build in CASES[kind].values():
        d = Draft()
        build(d)
        assert chosen(d.graph(), "numba").__module__.startswith(PORTABLE)


def test_an_executor_of_portable_kernels_gives_the_same_integers(block):
    images = random_codes(block.tensors[block.inputs[0]], 2, 1)
    taps = [op.name for op in block.ops]
    fastest = Executor(block, threads=1)
    portable = Executor(block, gemm="numba", portable=True, threads=1)
    assert all(step.kernel.kernel.__module__.startswith(PORTABLE) for step in portable._steps)
    vectors = [module_of(step.kernel).startswith(VECTOR) for step in fastest._steps]
    assert any(vectors) == has_avx2()
    first, second = (executor.run(images, taps=taps) for executor in (fastest, portable))
    assert first.counts == second.counts
    assert all(np.array_equal(first.taps[name], second.taps[name]) for name in taps)
