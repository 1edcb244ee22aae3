# SPDX-License-Identifier: Apache-2.0
"""MatMul and its requantizer in one pass: the same codes as :mod:`simulator.ops.matmul`."""

from __future__ import annotations

from simulator.gemm import Gemm
from simulator.gemm.avx2 import Avx2Gemm
from simulator.graph.bounds import bounds
from simulator.graph.graph import IntGraph
from simulator.graph.ops import MatMul
from simulator.ops.behaviour import Kernel
from simulator.simd.ops.matmul_fused import fused_kernel
from simulator.simd.ops.matmul_narrow import narrow_kernel


def simd_kernel(op: MatMul, graph: IntGraph, gemm: Gemm) -> Kernel | None:
    """Return a kernel for batches in vector registers, or none where numbers are too wide.

    The product is backend ``avx2``'s own: with any other backend the op is not taken. Nor is one
    onto a residual.
    """
    if not isinstance(gemm, Avx2Gemm) or op.residual:
        return None
    known = bounds(graph, op)
    in_one_pass = fused_kernel if known.proven_free else narrow_kernel
    return in_one_pass(op, graph, known)
