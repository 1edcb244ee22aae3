# SPDX-License-Identifier: Apache-2.0
"""The kernel of an op: in vector registers where CPU and numbers allow it, portable otherwise."""

from __future__ import annotations

from simulator.gemm import Gemm
from simulator.graph.graph import IntGraph
from simulator.graph.ops import Op
from simulator.numerics.jit import has_avx2
from simulator.ops import BEHAVIOURS, Kernel
from simulator.simd.ops import form


def vector_form(op: Op, graph: IntGraph, gemm: Gemm) -> Kernel | None:
    """Return the kernel of an op in vector registers; none where CPU or numbers do not allow it."""
    return form(op, graph, gemm) if has_avx2() else None


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
    simd = None if portable else vector_form(op, graph, gemm)
    return BEHAVIOURS[type(op)].build(op, graph, gemm) if simd is None else simd
