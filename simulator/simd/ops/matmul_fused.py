# SPDX-License-Identifier: Apache-2.0
"""MatMul whose sums provably fit 32 bits: product and requantizer in one pass over memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

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
from simulator.simd.lanes.residual_term import ResidualTerm
from simulator.simd.lanes.vectors import LANES
from simulator.simd.ops.requantizing import (
    AnySimdRequantizer,
    product_requantizer,
    residual_term,
)
from simulator.simd.product.forms import form_of_activations, left_codes, terms_per_step
from simulator.simd.product.fused import MULTIPLY_ACTIVATIONS, multiply_and_requantize
from simulator.simd.product.packing import (
    STRIP_ROWS,
    LeftForm,
    Packed,
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
    requantizer = one_pass_requantizer(op, graph, known)
    if requantizer is None:
        return None
    if graph.is_constant(op.b):
        return _by_weights(op, graph, requantizer)
    return _of_activations(op, graph, requantizer)


def one_pass_requantizer(op: MatMul, graph: IntGraph, known: Bounds) -> AnySimdRequantizer | None:
    """Return what makes codes of 32-bit sums of bytes, or none where there is no such form."""
    bytes_only = all(graph.tensors[name].type.dtype.itemsize == 1 for name in (op.a, op.b))
    narrow = known.accumulator is not None and signed_bits(*known.accumulator) <= LANE_BITS
    if not (bytes_only and narrow and known.proven_free):
        return None
    return product_requantizer(op, graph)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A product with weights in one pass, its constants ready."""

    packed: Packed
    left: LeftForm
    initial: NDArray[np.int32]
    requantizer: tuple[object, ...]
    residual: ResidualTerm | None
    dtype: np.dtype[Any]

    @classmethod
    def of(cls, op: MatMul, graph: IntGraph, requantizer: AnySimdRequantizer) -> Layer | None:
        """Pack the weights; none where sums are too long."""
        weights = graph.constants[op.b]
        packed = pack(weights.T if op.transpose_b else weights)
        if packed.terms > LONGEST_INT32_SUM:
            return None
        left = left_form(packed, graph.tensors[op.a].type.dtype)
        initial = left.initial
        if op.bias:
            bias = graph.constants[op.bias].astype(np.int32)
            initial = initial + padded_columns(bias, len(initial))
        return cls(
            packed=packed,
            left=left,
            initial=initial,
            requantizer=requantizer.arguments,
            residual=residual_term(op, graph),
            dtype=graph.result(op).type.dtype,
        )

    def arguments(
        self, extremes: NDArray[np.int32], operands: Sequence[IntArray]
    ) -> tuple[object, ...]:
        """Return what :func:`multiply_and_requantize` takes between ``a`` and ``out``."""
        packed, left = self.packed, self.left
        residual = (self.residual.arguments(operands[2]),) if self.residual else ()
        return (
            left.shifted,
            packed.panels,
            packed.per_step,
            packed.chunk,
            self.initial,
            np.empty((STRIP_ROWS, packed.padded_terms), left.dtype),
            np.empty((STRIP_ROWS, len(self.initial)), np.int32),
            (*self.requantizer, *residual),
            extremes,
        )


def _by_weights(op: MatMul, graph: IntGraph, requantizer: AnySimdRequantizer) -> Kernel | None:
    """Kernel of a product with weights, packed here, once."""
    layer = Layer.of(op, graph, requantizer)
    if layer is None:
        return None
    terms, columns = layer.packed.terms, layer.packed.columns

    def kernel(operands: Sequence[IntArray]) -> OpResult:
        a = np.ascontiguousarray(operands[0])
        out = PaddedCodes.empty((*a.shape[:-1], columns), layer.dtype)
        extremes = FIRST_SUM.copy()
        saturated = multiply_and_requantize(
            a.reshape(-1, terms), *layer.arguments(extremes, operands), out.flat, 0, columns
        )
        return OpResult(out.codes, int(saturated), sum_counts(extremes))

    return kernel


def _of_activations(op: MatMul, graph: IntGraph, requantizer: AnySimdRequantizer) -> Kernel:
    """Kernel of a product of two activations, one pair of matrices after the other."""
    result = graph.result(op)
    columns = result.shape[-1]
    terms = graph.tensors[op.a].shape[-1]
    left, right = (graph.tensors[name].type.dtype for name in (op.a, op.b))
    form = form_of_activations(right)
    multiply = MULTIPLY_ACTIVATIONS[form]
    codes_dtype, shifted = left_codes(form, left)
    padded = -(-columns // TILE_COLUMNS) * TILE_COLUMNS

    def kernel(operands: Sequence[IntArray]) -> OpResult:
        a, b = (np.ascontiguousarray(operand) for operand in operands)
        out = PaddedCodes.empty((*a.shape[:-1], columns), result.type.dtype)
        extremes = FIRST_SUM.copy()
        saturated = multiply(
            a.reshape(-1, *a.shape[-2:]),
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
        return OpResult(out.codes, int(saturated), sum_counts(extremes))

    return kernel


def sum_counts(extremes: NDArray[np.int32]) -> SumCounts:
    """Return the counts of sums that cannot overflow, by their ends lane by lane, int32 [16]."""
    ends = extremes.tolist()  # a reduction by numpy would let go of the interpreter
    return SumCounts(0, 0, 0, min(ends[:LANES]), max(ends[LANES:]))
