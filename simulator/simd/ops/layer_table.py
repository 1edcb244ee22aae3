# SPDX-License-Identifier: Apache-2.0
"""A layer and the table that its codes pass, as one kernel: strip by strip, still in cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from simulator.gemm import Gemm
from simulator.gemm.avx2 import Avx2Gemm
from simulator.graph.bounds import bounds
from simulator.graph.graph import IntGraph
from simulator.graph.ops import Lookup, MatMul, Op
from simulator.numerics.integer_type import IntArray
from simulator.numerics.jit import kernel as compiled
from simulator.ops.behaviour import GroupKernel, InnerResult, OpResult
from simulator.simd.lanes.padded_codes import PaddedCodes
from simulator.simd.ops.lookup import look_up_in_parts, tables_of
from simulator.simd.ops.matmul_fused import FIRST_SUM, Layer, one_pass_requantizer, sum_counts
from simulator.simd.product.fused import multiply_and_requantize
from simulator.simd.product.packing import STRIP_ROWS


def find(graph: IntGraph, first: Op, following: Sequence[Op]) -> Sequence[Op]:
    """Return a product with weights and the table behind it; none if there are no such.

    ``following`` are the ops behind ``first`` of which each is the only reader of the one before.
    """
    if not following or not isinstance(first, MatMul) or not graph.is_constant(first.b):
        return ()
    return (first, following[0]) if isinstance(following[0], Lookup) else ()


def simd_kernel(
    ops: Sequence[Op], graph: IntGraph, gemm_of: Callable[[Op], Gemm]
) -> GroupKernel | None:
    """Return a kernel of the ops that :func:`find` gives, or none where one has no such form."""
    product, lookup = ops
    assert isinstance(product, MatMul)
    assert isinstance(lookup, Lookup)
    if not isinstance(gemm_of(product), Avx2Gemm) or product.residual:
        return None
    requantizer = one_pass_requantizer(product, graph, bounds(graph, product))
    bytes_only = all(
        graph.tensors[name].type.dtype.itemsize == 1 for name in (product.name, lookup.name)
    )
    layer = Layer.of(product, graph, requantizer) if requantizer and bytes_only else None
    if layer is None:
        return None
    terms, columns = layer.packed.terms, layer.packed.columns
    tables = tables_of(lookup, graph)

    def kernel(operands: Sequence[IntArray]) -> tuple[Sequence[InnerResult], OpResult]:
        a = np.ascontiguousarray(operands[0])
        out = PaddedCodes.empty((*a.shape[:-1], columns), tables[1].dtype)
        extremes = FIRST_SUM.copy()
        saturated = multiply_and_look_up(
            a.reshape(-1, terms),
            layer.arguments(extremes, operands),
            out.flat.view(layer.dtype),
            columns,
            out.flat.view(np.uint8),
            *tables,
            out.flat,
        )
        inner = InnerResult(out.codes.size, int(saturated), sum_counts(extremes))
        return [inner], OpResult(out.codes)

    return kernel


@compiled
def multiply_and_look_up(a, layer, codes, columns, patterns, parts, table, out):
    """Write ``table[requantize(a @ b)]`` into ``out``; count what saturates before the table.

    Parameters
    ----------
    a
        codes [M, K]
    layer
        what :func:`~simulator.simd.product.fused.multiply_and_requantize` takes behind ``a``
    codes, patterns
        the memory of ``out``, as codes of the product and as unsigned bytes
    parts, table
        see :func:`~simulator.simd.ops.lookup.look_up_in_parts`
    out
        flat codes, with room behind the last row
    """
    saturated = 0
    for start in range(0, a.shape[0], STRIP_ROWS):
        strip = a[start : start + STRIP_ROWS]
        begin = start * columns
        saturated += multiply_and_requantize(strip, *layer, codes, begin, columns)
        end = begin + strip.shape[0] * columns
        look_up_in_parts(patterns[begin:end], parts, table, out[begin:end])
    return saturated
