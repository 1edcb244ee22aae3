# SPDX-License-Identifier: Apache-2.0
"""The kernel of an op: in vector registers where CPU and numbers allow it, portable otherwise."""

from __future__ import annotations

from simulator.gemm import Gemm
from simulator.graph.graph import IntGraph
from simulator.graph.ops import MatMul, Op
from simulator.numerics.jit import has_avx2
from simulator.ops import BEHAVIOURS, Kernel
from simulator.simd.ops import form
from simulator.simd.ops.matmul import has_one_pass


def is_one_pass(op: MatMul, graph: IntGraph) -> bool:
    """Tell whether a product and its requantization are one pass of vector code, by our tiles."""
    return has_avx2() and has_one_pass(op, graph)


def kernel_of(op: Op, graph: IntGraph, gemm: Gemm, *, portable: bool = False) -> Kernel:
    """Return the kernel that runs an op on batches; all its kernels give the same integers.

    Parameters
    ----------
    op, graph
        an op and its graph, which is valid
    gemm
        the backend of matrix products; a MatMul is one pass of vector code with ``avx2`` only
    portable
        whether to leave out vector code, so that both can be compared. With a portable ``gemm``
        (``numba``) nothing but plain loops is left.
    """
    simd = form(op, graph, gemm) if has_avx2() and not portable else None
    return BEHAVIOURS[type(op)].build(op, graph, gemm) if simd is None else simd
