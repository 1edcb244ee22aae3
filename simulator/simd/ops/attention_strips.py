# SPDX-License-Identifier: Apache-2.0
"""Scores, softmax and values head by head, a strip of queries at a time: no scores are written out.

The sums of a strip, the codes of its scores, what is added to them, the probabilities and the sums
of the values all stay in the second cache. Keys and values are packed once per head.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.numerics.integer_type import IntArray
from simulator.numerics.jit import kernel
from simulator.simd.ops.add import add_rows_simd
from simulator.simd.ops.softmax import softmax_rows_simd
from simulator.simd.product.fused import pack_activations, requantize_strip
from simulator.simd.product.packing import multiply_terms, start_sums, take_rows

MOST_ADDS = 2  # between scores and softmax: a bias of positions, and a mask


class Matrices(NamedTuple):
    """The matrices of codes of all heads, rows contiguous.

    codes : flat memory that holds them
    starts : int64 [heads], where each begins
    step : from one row to the next
    rows, columns : of each
    """

    codes: IntArray
    starts: NDArray[np.int64]
    step: int
    rows: int
    columns: int


class Product(NamedTuple):
    """What a product of a strip and the right operand of a head takes; scratch where not said.

    transposed : whether the right operand is [N, K]
    signed : whether it is of signed bytes
    panels, per_step, initial : see :func:`simulator.simd.product.fused.pack_activations`
    shifted : what is added to left codes
    codes : left codes [strip, padded K or more]
    sums : int32 [strip, padded N]
    requantizer : constants of :func:`simulator.simd.lanes.requantize_row.requantize_row`
    extremes : int32 [16], results: least and largest sums, lane by lane
    """

    transposed: bool
    signed: bool
    panels: IntArray
    per_step: int
    initial: NDArray[np.int32]
    shifted: int
    codes: IntArray
    sums: NDArray[np.int32]
    requantizer: tuple[object, ...]
    extremes: NDArray[np.int32]


class Added(NamedTuple):
    """A constant that is added to the scores.

    codes : its matrices [matrices, rows, columns]
    of_head : int64 [heads], the matrix of each head
    arguments : constants of :func:`simulator.simd.ops.add.add_rows_simd`, between b and the columns
    """

    codes: IntArray
    of_head: NDArray[np.int64]
    arguments: tuple[object, ...]


@kernel
def attend(queries, keys, values, scores, codes, adds, added, softmax, context, out):
    """Write the context of all heads into ``out``; count by op what did not fit.

    Parameters
    ----------
    queries, keys, values, out
        :class:`Matrices`; up to 7 codes are stored behind the rows of ``out``
    scores, context
        :class:`Product`
    codes
        scratch: the scores of a strip, flat, and 64 codes behind them that may be read
    adds, added
        how many Adds follow the scores, and :data:`MOST_ADDS` of :class:`Added`: of these or any
    softmax
        constants of :func:`simulator.simd.ops.softmax.softmax_rows_simd`, from the table on

    Returns
    -------
    int64 [5]
        of scores, two Adds, softmax, context
    """
    misfits = np.zeros(5, np.int64)
    columns = keys.rows if scores.transposed else keys.columns
    strip = scores.codes.shape[0]
    left = np.empty((strip, queries.columns), queries.codes.dtype)
    key = np.empty((keys.rows, keys.columns), keys.codes.dtype)
    value = np.empty((values.rows, values.columns), values.codes.dtype)
    for head in range(out.starts.shape[0]):
        pack_matrix(keys, head, key, scores)
        pack_matrix(values, head, value, context)
        for start in range(0, queries.rows, strip):
            count = min(strip, queries.rows - start)
            take_matrix(queries, head, start, count, left)
            take_rows(left, 0, count, scores.shifted, scores.codes)
            sum_up(scores, count)
            misfits[0] += requantize_strip(
                scores.sums, count, scores.requantizer, scores.extremes, codes, 0, columns
            )
            for number in range(adds):
                misfits[1 + number] += add_constant(
                    codes[: count * columns], added[number], head, start * columns
                )
            misfits[3] += softmax_rows_simd(
                codes, count, columns, *softmax, context.codes.reshape(-1), context.codes.shape[1]
            )
            sum_up(context, count)
            place = out.starts[head] + start * out.step
            misfits[4] += requantize_strip(
                context.sums, count, context.requantizer, context.extremes, out.codes, place,
                out.step,
            )  # fmt: skip
    return misfits


@kernel
def take_matrix(matrices, head, start, count, out):
    """Copy ``count`` rows of a head's matrix from ``start`` on."""
    for i in range(count):
        place = matrices.starts[head] + (start + i) * matrices.step
        row = matrices.codes[place : place + matrices.columns]
        for k in range(matrices.columns):
            out[i, k] = row[k]


@kernel
def pack_matrix(matrices, head, matrix, product):
    """Pack a head's matrix, by way of ``matrix``, as the right operand of a product."""
    take_matrix(matrices, head, 0, matrices.rows, matrix)
    pack_activations(
        matrix, product.transposed, product.signed, product.panels, product.shifted, product.initial
    )


@kernel
def sum_up(product, count):
    """Multiply ``count`` rows of left codes by the packed right operand."""
    start_sums(product.initial, count, product.sums)
    terms = product.panels.shape[1] * product.panels.itemsize // 64 * product.per_step
    multiply_terms(
        product.codes, count, 0, terms, product.panels, product.per_step, 0, product.sums
    )


@kernel
def add_constant(codes, added, head, place):
    """Add the codes of a head's matrix from ``place`` on to ``codes``; count what saturates."""
    matrix = added.codes[added.of_head[head]].reshape(-1)
    rows = matrix[place : place + codes.shape[0]]
    return add_rows_simd(codes, rows, *added.arguments, codes.shape[0], codes)
