# SPDX-License-Identifier: Apache-2.0
"""Directed vectors of a product of levels that is divided by their sums."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from simulator.golden.directed.factors import Factors, factors
from simulator.golden.directed.making import Changes, Stimulus, kind_of, remade, stimulus
from simulator.golden.directed.sequences import columns_of, sequences, term_count
from simulator.golden.one_op import OneOp
from simulator.graph.ops import NormalizedMatMul
from simulator.numerics.integer_type import IntArray

TIES = "rows of one level: exact ties and their neighbours, both ends of the result"
SUMS = "sums that leave a register and come back, or stay outside; rows without any level"
SHORT = 80  # terms of sums that no register's end is near


def normalized_matmul(base: OneOp, name: str) -> Iterator[Stimulus]:
    """Yield the directed vectors of a NormalizedMatMul, one case each: its rows are many."""
    op = base.op
    assert isinstance(op, NormalizedMatMul)
    a, b = kind_of(base, "a"), kind_of(base, "b")
    largest = int(base.graph.constants[op.levels].max()) * -b.low
    weights = [1, b.high, b.low, -1]
    chosen = _factors_behind(base, 7, 1)
    single = np.repeat(weights, chosen.count)[None, :]
    codes = np.arange(a.high + 1)[:, None]
    yield _product(base, f"{name}.ties", TIES, codes, single, chosen.each(len(weights)))
    count = term_count(op.accumulator, largest, biased=False) or SHORT
    chosen = _factors_behind(base, 3, count)
    columns = columns_of(count, b.low, b.high)
    matrix = np.repeat(np.array(columns).T, chosen.count, axis=1)
    groups = [level.group for level in op.accumulator.levels if level.group]
    # The first code is the largest level.
    rows = a.high - sequences(count, 0, a.high, groups)
    yield _product(base, f"{name}.sums", SUMS, rows, matrix, chosen.each(len(columns)))


def _factors_behind(base: OneOp, halvings: int, terms: int) -> Factors:
    """Return factors at which products with reciprocals come near the result's width."""
    op = base.op
    assert isinstance(op, NormalizedMatMul)
    levels = int(base.graph.constants[op.levels].max())
    widest = -kind_of(base, "b").low * ((1 << op.reciprocal_bits) + terms * levels)
    spare = max(kind_of(base, "b").bits - kind_of(base, "result").bits, 0)
    return factors(base, halvings, op.reciprocal_bits + spare).within(widest)


def _product(
    base: OneOp, name: str, about: str, left: IntArray, right: IntArray, chosen: Factors
) -> Stimulus:
    """Return one product of two matrices, at a factor for each column."""
    op = base.op
    assert isinstance(op, NormalizedMatMul)
    right = right.T if op.transpose_b else right
    shapes = {"a": left.shape, "b": right.shape}
    one = remade(base, name, Changes(shapes=shapes, constants=chosen.constants))
    return stimulus(one, about, a=left[None], b=right[None])
