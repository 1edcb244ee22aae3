# SPDX-License-Identifier: Apache-2.0
"""Ops in vector registers: the same integers as the portable kernels of :mod:`simulator.ops`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from simulator.gemm import Gemm
from simulator.graph.graph import IntGraph
from simulator.graph.ops import (
    Add,
    AddShifted,
    LayerNorm,
    Lookup,
    MatMul,
    Mul,
    Op,
    Softmax,
    SquaredDifference,
)
from simulator.ops.behaviour import Kernel
from simulator.simd.ops import add, common_scale, layernorm, lookup, matmul, mul, softmax

__all__ = ["FORMS", "form"]

# Each returns a kernel for batches as ``Behaviour.build`` does, or none where lanes cannot hold the
# op's numbers or do not know its rounding. CPU and compiler are not theirs to ask about.
FORMS: Mapping[type[Op], Callable[[Any, IntGraph, Gemm], Kernel | None]] = MappingProxyType(
    {
        MatMul: matmul.simd_kernel,
        Add: add.simd_kernel,
        LayerNorm: layernorm.simd_kernel,
        Softmax: softmax.simd_kernel,
        Lookup: lookup.simd_kernel,
        AddShifted: common_scale.simd_kernel,
        SquaredDifference: common_scale.simd_kernel,
        Mul: mul.simd_kernel,
    }
)


def form(op: Op, graph: IntGraph, gemm: Gemm) -> Kernel | None:
    """Return an op's kernel in vector registers, None where it has none.

    It runs on x86 CPUs with AVX2 only, compiled: :func:`simulator.kernel_choice.kernel_of` asks.
    """
    build = FORMS.get(type(op))
    return None if build is None else build(op, graph, gemm)
