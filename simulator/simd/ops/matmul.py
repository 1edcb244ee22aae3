# SPDX-License-Identifier: Apache-2.0
"""MatMul and its requantizer in one pass: the same codes as :mod:`simulator.ops.matmul`."""

from __future__ import annotations

from simulator.gemm import Gemm
from simulator.gemm.avx2 import Avx2Gemm
from simulator.graph.bounds import bounds
from simulator.graph.graph import IntGraph
from simulator.graph.ops import MatMul
from simulator.graph.ranges import signed_bits
from simulator.ops.behaviour import Kernel
from simulator.simd.lanes.requantization import LANE_BITS
from simulator.simd.ops.matmul_fused import fused_kernel
from simulator.simd.ops.matmul_narrow import narrow_kernel
from simulator.simd.ops.requantizing import product_requantizer


def has_one_pass(op: MatMul, graph: IntGraph) -> bool:
    """Tell whether an op has such a kernel with backend ``avx2``, without packing its weights."""
    known = bounds(graph, op)
    bytes_only = all(graph.tensors[name].type.dtype.itemsize == 1 for name in (op.a, op.b))
    if not bytes_only or known.accumulator is None:
        return False
    one_register = known.proven_free or len(op.accumulator.levels) == 1
    fits = signed_bits(*known.accumulator) <= LANE_BITS
    return one_register and fits and product_requantizer(op, graph) is not None


def simd_kernel(op: MatMul, graph: IntGraph, gemm: Gemm) -> Kernel | None:
    """Return a kernel for batches in vector registers, or none where numbers are too wide.

    The product is backend ``avx2``'s own: with any other backend the op is not taken.
    """
    if not isinstance(gemm, Avx2Gemm):
        return None
    known = bounds(graph, op)
    in_one_pass = fused_kernel if known.proven_free else narrow_kernel
    return in_one_pass(op, graph, known)
