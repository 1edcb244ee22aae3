# SPDX-License-Identifier: Apache-2.0
"""MatMul through one narrow register per sum: overflow is possible, and looked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.graph.graph import IntGraph
from simulator.graph.ops import MatMul
from simulator.graph.ranges import Bounds, code_range, signed_bits
from simulator.numerics.accumulator import Accumulator, BiasStage, OverflowPolicy
from simulator.numerics.integer_type import IntArray, Overflow
from simulator.ops.behaviour import Kernel, OpResult, SumCounts
from simulator.simd.lanes.padded_codes import PaddedCodes
from simulator.simd.lanes.vectors import LANES
from simulator.simd.ops.matmul_fused import FIRST_SUM
from simulator.simd.ops.requantizing import AnySimdRequantizer, product_requantizer, residual_term
from simulator.simd.product.forms import form_of_activations, left_codes, terms_per_step
from simulator.simd.product.narrow import NARROW_ACTIVATIONS, narrow_and_requantize
from simulator.simd.product.narrow_bounds import (
    CHECKED_TERMS,
    CLIPPED_I16,
    CLIPPED_I32,
    FULL_I16,
    LONGEST,
    PANELS,
    WIDEST,
    Reach,
    Register,
    is_checked_often,
    padded_to_checks,
    reach_of,
)
from simulator.simd.product.narrow_flags import FLAGGED_ROWS
from simulator.simd.product.narrow_in_order import TURNED_ROWS, pack_lanes
from simulator.simd.product.packing import (
    STRIP_ROWS,
    empty_panels,
    left_form,
    pack,
    padded_columns,
    padded_terms,
)
from simulator.simd.product.tile import TILE_COLUMNS

GROUP = PANELS * TILE_COLUMNS
HALF_LIMIT = 1 << 15


def narrow_kernel(op: MatMul, graph: IntGraph, known: Bounds) -> Kernel | None:
    """Return a kernel for batches, or none where levels, widths or rounding have no such form."""
    register = _register(op, graph)
    # A partial sum and how far the next may be still fit 32 bits.
    if register is None or known.accumulator is None or signed_bits(*known.accumulator) >= 32:
        return None
    if graph.tensors[op.a].shape[-1] > LONGEST:
        return None
    requantizer = product_requantizer(op, graph)
    if requantizer is None:
        return None
    if graph.is_constant(op.b):
        return _by_weights(op, graph, register, requantizer)
    return _of_activations(op, graph, register, requantizer)


def _register(op: MatMul, graph: IntGraph) -> Register | None:
    """Return the one register, or none: several levels, too wide, or products of 17 bits."""
    if len(op.accumulator.levels) > 1:
        return None
    level = op.accumulator.levels[0]
    corners = [abs(a * b) for a in code_range(graph, op.a) for b in code_range(graph, op.b)]
    narrow = all(graph.tensors[name].type.dtype.itemsize == 1 for name in (op.a, op.b))
    if not narrow or level.bits > WIDEST or max(corners) >= HALF_LIMIT:
        return None
    layout = CLIPPED_I32 if level.bits > 16 else FULL_I16 if level.bits == 16 else CLIPPED_I16
    return Register(
        low=level.kind.low,
        high=level.kind.high,
        wraps=level.overflow is Overflow.WRAP,
        apply=op.accumulator.policy is not OverflowPolicy.REPORT,
        layout=layout,
        often=is_checked_often(max(corners)),
        bias_last=op.bias is not None and op.accumulator.bias is BiasStage.AFTER_LAST_BLOCK,
    )


def _biases(bias: IntArray, accumulator: Accumulator, register: Register) -> NDArray[np.int32]:
    """Return what sums start with, what registers hold then, whether that differs, what is last."""
    none = np.zeros_like(bias)
    first, last = (bias, none)
    if accumulator.bias is BiasStage.AFTER_LAST_BLOCK:
        first, last = (none, bias)
    held = np.clip(first, register.low, register.high)
    return np.stack([first, held, -(held != first).astype(np.int32), last]).astype(np.int32)


@dataclass(frozen=True, slots=True)
class Scratch:
    """Memory of one call."""

    codes: IntArray
    twice: IntArray
    turned: IntArray
    sums: IntArray
    flags: IntArray
    lengths: IntArray
    extremes: NDArray[np.int32]
    counts: NDArray[np.int64]

    @classmethod
    def empty(cls, codes: tuple[int, type[np.integer]], terms: int, padded: int) -> Scratch:
        """Allocate for left codes of a padded length and type."""
        return cls(
            codes=np.empty((STRIP_ROWS, codes[0]), codes[1]),
            twice=np.zeros((STRIP_ROWS, padded_to_checks(terms)), np.int32),
            turned=np.zeros_like(_empty_lanes(terms, TURNED_ROWS)),
            sums=np.empty((STRIP_ROWS, padded), np.int32),
            flags=np.empty((2, STRIP_ROWS // FLAGGED_ROWS, padded // LANES), np.uint8),
            lengths=np.empty((STRIP_ROWS, 1 + -(-terms // CHECKED_TERMS)), np.int32),
            extremes=np.stack([FIRST_SUM, FIRST_SUM]),
            counts=np.zeros(4, np.int64),
        )

    @property
    def arguments(self) -> tuple[IntArray, ...]:
        """Return what the kernels take."""
        return self.codes, self.twice, self.turned, self.sums, self.flags, self.lengths

    def result(self, codes: IntArray, saturated: int) -> OpResult:
        """Return a result with what was counted."""
        ends = self.extremes[0].tolist()
        sums = SumCounts.of(self.counts[:3], min(ends[:LANES]), max(ends[LANES:]))
        return OpResult(codes, saturated, sums, int(self.counts[3]))


def _by_weights(
    op: MatMul, graph: IntGraph, register: Register, requantizer: AnySimdRequantizer
) -> Kernel | None:
    """Kernel of a product with weights, packed and measured here, once."""
    result = graph.result(op)
    weights = graph.constants[op.b]
    weights = np.ascontiguousarray(weights.T if op.transpose_b else weights)
    packed = pack(weights, PANELS)
    padded = len(packed.column_sums)
    lanes = _empty_lanes(packed.terms, padded)
    pack_lanes(weights, lanes)
    centre = graph.tensors[op.a].zero_point
    left = left_form(packed, graph.tensors[op.a].type.dtype)
    reach = reach_of(weights, padded, centre, left.shifted)
    bias = np.zeros(packed.columns, np.int64)
    if op.bias:
        bias = graph.constants[op.bias].astype(np.int64)
    biases = padded_columns(_biases(bias, op.accumulator, register), padded)
    biases[0] += left.initial
    onto = residual_term(op, graph)

    def kernel(operands: Sequence[IntArray]) -> OpResult:
        a = np.ascontiguousarray(operands[0])
        residual = (onto.arguments(operands[2]),) if onto else ()
        out = PaddedCodes.empty((*a.shape[:-1], packed.columns), result.type.dtype)
        scratch = Scratch.empty((packed.padded_terms, left.dtype), packed.terms, padded)
        saturated = narrow_and_requantize(
            a.reshape(-1, packed.terms),
            centre,
            left.shifted,
            packed.panels,
            packed.per_step,
            packed.chunk,
            weights,
            lanes,
            np.array([True, False]),
            reach.arguments,
            biases,
            register.arguments,
            *scratch.arguments,
            (*requantizer.arguments, *residual),
            scratch.extremes,
            scratch.counts,
            out.flat,
            0,
            packed.columns,
        )
        return scratch.result(out.codes, int(saturated))

    return kernel


def _of_activations(
    op: MatMul, graph: IntGraph, register: Register, requantizer: AnySimdRequantizer
) -> Kernel:
    """Kernel of a product of two activations, one pair of matrices after the other."""
    result = graph.result(op)
    columns = result.shape[-1]
    terms = graph.tensors[op.a].shape[-1]
    left, right = (graph.tensors[name].type.dtype for name in (op.a, op.b))
    form = form_of_activations(right)
    codes_dtype, shifted = left_codes(form, left)
    padded = -(-columns // GROUP) * GROUP

    def kernel(operands: Sequence[IntArray]) -> OpResult:
        a, b = (np.ascontiguousarray(operand) for operand in operands)
        out = PaddedCodes.empty((*a.shape[:-1], columns), result.type.dtype)
        scratch = Scratch.empty((padded_terms(terms, form), codes_dtype), terms, padded)
        saturated = NARROW_ACTIVATIONS[form](
            a.reshape(-1, *a.shape[-2:]),
            b.reshape(-1, *b.shape[-2:]),
            op.transpose_b,
            shifted,
            empty_panels(terms, columns, form, PANELS),
            terms_per_step(form),
            _empty_lanes(terms, padded),
            np.zeros(2, np.bool_),
            Reach.empty(terms, padded).arguments,
            np.zeros((4, padded), np.int32),
            register.arguments,
            *scratch.arguments,
            requantizer.arguments,
            scratch.extremes,
            scratch.counts,
            out.flat,
        )
        return scratch.result(out.codes, int(saturated))

    return kernel


def _empty_lanes(terms: int, padded: int) -> NDArray[np.int16]:
    """Return zeros in place of the right operand's codes as ordered accumulation reads them."""
    return np.zeros((padded // GROUP, padded_to_checks(terms) * GROUP), np.int16)
