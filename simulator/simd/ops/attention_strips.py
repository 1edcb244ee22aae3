# SPDX-License-Identifier: Apache-2.0
"""Scores, softmax and values head by head, a strip of queries at a time: no scores are written out.

The sums of a strip, the codes of its scores, what is added to them, the probabilities and the sums
of the values all stay in the second cache. Keys and values are packed once per head.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.numerics.integer_type import IntArray
from simulator.numerics.jit import kernel
from simulator.simd.lanes.copy_rows import copy_rows
from simulator.simd.lanes.softmax_row import BLOCK
from simulator.simd.ops.add import add_rows_simd
from simulator.simd.ops.softmax import softmax_rows_simd
from simulator.simd.product.forms import Form
from simulator.simd.product.fused import pack_right_pairs, pack_right_quads, requantize_strip
from simulator.simd.product.packing import multiply_from
from simulator.simd.product.tile import TILE_COLUMNS

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
    panels, per_step, terms : the packed right operand, terms of a step, and all with padding
    initial : int32 [padded N], what sums start with
    shifted : what is added to left codes
    codes : left codes [strip, padded K or more]
    sums : int32 [strip, padded N]
    requantizer : constants of :func:`simulator.simd.lanes.requantize_row.requantize_row`
    extremes : int32 [16], results: least and largest sums, lane by lane
    """

    transposed: bool
    panels: IntArray
    per_step: int
    terms: int
    initial: NDArray[np.int32]
    shifted: int
    codes: IntArray
    sums: NDArray[np.int32]
    requantizer: tuple[object, ...]
    extremes: NDArray[np.int32]


# What a :class:`Product` is made of in the kernel, where no call of Python allocates its scratch:
# transposed; an array of the panels' type, how many panels, how long one is; per_step, terms,
# shifted; an array of the left codes' type, how long a row of them is; requantizer.
ProductParts = tuple[bool, IntArray, int, int, int, int, int, IntArray, int, tuple[object, ...]]


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
def matrices_of(fields):
    """Return :class:`Matrices` of their fields."""
    codes, starts, step, rows, columns = fields
    return Matrices(codes, starts, step, rows, columns)


@kernel
def added_of(fields):
    """Return :class:`Added` of its fields."""
    codes, of_head, arguments = fields
    return Added(codes, of_head, arguments)


@kernel
def product_of(parts, strip, extremes):
    """Return the :class:`Product` of strips of so many rows, with its scratch."""
    transposed, of_panels, count, length, per_step, terms, shifted, of_codes, width, last = parts
    return Product(
        transposed,
        np.empty((count, length), of_panels.dtype),
        per_step,
        terms,
        np.empty(count * TILE_COLUMNS, np.int32),
        shifted,
        np.empty((strip, width), of_codes.dtype),
        np.empty((strip, count * TILE_COLUMNS), np.int32),
        last,
        extremes,
    )


@kernel
def take_rows_of(matrices, head, start, count, shifted, out):
    """``out[:count]`` = rows of a head's matrix from ``start`` on, plus ``shifted``."""
    begin = matrices.starts[head] + start * matrices.step
    copy_rows(
        matrices.codes, begin, matrices.step, count, matrices.columns, shifted, out.reshape(-1),
        out.shape[1],
    )  # fmt: skip


@kernel
def right_operand(matrices, product):
    """Allocate a right operand with rows up to whole panels, or zeros up to whole steps."""
    rows = product.panels.shape[0] * TILE_COLUMNS if product.transposed else product.terms
    return np.zeros((rows, matrices.columns), matrices.codes.dtype)


@kernel
def take_right(matrices, head, product, out):
    """Copy a head's matrix into a :func:`right_operand`; its last column fills the last panel."""
    rows = matrices.rows
    take_rows_of(matrices, head, 0, rows, 0, out)
    if product.transposed:
        for i in range(rows, out.shape[0]):
            out[i] = out[rows - 1]


@kernel
def sum_up(product, count):
    """Multiply ``count`` rows of left codes by the packed right operand."""
    sums = product.sums
    multiply_from(
        product.initial, product.codes, count, 0, product.terms, product.panels, product.per_step,
        0, sums.reshape(-1), 0, sums.shape[1],
    )  # fmt: skip


@kernel
def add_constant(codes, added, head, place):
    """Add the codes of a head's matrix from ``place`` on to ``codes``; count what saturates."""
    matrix = added.codes[added.of_head[head]].reshape(-1)
    rows = matrix[place : place + codes.shape[0]]
    return add_rows_simd(codes, rows, *added.arguments, codes.shape[0], codes)


def _attend_by(pack_right: Any) -> Any:
    """Return the kernel of attentions whose right operands are packed in one way."""

    @kernel
    def attend(q, k, v, out_of, strip, products, of_scores, adds, added, softmax, extremes):
        """Write the context of all heads into ``out``; count by op what did not fit.

        Parameters
        ----------
        q, k, v, out_of
            queries, keys, values and context, each the fields of :class:`Matrices` as a plain
            tuple: Numba takes long to tell the types of others. Up to 7 codes are stored behind
            the rows of the context
        strip
            how many queries are taken at a time
        products
            :data:`ProductParts` of scores and context
        of_scores
            an array of the scores' type
        adds, added
            how many Adds follow the scores, and :data:`MOST_ADDS` of :class:`Added`
        softmax
            constants of :func:`simulator.simd.ops.softmax.softmax_rows_simd`, from the table on
        extremes
            int32 [2, 16], results: least and largest sums of scores and context, lane by lane

        Returns
        -------
        int64 [5]
            of scores, two Adds, softmax, context
        """
        queries, keys, values = matrices_of(q), matrices_of(k), matrices_of(v)
        out = matrices_of(out_of)
        scores = product_of(products[0], strip, extremes[0])
        context = product_of(products[1], strip, extremes[1])
        misfits = np.zeros(5, np.int64)
        columns = keys.rows if scores.transposed else keys.columns
        codes = np.empty(strip * columns + BLOCK, of_scores.dtype)
        key, value = right_operand(keys, scores), right_operand(values, context)
        turned_key = np.empty((key.shape[1], key.shape[0]), key.dtype)
        turned_value = np.empty((value.shape[1], value.shape[0]), value.dtype)
        for head in range(out.starts.shape[0]):
            take_right(keys, head, scores, key)
            pack_right(
                key, scores.transposed, turned_key, scores.shifted, scores.panels, scores.initial
            )
            take_right(values, head, context, value)
            pack_right(
                value, context.transposed, turned_value, context.shifted, context.panels,
                context.initial,
            )  # fmt: skip
            for start in range(0, queries.rows, strip):
                count = min(strip, queries.rows - start)
                take_rows_of(queries, head, start, count, scores.shifted, scores.codes)
                sum_up(scores, count)
                misfits[0] += requantize_strip(
                    scores.sums, count, scores.requantizer, scores.extremes, codes, 0, columns
                )
                for number in range(adds):
                    misfits[1 + number] += add_constant(
                        codes[: count * columns], added_of(added[number]), head, start * columns
                    )
                misfits[3] += softmax_rows_simd(
                    codes,
                    count,
                    columns,
                    *softmax,
                    context.codes.reshape(-1),
                    context.codes.shape[1],
                )
                sum_up(context, count)
                place = out.starts[head] + start * out.step
                misfits[4] += requantize_strip(
                    context.sums, count, context.requantizer, context.extremes, out.codes, place,
                    out.step,
                )  # fmt: skip
        return misfits

    return attend


ATTEND: Mapping[Form, Any] = MappingProxyType(
    {Form.PAIRS: _attend_by(pack_right_pairs), Form.VNNI: _attend_by(pack_right_quads)}
)
