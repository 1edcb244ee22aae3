# SPDX-License-Identifier: Apache-2.0
"""Ops whose SIMD kernel must be taken, and must equal the reference as the portable one does."""

from __future__ import annotations

import numpy as np
import pytest
from one_op_graphs import assert_kernel_equals_reference, operands_for

from simulator.gemm import backend
from simulator.graph import IntGraph, verify
from simulator.kernel_choice import kernel_of
from simulator.numerics.integer_type import Overflow
from simulator.numerics.jit import has_avx2
from simulator.numerics.rounding import Rounding
from simulator.ops import OpResult

RANDOM = np.random.default_rng(11)
every_rounding = pytest.mark.parametrize("rounding", Rounding)
every_fit = pytest.mark.parametrize("overflow", [Overflow.SATURATE, Overflow.SATURATE_SYMMETRIC])
needs_avx2 = pytest.mark.skipif(not has_avx2(), reason="this CPU has no AVX2")


def restart_random() -> None:
    """Begin with the same numbers again."""
    RANDOM.bit_generator.state = np.random.default_rng(11).bit_generator.state


def numbers(low: int, high: int, *shape: int) -> list:
    """Return random whole numbers, both ends included."""
    return RANDOM.integers(low, high, shape, endpoint=True).tolist()


def module_of(graph: IntGraph, gemm: str = "numba") -> str:
    """Return the module of the kernel that is chosen for the graph's last op."""
    kernel = kernel_of(graph.ops[-1], graph, backend(gemm))
    return kernel.__module__.removeprefix("simulator.")


def assert_taken_and_equal(
    graph: IntGraph, module: str, gemm: str = "numba", images: int = 3
) -> OpResult:
    """Compare all kernels with the reference, the one of a module among them; return its result."""
    assert verify(graph) == []
    assert module_of(graph, gemm) == f"simd.ops.{module}"
    return assert_kernel_equals_reference(graph, operands_for(graph, images=images), gemm)
