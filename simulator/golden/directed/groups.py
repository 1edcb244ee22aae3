# SPDX-License-Identifier: Apache-2.0
"""Directed vectors of rotations, and of codes with a scale for each group."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from simulator.golden.directed.factors import factors
from simulator.golden.directed.making import (
    Changes,
    Stimulus,
    every_code,
    kind_of,
    remade,
    stimulus,
)
from simulator.golden.directed.rows import value_rows
from simulator.golden.one_op import OneOp
from simulator.graph.bounds import intermediates
from simulator.graph.ops import (
    GroupExponent,
    GroupMaximum,
    GroupQuantize,
    GroupShift,
    Hadamard,
)
from simulator.numerics.integer_type import IntArray, IntType

ONE_IN_A_ROW = "rows with one value: all codes, or ends and powers of two; constant ones, at random"
MOST_CODES = 1 << 9
MOST_ZEROS = 16


def hadamard(base: OneOp, name: str) -> Iterator[Stimulus]:
    """Yield rows whose sums are single codes, at every factor, and rows that sum up."""
    op = base.op
    assert isinstance(op, Hadamard)
    zero = base.graph.tensors[op.a].zero_point
    found = {one.name: one for one in intermediates(base.graph, op)}
    chosen = factors(base).within(max(map(abs, found["sum"].interval)))
    channels = -(-chosen.count // op.order) * op.order
    each = chosen.chosen(np.arange(channels) % chosen.count)
    one = remade(
        base, f"{name}.ties", Changes(shapes={"a": (1, channels)}, constants=each.constants)
    )
    yield stimulus(one, ONE_IN_A_ROW, a=_one_in_a_row(kind_of(base, "a"), op.order, channels, zero))


def _one_in_a_row(kind: IntType, length: int, channels: int, zero: int) -> IntArray:
    """Return rows of blocks [length] with one value among codes of 0, and others."""
    codes = every_code(kind, MOST_CODES)
    place = np.arange(channels) % length
    wanted = np.random.default_rng(17).integers(0, length, len(codes))
    wanted[: len(codes) // 2] = 0  # where no row has a -1, or only rows that begin with one
    rows = np.where(place == wanted[:, None], codes[:, None], zero)
    return np.concatenate([rows, value_rows(kind, channels, zero)])


def scales(base: OneOp, name: str) -> Iterator[Stimulus]:
    """Yield groups with one value, constant ones and random ones for a maximum or an exponent."""
    op = base.op
    assert isinstance(op, GroupMaximum | GroupExponent)
    zero = base.graph.tensors[op.a].zero_point
    one = remade(base, f"{name}.codes", Changes(shapes={"a": (1, op.group)}))
    kind = kind_of(base, "a")
    rows = _one_in_a_row(kind, op.group, op.group, zero)
    if isinstance(op, GroupExponent) and op.trim:
        rows = np.concatenate([rows, _beside_powers(kind, op.group, op.trim, zero)])
    yield stimulus(one, ONE_IN_A_ROW, a=rows)


def _beside_powers(kind: IntType, length: int, trim: int, zero: int) -> IntArray:
    """Return rows with one magnitude of which a power of two is left, or just less than one."""
    parts = (1 << trim) - 1
    least = {-(-(1 << places << trim) // parts) for places in range(kind.bits + 1)}
    near = {one + step for one in least for step in (-2, -1, 0, 1)}
    codes = sorted({zero + one for one in near} | {zero - one for one in near})
    rows = np.full((len(codes), length), zero)
    rows[:, 0] = codes
    return rows[(rows[:, 0] >= kind.low) & (rows[:, 0] <= kind.high)].astype(kind.dtype)


def group_quantize(base: OneOp, name: str) -> Iterator[Stimulus]:
    """Yield all codes with maxima whose reciprocals end in most zeros, and other maxima.

    Only these have codes halfway between two others: powers of two, or what is next to them.
    """
    op = base.op
    assert isinstance(op, GroupQuantize)
    kind = kind_of(base, "maximum")
    reciprocals = op.numerator // np.arange(1, kind.high + 1, dtype=np.int64)
    zeros = reciprocals & -reciprocals
    maxima = {*(1 + np.argsort(-zeros, kind="stable")[:MOST_ZEROS]).tolist()}
    odd = op.numerator // (op.numerator & -op.numerator)
    maxima |= {odd << places for places in range(kind.bits)}
    maxima |= {0, 1, 2, 3, 5, 11, 100, kind.high - 1, kind.high}
    maxima |= {*np.random.default_rng(18).integers(1, kind.high, 12, endpoint=True).tolist()}
    chosen = np.array(sorted(one for one in maxima if one <= kind.high))
    yield _all_codes_with(base, name, "maximum", chosen, _ties(base, chosen))


def _ties(base: OneOp, maxima: IntArray) -> IntArray:
    """Return codes of which the product with a maximum's reciprocal is an odd half of 2^shift."""
    op = base.op
    assert isinstance(op, GroupQuantize)
    kind, zero = kind_of(base, "a"), base.graph.tensors[op.a].zero_point
    reciprocals = (op.numerator // max(one, 1) for one in maxima.tolist())
    places = {op.shift - (one & -one).bit_length() for one in reciprocals if one}
    found = {zero + (odd << place) for place in places if place >= 0 for odd in (-3, -1, 1, 3)}
    return np.array(sorted(one for one in found if kind.low <= one <= kind.high), kind.dtype)


def group_shift(base: OneOp, name: str) -> Iterator[Stimulus]:
    """Yield all codes with all exponents."""
    assert isinstance(base.op, GroupShift)
    kind = kind_of(base, "exponent")
    more = np.empty(0, np.int64)
    yield _all_codes_with(base, name, "exponent", np.arange(kind.high + 1), more)


def _all_codes_with(
    base: OneOp, name: str, field: str, scales: IntArray, more: IntArray
) -> Stimulus:
    """Every code, or a choice and ``more``, with each of some scales of its group."""
    op = base.op
    assert isinstance(op, GroupQuantize | GroupShift)
    kind = kind_of(base, "a")
    codes = np.union1d(every_code(kind, MOST_CODES), more).astype(kind.dtype)
    groups = np.resize(codes, (-(-len(codes) // op.group), op.group))
    shapes = {"a": (1, op.group), field: (1, 1)}
    one = remade(base, f"{name}.codes", Changes(shapes=shapes))
    pairs = {
        "a": np.tile(groups, (len(scales), 1)),
        field: np.repeat(scales, len(groups))[:, None],
    }
    return stimulus(one, f"all codes, or ends and some at random, with each {field}", **pairs)
