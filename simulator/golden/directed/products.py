# SPDX-License-Identifier: Apache-2.0
"""Directed vectors of ops with an accumulator: ties, ends of types, sums that overflow in order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.golden.directed.factors import Factors, factors, longest_shift
from simulator.golden.directed.making import (
    Changes,
    Stimulus,
    every_code,
    kind_of,
    remade,
    stimulus,
)
from simulator.golden.directed.sequences import (
    NEXT_TO_TIES,
    coarse_factors,
    columns_of,
    sequences,
    term_count,
)
from simulator.golden.one_op import OneOp
from simulator.graph.op import accumulator_of
from simulator.graph.ops import MatMul, Mean
from simulator.numerics.accumulator import Accumulator
from simulator.numerics.integer_type import IntArray, IntType, Overflow

TIES = "exact ties and their neighbours, both ends of the result, extreme factors"
SUMS = "sums that leave a register and come back, or stay outside; edges of groups"


def matmul(base: OneOp, name: str) -> Iterator[Stimulus]:
    """Yield the directed vectors of a MatMul."""
    assert isinstance(base.op, MatMul)
    if not base.graph.is_constant(base.op.b):
        yield from _activations(base, name)
        return
    if base.op.residual is not None:
        yield _onto_a_residual(base, f"{name}.ties")
    else:
        yield _layer_ties(base, f"{name}.ties")
    yield from _layer_sums(base, f"{name}.sums")
    yield _codes(base, f"{name}.codes")


def _weights(kind: IntType) -> list[int]:
    """Return weights of one term: the smallest ones and both ends."""
    return [1, -1, kind.high, kind.low]


def _columns(op: Any, columns: Any) -> NDArray[Any]:
    """Return a right operand [K, N], transposed as the op has it."""
    array = np.asarray(columns)
    return array.T if op.transpose_b else array


def _layer_ties(base: OneOp, name: str) -> Stimulus:
    """One term for each sum: the codes themselves, at every factor."""
    op: Any = base.op
    a, b = kind_of(base, "a"), kind_of(base, "b")
    weights = _weights(b)
    chosen = factors(base).within(max(-a.low, a.high) * max(-b.low, b.high) + 2)
    column = np.repeat(weights, chosen.count)[None, :]
    constants = {"b": _columns(op, column), **chosen.each(len(weights)).constants}
    if op.bias is not None:
        constants["bias"] = np.resize([0, 1, -1], column.size)
    one = remade(base, name, Changes(shapes={"a": (1, 1)}, constants=constants))
    return stimulus(one, TIES, a=every_code(a, 512))


def _onto_a_residual(base: OneOp, name: str) -> Stimulus:
    """One term for each sum, and every code of the residual, at few fraction bits."""
    op: Any = base.op
    a, b, residual = (kind_of(base, key) for key in ("a", "b", "residual"))
    multiplier, fraction_bits = kind_of(base, "residual_multiplier").high, 2
    largest = max(-a.low, a.high) * max(-b.low, b.high) + 2
    chosen = factors(base).within(largest)
    assert chosen.shift is not None
    long = (chosen.shift >= fraction_bits) & (chosen.shift <= longest_shift(base))
    chosen = Factors(chosen.multiplier[long], chosen.shift[long])
    weights = [1, -1, b.high, b.low]
    parts = np.resize([1, 2, 3, 4, 7, min(multiplier, 9)], chosen.count)
    column = np.repeat(weights, chosen.count)[None, :]
    both = chosen.each(len(weights))
    constants: dict[str, Any] = {
        "b": _columns(op, column),
        **both.constants,
        "residual_multiplier": np.tile(parts, len(weights)),
    }
    if op.bias is not None:
        constants["bias"] = np.resize([0, 1, -1], column.size)
    one = remade(
        base,
        name,
        Changes(
            shapes={"a": (1, 1), "residual": (1, column.size)},
            constants=constants,
            fields={"residual_fraction_bits": fraction_bits},
        ),
    )
    codes = every_code(residual, 512)
    left = np.resize(np.random.default_rng(1).permutation(every_code(a, 512)), len(codes))
    right = np.broadcast_to(codes[:, None], (len(codes), column.size))
    return stimulus(one, TIES, a=left, residual=right)


def _layer_sums(base: OneOp, name: str) -> Iterator[Stimulus]:
    """Sums around the ends of every register, started near them by the bias."""
    op: Any = base.op
    accumulator: Accumulator = op.accumulator
    a, b = kind_of(base, "a"), kind_of(base, "b")
    largest = max(-a.low, a.high) * max(-b.low, b.high)
    count = term_count(accumulator, largest, op.bias is not None)
    if count is None:
        return
    register = accumulator.levels[-1].kind
    if (
        op.bias is not None
        and kind_of(base, "shift" if op.requantize.shift else "b").high < register.bits
    ):
        count = max(count, _WITHOUT_LONG_SHIFTS)
    starts, chosen, columns = _channels_of_sums(base, count, largest)
    total = chosen.count
    constants: dict[str, Any] = {"b": _columns(op, columns), **chosen.constants}
    if op.bias is not None:
        constants["bias"] = starts
    groups = [level.group for level in accumulator.levels if level.group]
    rows = sequences(count, a.low, a.high, groups)
    shapes = {"a": (1, count)}
    extra: dict[str, Any] = {}
    fields: dict[str, Any] = {}
    if op.residual is not None:
        residual = kind_of(base, "residual")
        shapes["residual"] = (1, total)
        constants["residual_multiplier"] = np.ones(total, np.int64)
        fields["residual_fraction_bits"] = 0
        extra["residual"] = np.random.default_rng(5).integers(
            residual.low, residual.high, (len(rows), total), endpoint=True
        )
    one = remade(base, name, Changes(shapes=shapes, constants=constants, fields=fields))
    yield stimulus(one, SUMS, a=rows, **extra)
    saturates = accumulator.levels[-1].overflow is Overflow.SATURATE
    if op.bias is not None and saturates and kind_of(base, "multiplier").bits < 8:
        yield _long_sums(base, f"{name}.long", largest)


def _long_sums(base: OneOp, name: str, largest: int) -> Stimulus:
    """Sums that saturate and come back so far that a factor without low bits shows it."""
    op: Any = base.op
    a, b = kind_of(base, "a"), kind_of(base, "b")
    register, bias = op.accumulator.levels[-1].kind, kind_of(base, "bias")
    edge = min(register.high, bias.high)
    chosen = factors(base, halvings=2, first=max(register.bits - kind_of(base, "result").bits, 0))
    starts = np.repeat([edge - largest, largest - edge], chosen.count)
    changes = Changes(
        shapes={"a": (1, _FAR)},
        constants={
            "b": _columns(op, np.full((_FAR, starts.size), b.high)),
            "bias": starts,
            **chosen.each(2).constants,
        },
    )
    one = remade(base, name, changes)
    first = np.arange(_FAR) < _FAR // 2
    rows = [np.where(first, a.high, a.low), np.where(first, a.low, a.high), first * 0]
    return stimulus(one, SUMS, a=np.array(rows))


# Terms that move a sum by 2^24 from the end of a register, which shifts of 31 bits can show.
_WITHOUT_LONG_SHIFTS = 1100
_FAR = 1 << 13


def _channels_of_sums(base: OneOp, count: int, largest: int) -> tuple[IntArray, Factors, IntArray]:
    """Return the biases, factors and columns [count, channels] of channels.

    Every bias meets every factor, in two of the columns; biases next to ties meet their factors.
    """
    op: Any = base.op
    b, register = kind_of(base, "b"), op.accumulator.levels[-1].kind
    chosen = coarse_factors(base, count * largest if op.bias is None else None, largest)
    columns = columns_of(count, b.low, b.high)
    starts = [0]
    if op.bias is not None:
        starts = _starts(register, kind_of(base, "bias"), largest)
    index = np.arange(len(starts) * chosen.count)
    start, factor = index // chosen.count, index % chosen.count
    places = [np.concatenate([start, start]), np.concatenate([factor, factor])]
    turn = np.concatenate([start + factor, start + factor + len(columns) // 2]) % len(columns)
    near, aimed = _next_to_ties(base)
    if op.bias is None or aimed is None:
        near, aimed = [], None
    biases = np.concatenate([np.array(starts)[places[0]], np.array(near, np.int64)])
    whole = chosen.chosen(places[1])
    return (
        biases,
        whole if aimed is None else whole.followed_by(aimed),
        np.array([*(columns[place] for place in turn), *(columns[1] for _ in near)]).T,
    )


def _starts(register: IntType, bias: IntType, largest: int) -> list[int]:
    """Return biases near the ends of a register, and half as far."""
    edge = min(register.high, bias.high)
    found = [0, edge - largest, largest - edge, edge - 3 * largest, 3 * largest - edge]
    found += [edge // 2 + largest, -edge // 2 - largest]
    return [start for start in dict.fromkeys(found) if bias.low <= start <= bias.high]


def _next_to_ties(base: OneOp) -> tuple[list[int], Factors | None]:
    """Return the sums of :data:`NEXT_TO_TIES` that a bias can be, and their factors."""
    op: Any = base.op
    if op.requantize.shift is None:
        return [], None
    widest, longest = kind_of(base, "multiplier").high, longest_shift(base)
    largest = min(op.accumulator.levels[-1].kind.high, kind_of(base, "bias").high if op.bias else 0)
    found = [
        (total, multiplier, shift)
        for total, multiplier, shift in NEXT_TO_TIES
        if total <= largest and multiplier <= widest and shift <= longest
    ]
    if not found:
        return [], None
    totals, multipliers, shifts = np.array(found, np.int64).T
    return totals.tolist(), Factors(multipliers, shifts)


def _codes(base: OneOp, name: str) -> Stimulus:
    """The op with its own constants: one-hot and constant rows, extremes by signs of weights."""
    op: Any = base.op
    a = kind_of(base, "a")
    weights = base.graph.constants[op.b]
    columns = (weights if op.transpose_b else weights.T).astype(np.int64)
    length = columns.shape[1]
    zero = base.graph.tensors[op.a].zero_point
    rows = [np.full(length, code) for code in (a.low, a.high, min(max(zero, a.low), a.high), 0)]
    hot = np.full((min(length, 16), length), min(max(zero, a.low), a.high))
    for index in range(len(hot)):
        hot[index, index * length // len(hot)] = a.high if index % 2 else a.low
    extremes = [
        np.where(column > 0, high, low)
        for column in columns[:8]
        for low, high in ((a.low, a.high), (a.high, a.low))
    ]
    random = np.random.default_rng(6).integers(a.low, a.high, (16, length), endpoint=True)
    cases = np.concatenate([rows, hot, extremes, random])
    shapes: dict[str, tuple[int, ...]] = {"a": (1, length)}
    extra = {}
    if op.residual is not None:
        kind = kind_of(base, "residual")
        shapes["residual"] = (1, len(columns))
        codes = every_code(kind)
        extra["residual"] = np.resize(
            np.random.default_rng(7).permutation(codes), (len(cases), len(columns))
        )
    one = remade(base, name, Changes(shapes=shapes))
    return stimulus(
        one, "the op's own constants: one-hot and constant rows, extreme sums", a=cases, **extra
    )


def _activations(base: OneOp, name: str) -> Iterator[Stimulus]:
    """A product of two activations: ties by single terms, then sums that overflow.

    One case each: its rows are what other units have as cases.
    """
    op: Any = base.op
    a, b = kind_of(base, "a"), kind_of(base, "b")
    largest = max(-a.low, a.high) * max(-b.low, b.high)
    chosen = factors(base).within(largest)
    weights = [1, b.high, b.low] + ([-1] if b.signed else [])
    single = np.repeat(weights, chosen.count)[None, :]
    codes = every_code(a, 512)[:, None]
    yield _one_product(base, f"{name}.ties", TIES, (codes, single), chosen.each(len(weights)))
    accumulator = accumulator_of(op)
    assert accumulator is not None
    count = term_count(accumulator, largest, biased=False) or 80
    chosen = coarse_factors(base, count * largest, largest)
    columns = columns_of(count, b.low, b.high)
    matrix = np.repeat(np.array(columns).T, chosen.count, axis=1)
    groups = [level.group for level in accumulator.levels if level.group]
    rows = sequences(count, a.low, a.high, groups)
    yield _one_product(base, f"{name}.sums", SUMS, (rows, matrix), chosen.each(len(columns)))


def _one_product(
    base: OneOp, name: str, about: str, both: tuple[IntArray, IntArray], chosen: Factors
) -> Stimulus:
    """Return one product of two matrices, at a factor for each column."""
    left, right = both
    right = _columns(base.op, right)
    shapes = {"a": left.shape, "b": right.shape}
    one = remade(base, name, Changes(shapes=shapes, constants=chosen.constants))
    return stimulus(one, about, a=left[None], b=right[None])


def mean(base: OneOp, name: str) -> Iterator[Stimulus]:
    """Yield the directed vectors of a Mean: over two codes, and over as many as overflow.

    Means are over the first of two dimensions, so that channels have factors of their own.
    """
    op = base.op
    assert isinstance(op, Mean)
    a, zero = kind_of(base, "a"), base.graph.tensors[op.a].zero_point
    largest = max(abs(a.low - zero), abs(a.high - zero))
    chosen = factors(base).within(2 * largest)
    codes = every_code(a, 512)
    pairs = np.stack([codes, np.roll(codes, 3)], axis=1)
    yield _mean_of(base, f"{name}.ties", TIES, chosen, pairs)
    count = term_count(op.accumulator, largest, biased=False) or 16
    groups = [level.group for level in op.accumulator.levels if level.group]
    rows = sequences(count, a.low, a.high, groups)
    coarse = coarse_factors(base, count * largest, largest)
    yield _mean_of(base, f"{name}.sums", SUMS, coarse, rows)


def _mean_of(
    base: OneOp, name: str, about: str, chosen: Factors, terms: NDArray[np.integer]
) -> Stimulus:
    """Return means of terms [cases, terms], at every factor."""
    shape = (terms.shape[1], chosen.count)
    changes = Changes(shapes={"a": shape}, fields={"axis": 0}, constants=chosen.constants)
    one = remade(base, name, changes)
    return stimulus(one, about, a=np.broadcast_to(terms[:, :, None], (len(terms), *shape)))
