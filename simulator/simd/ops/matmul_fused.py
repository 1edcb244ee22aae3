# SPDX-License-Identifier: Apache-2.0
"""MatMul whose sums provably fit 32 bits: product and requantizer in one pass over memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from simulator.gemm.protocol import LONGEST_INT32_SUM
from simulator.graph.graph import IntGraph
from simulator.graph.ops import MatMul
from simulator.graph.ranges import Bounds, signed_bits
from simulator.numerics.integer_type import IntArray
from simulator.ops.behaviour import Kernel, OpResult, SumCounts
from simulator.simd.lanes.padded_codes import PaddedCodes
from simulator.simd.lanes.requantization import LANE_BITS
from simulator.simd.lanes.vectors import LANES
from simulator.simd.ops.requantizing import AnySimdRequantizer, simd_requantizer
from simulator.simd.product.forms import form_of_activations, left_codes, terms_per_step
from simulator.simd.product.fused import MULTIPLY_ACTIVATIONS, multiply_and_requantize
from simulator.simd.product.packing import (
    STRIP_ROWS,
    empty_panels,
    left_form,
    pack,
    padded_columns,
    padded_terms,
)
from simulator.simd.product.tile import TILE_COLUMNS

FIRST_SUM = np.repeat(np.array([(1 << 31) - 1, -(1 << 31)], np.int32), LANES)


def fused_kernel(op: MatMul, graph: IntGraph, known: Bounds) -> Kernel | None:
    """Return a kernel for batches, or none where widths or rounding have no such form."""
    bytes_only = all(graph.tensors[name].type.dtype.itemsize == 1 for name in (op.a, op.b))
    if not bytes_only or known.accumulator is None or signed_bits(*known.accumulator) > LANE_BITS:
        return None
    requantizer = simd_requantizer(graph, op.requantize, graph.result(op))
    if requantizer is None:
        return None
    if graph.is_constant(op.b):
        return _by_weights(op, graph, requantizer)
    return _of_activations(op, graph, requantizer)


def _by_weights(op: MatMul, graph: IntGraph, requantizer: AnySimdRequantizer) -> Kernel | None:
    """Kernel of a product with weights, packed here, once."""
    result = graph.result(op)
    weights = graph.constants[op.b]
    packed = pack(weights.T if op.transpose_b else weights)
    if packed.terms > LONGEST_INT32_SUM:
        return None
    left = left_form(packed, graph.tensors[op.a].type.dtype)
    initial = left.initial
    if op.bias:
        initial = initial + padded_columns(graph.constants[op.bias].astype(np.int32), len(initial))

    def kernel(operands: Sequence[IntArray]) -> OpResult:
        a = np.ascontiguousarray(operands[0])
        out = PaddedCodes.empty((len(a), *result.shape), result.type.dtype)
        extremes = FIRST_SUM.copy()
        saturated = multiply_and_requantize(
            a.reshape(-1, packed.terms),
            left.shifted,
            packed.panels,
            packed.per_step,
            packed.chunk,
            initial,
            np.empty((STRIP_ROWS, packed.padded_terms), left.dtype),
            np.empty((STRIP_ROWS, len(initial)), np.int32),
            requantizer.arguments,
            extremes,
            out.flat,
            0,
            packed.columns,
        )
        return OpResult(out.codes, int(saturated), _counts(extremes))

    return kernel


def _of_activations(op: MatMul, graph: IntGraph, requantizer: AnySimdRequantizer) -> Kernel:
    """Kernel of a product of two activations, one pair of matrices after the other."""
    result = graph.result(op)
    rows, columns = result.shape[-2:]
    terms = graph.tensors[op.a].shape[-1]
    left, right = (graph.tensors[name].type.dtype for name in (op.a, op.b))
    form = form_of_activations(right)
    multiply = MULTIPLY_ACTIVATIONS[form]
    codes_dtype, shifted = left_codes(form, left)
    padded = -(-columns // TILE_COLUMNS) * TILE_COLUMNS

    def kernel(operands: Sequence[IntArray]) -> OpResult:
        a, b = (np.ascontiguousarray(operand) for operand in operands)
        out = PaddedCodes.empty((len(a), *result.shape), result.type.dtype)
        extremes = FIRST_SUM.copy()
        saturated = multiply(
            a.reshape(-1, rows, terms),
            b.reshape(-1, *b.shape[-2:]),
            op.transpose_b,
            shifted,
            empty_panels(terms, columns, form),
            terms_per_step(form),
            np.empty(padded, np.int32),
            np.empty((STRIP_ROWS, padded_terms(terms, form)), codes_dtype),
            np.empty((STRIP_ROWS, padded), np.int32),
            requantizer.arguments,
            extremes,
            out.flat,
        )
        return OpResult(out.codes, int(saturated), _counts(extremes))

    return kernel


def _counts(extremes: NDArray[np.int32]) -> SumCounts:
    return SumCounts(0, 0, 0, int(extremes[:LANES].min()), int(extremes[LANES:].max()))
