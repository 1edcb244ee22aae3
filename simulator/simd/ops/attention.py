# SPDX-License-Identifier: Apache-2.0
"""Scores, what is added to them, softmax and values as one kernel: no scores are written out."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.gemm import Gemm
from simulator.gemm.avx2 import Avx2Gemm
from simulator.graph.bounds import bounds
from simulator.graph.graph import IntGraph
from simulator.graph.ops import Add, MatMul, Op, Softmax
from simulator.numerics.integer_type import IntArray
from simulator.ops.behaviour import GroupKernel, InnerResult, OpResult
from simulator.simd.lanes.padded_codes import PADDING
from simulator.simd.lanes.vectors import LANES
from simulator.simd.ops.add import add_constants
from simulator.simd.ops.attention_strips import ATTEND, MOST_ADDS, ProductParts
from simulator.simd.ops.matmul_fused import FIRST_SUM, one_pass_requantizer, sum_counts
from simulator.simd.ops.softmax import softmax_constants
from simulator.simd.product.forms import Form, form_of_activations, left_codes, terms_per_step
from simulator.simd.product.packing import empty_panels, padded_terms
from simulator.simd.product.tile import TILE_ROWS, VNNI_ROWS

STRIP_ROWS = 60  # at most: sums of a few hundred tokens stay in the second cache
WRITTEN_AT_ONCE = 16  # probabilities
FIRST_SUMS = np.stack([FIRST_SUM, FIRST_SUM])
# What a kernel takes in place of an Add that is not there: numbers of the same types.
_FACTORS = np.zeros(LANES, np.int32)
_PARTS = np.zeros((3, LANES), np.int64)
NOTHING = (
    np.zeros((1, 1, 1), np.int8),
    np.zeros(1, np.int64),
    (_FACTORS, _FACTORS, 0, 0, True, _PARTS[0], _PARTS[:, 0], 0, 0, 0, 0),
)
Fields = tuple[IntArray, NDArray[np.int64], int, int, int]  # of Matrices


def find(graph: IntGraph, first: Op, following: Sequence[Op]) -> Sequence[Op]:
    """Return the ops of an attention that begins with ``first``; none if there is none.

    ``following`` are the ops behind it of which each is the only reader of the one before.
    """
    if not isinstance(first, MatMul) or graph.is_constant(first.b):
        return ()
    adds = 0
    while adds < len(following) and isinstance(following[adds], Add):
        adds += 1
    chain = (first, *following[: adds + 2])
    if len(chain) < adds + 3 or adds > MOST_ADDS:
        return ()
    softmax, values = chain[-2:]
    is_attention = isinstance(softmax, Softmax) and isinstance(values, MatMul)
    if not is_attention or any(
        op.operands[0] != before.name or op.operands.count(before.name) > 1
        for before, op in itertools.pairwise(chain)
    ):
        return ()
    return chain


@dataclass(frozen=True, slots=True, kw_only=True)
class _Factor:
    """One of both products, for matrices of any number of rows."""

    transposed: bool
    form: Form
    shifted: int
    left_dtype: type[np.integer]
    requantizer: tuple[object, ...]
    dtype: np.dtype[Any]

    @classmethod
    def of(cls, op: MatMul, graph: IntGraph, form: Form) -> _Factor | None:
        """Return how a product is made in one pass, or none where its numbers are too wide."""
        requantizer = one_pass_requantizer(op, graph, bounds(graph, op))
        if requantizer is None:
            return None
        left, shifted = left_codes(form, graph.tensors[op.a].type.dtype)
        return cls(
            transposed=op.transpose_b,
            form=form,
            shifted=shifted,
            left_dtype=left,
            requantizer=requantizer.arguments,
            dtype=graph.result(op).type.dtype,
        )

    def parts(self, terms: int, columns: int, left_multiple: int) -> ProductParts:
        """Return what the kernel takes; rows of left codes get room for a multiple of so many."""
        panels = empty_panels(terms, columns, self.form)
        needed = padded_terms(terms, self.form)
        return (
            self.transposed,
            panels[:0],
            *panels.shape,
            terms_per_step(self.form),
            needed,
            self.shifted,
            np.empty(0, self.left_dtype),
            -(-needed // left_multiple) * left_multiple,
            self.requantizer,
        )


def simd_kernel(
    ops: Sequence[Any], graph: IntGraph, gemm_of: Callable[[Op], Gemm]
) -> GroupKernel | None:
    """Return a kernel of the ops that :func:`find` gives, or none where one has no such form.

    Its operands are those of all ops that no op of the group makes, in order.
    """
    first, *between, normalized, last = ops
    tiles = all(isinstance(gemm_of(op), Avx2Gemm) for op in (first, last))
    if not tiles or first.residual or last.residual:
        return None
    forms = {form_of_activations(graph.tensors[op.b].type.dtype) for op in (first, last)}
    form = forms.pop() if len(forms) == 1 else Form.PAIRS
    scores, context = _Factor.of(first, graph, form), _Factor.of(last, graph, form)
    added = [add_constants(op, graph) for op in between]
    columns = graph.result(first).shape[-1]
    if scores is None or context is None or columns < LANES:
        return None
    softmax = softmax_constants(normalized, graph, context.shifted)
    alike = all(graph.result(op).type.dtype == scores.dtype for op in between) and all(
        graph.is_constant(op.b)
        and graph.tensors[op.b].type.dtype == np.int8
        and graph.tensors[op.b].shape[-2:] == graph.result(op).shape[-2:]
        for op in between
    )
    if softmax is None or not alike or any(one is None or not one.uniform for one in added):
        return None
    arguments = [one.arguments for one in added if one is not None]
    depth = graph.tensors[first.a].shape[-1]
    width = graph.result(last).shape[-1]
    products = (scores.parts(depth, columns, 1), context.parts(columns, width, WRITTEN_AT_ONCE))
    attend, tile = ATTEND[form], TILE_ROWS if form is Form.PAIRS else VNNI_ROWS
    of_scores, softmax_arguments = np.empty(0, scores.dtype), softmax.arguments

    def kernel(operands: Sequence[IntArray]) -> tuple[Sequence[InnerResult], OpResult]:
        q, k, *constants, v = operands
        assert all(codes.shape[-2] == q.shape[-2] for codes in constants)
        leading, rows = q.shape[:-2], q.shape[-2]
        out, result = _empty(leading, rows, width, context.dtype)
        extremes = FIRST_SUMS.copy()
        misfits = attend(
            _matrices(q),
            _matrices(k),
            _matrices(v),
            out,
            _strip_rows(rows, tile),
            products,
            of_scores,
            len(constants),
            _all_added(constants, arguments, leading),
            softmax_arguments,
            extremes,
        ).tolist()
        made = prod(leading) * rows * columns
        sums = [sum_counts(ends) for ends in extremes]
        inner = [InnerResult(made, misfits[0], sums[0])]
        inner += [InnerResult(made, misfits[1 + i]) for i in range(len(constants))]
        inner.append(InnerResult(made, misfits[3]))
        return inner, OpResult(result, misfits[4], sums[1])

    return kernel


def _strip_rows(rows: int, tile: int) -> int:
    """Return how many rows each strip has, whole tiles: the last is not much shorter."""
    strips = -(-rows // (STRIP_ROWS // tile * tile))
    return -(-rows // (strips * tile)) * tile


def _matrices(codes: IntArray) -> Fields:
    """Return where the kernel finds matrices [..., rows, columns]: mostly without a copy."""
    if codes.strides[-1] != codes.itemsize or min(codes.strides) < 0:
        codes = np.ascontiguousarray(codes)
    starts, size = _places(codes.shape, codes.strides)
    flat = np.lib.stride_tricks.as_strided(codes, (size,), codes.strides[-1:])
    return (flat, starts, codes.strides[-2], *codes.shape[-2:])


@lru_cache(maxsize=64)
def _places(shape: tuple[int, ...], strides: tuple[int, ...]) -> tuple[NDArray[np.int64], int]:
    """Return where matrices of bytes begin, and how much memory they span."""
    starts = np.zeros((), np.int64)
    for extent, stride in zip(shape[:-2], strides[:-2], strict=True):
        starts = starts[..., None] + np.arange(extent) * stride
    return starts.reshape(-1), int(starts.max()) + (shape[-2] - 1) * strides[-2] + shape[-1]


def _empty(
    leading: tuple[int, ...], rows: int, width: int, dtype: np.dtype[Any]
) -> tuple[Fields, IntArray]:
    """Allocate the result [..., heads, rows, width]; also return it as the kernel takes it.

    Where nothing is stored behind a row, rows of all heads stand side by side, as the next layer
    takes them.
    """
    *outer, heads = leading
    side_by_side = width % LANES == 0 and bool(outer)
    shape = (*outer, rows, heads, width) if side_by_side else (*leading, rows, width)
    flat = np.empty(prod(shape) + PADDING, dtype)
    result = flat[: prod(shape)].reshape(shape)
    if side_by_side:
        result = result.swapaxes(-2, -3)
    starts, _ = _places(result.shape, result.strides)
    return (flat, starts, result.strides[-2], rows, width), result


def _all_added(
    constants: Sequence[IntArray], arguments: Sequence[tuple[object, ...]], leading: tuple[int, ...]
) -> tuple[tuple[object, ...], ...]:
    """Return what is added, as many as the kernel takes; it does not look at the last ones.

    All can be written, though nobody does: to Numba others are of another type.
    """
    found = []
    for codes, of_op in zip(constants, arguments, strict=True):
        matrices = np.require(codes, requirements=("C", "W")).reshape(-1, *codes.shape[-2:])
        found.append((matrices, _matrix_of_head(codes.shape[:-2], leading), of_op))
    return (*found, *[found[0] if found else NOTHING] * (MOST_ADDS - len(found)))


@lru_cache(maxsize=64)
def _matrix_of_head(shape: tuple[int, ...], leading: tuple[int, ...]) -> NDArray[np.int64]:
    """Return which matrix each head takes of a constant that has ``shape`` of them."""
    numbers = np.arange(prod(shape)).reshape(shape)
    copy = np.array(np.broadcast_to(numbers, leading))  # the view can only be read
    return copy.reshape(-1)
