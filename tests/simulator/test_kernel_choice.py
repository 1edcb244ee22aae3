# SPDX-License-Identifier: Apache-2.0
"""One function chooses a kernel: in vector registers on AVX2, portable otherwise or on demand."""

from __future__ import annotations

import numpy as np
import pytest
from one_op_graphs import CASES, operands_for
from small_graphs import S8, U8, Draft, exponentials, random_codes

from simulator import kernel_choice
from simulator.executor import Executor
from simulator.gemm import backend
from simulator.graph import verify
from simulator.graph.ops import (
    Add,
    AddShifted,
    LayerNorm,
    Lookup,
    MatMul,
    Mul,
    Softmax,
    SquaredDifference,
)
from simulator.kernel_choice import kernel_of
from simulator.numerics.integer_type import Overflow
from simulator.numerics.jit import has_avx2
from simulator.numerics.rounding import Rounding
from simulator.ops import BEHAVIOURS
from simulator.simd.ops import FORMS

needs_avx2 = pytest.mark.skipif(not has_avx2(), reason="this CPU has no AVX2")
VECTOR, PORTABLE = "simulator.simd.ops.", "simulator.ops."
RANDOM = np.random.default_rng(3)


def codes(*shape):
    return RANDOM.integers(-128, 128, shape).tolist()


def _join(d, op_type, **fields):
    d.operand("b", (5, 16), S8, 9)
    d.op(op_type, "y", "a", "b", **fields)


def _matmul(d):
    weights = d.constant("weights", codes(16, 9), S8)
    d.op(MatMul, "y", "a", weights, multiplier=(1 << 30,), shift=(38,))


def _layer_norm(d):
    fractions = {"sqrt_fraction_bits": 16, "reciprocal_bits": 60, "normalized_fraction_bits": 20}
    d.op(LayerNorm, "y", "a", gamma=[1 << 28] * 16, beta=[5 << 40] * 16, shift=44, **fractions)


def _softmax(d):
    table = exponentials(8, largest=(1 << 30) - 1, half_life=9)
    d.op(Softmax, "y", "a", table=table, reciprocal_bits=60, shift=52, type=U8, zero_point=0)


FACTORS = ((1 << 30, 31), (1981860625, 33), (1434567890, 49))
TYPICAL = {
    MatMul: _matmul,
    Add: lambda d: _join(d, Add, multiplier_a=(5,), multiplier_b=(3,), shift=3),
    LayerNorm: _layer_norm,
    Softmax: _softmax,
    Lookup: lambda d: d.op(Lookup, "y", "a", table=codes(256), type=S8),
    AddShifted: lambda d: _join(d, AddShifted, factors=FACTORS, input_left_shift=20),
    SquaredDifference: lambda d: _join(
        d, SquaredDifference, factors=(*FACTORS[:2], (1918553963, 46)), input_left_shift=7
    ),
    Mul: lambda d: _join(d, Mul, multiplier=(1 << 30,), shift=(36,)),
}


def typical(kind):
    """Return a graph whose last op is of a kind, with numbers as networks have them."""
    d = Draft(Rounding.HALF_UP, Overflow.SATURATE)
    d.input("a", (5, 16), S8, 17 if kind is not Softmax else 0)
    TYPICAL[kind](d)
    graph = d.graph()
    assert verify(graph) == []
    return graph


def chosen(graph, gemm="avx2", **options):
    return kernel_of(graph.ops[-1], graph, backend(gemm), **options)


def computed(graph, kernel):
    known = {**graph.constants, **operands_for(graph)}
    return kernel([known[name] for name in graph.ops[-1].operands])


def test_every_vector_form_has_a_typical_op():
    assert set(TYPICAL) == set(FORMS)


@needs_avx2
@pytest.mark.parametrize("kind", TYPICAL)
def test_a_vector_form_is_taken_by_one_guard(kind, monkeypatch):
    graph = typical(kind)
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
    assert all(kernel.__module__.startswith(PORTABLE) for _, kernel in portable._steps)
    vectors = [kernel.__module__.startswith(VECTOR) for _, kernel in fastest._steps]
    assert any(vectors) == has_avx2()
    first, second = (executor.run(images, taps=taps) for executor in (fastest, portable))
    assert first.counts == second.counts
    assert all(np.array_equal(first.taps[name], second.taps[name]) for name in taps)
