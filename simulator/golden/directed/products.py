# SPDX-License-Identifier: Apache-2.0
"""Directed vectors of ops with an accumulator: ties, ends of types, sums that overflow in order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.golden.directed.factors import Factors, factors
from simulator.golden.directed.making import (
    Changes,
    Stimulus,
    every_code,
    kind_of,
    remade,
    stimulus,
)
from simulator.golden.one_op import OneOp
from simulator.graph.op import accumulator_of
from simulator.graph.ops import MatMul, Mean
from simulator.numerics.accumulator import Accumulator
from simulator.numerics.integer_type import IntArray, IntType

LONGEST = 1 << 13  # terms of a sum that is made to overflow
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


def _columns(op: MatMul, columns: Any) -> NDArray[Any]:
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
    long = (chosen.shift >= fraction_bits) & (chosen.shift <= 56 - residual.bits)
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


def _terms(accumulator: Accumulator, largest: int, biased: bool) -> int | None:
    """Return how many terms make every register overflow that can; None where none can."""
    needed = []
    for level in accumulator.levels:
        terms = level.kind.high // largest + 9
        if biased and level is accumulator.levels[-1]:
            terms = 16
        if level.group == 0 or terms <= level.group + 8:
            needed.append(min(terms, max(level.group, terms)))
    groups = [level.group for level in accumulator.levels if level.group]
    if not needed or max(needed) > LONGEST:
        needed = [terms for terms in needed if terms <= LONGEST]
    if not needed:
        return None
    return max([*needed, *(3 * group + 1 for group in groups)])


def _sequences(count: int, low: int, high: int, groups: list[int]) -> IntArray:
    """Return rows of terms: all up, up and back, back and up, alternating, by groups, at random."""
    up, down = np.full(count, high), np.full(count, low)
    first = np.arange(count) < (count + 1) // 2
    rows = [up, down, np.where(first, up, down), np.where(first, down, up)]
    rows.append(np.where(np.arange(count) % 2 == 0, up, down))
    for size in {1, 2, 4, 8, *groups}:
        rows.append(np.where(np.arange(count) // size % 2 == 0, up, down))
        rows.append(np.where(np.arange(count) < size, down, up))
        rows.append(np.where(np.arange(count) >= count - size, down, up))
    random = np.random.default_rng(3)
    for share in (0.3, 0.5, 0.7, 0.95):
        rows += [np.where(random.random(count) < share, up, down) for _ in range(3)]
    rows += [random.integers(low, high, count, endpoint=True) for _ in range(6)]
    ends = [np.zeros(count, np.int64) for _ in range(3)]
    ends[0][0], ends[1][-1] = high, low
    return np.array([*rows, *ends])


def _layer_sums(base: OneOp, name: str) -> Iterator[Stimulus]:
    """Sums around the ends of every register, started near them by the bias."""
    op: Any = base.op
    accumulator: Accumulator = op.accumulator
    a, b = kind_of(base, "a"), kind_of(base, "b")
    largest = max(-a.low, a.high) * max(-b.low, b.high)
    count = _terms(accumulator, largest, op.bias is not None)
    if count is None:
        return
    register = accumulator.levels[-1].kind
    starts = [0, (1 << 30) - 1, (1 << 29) + (1 << 15) + 1]
    if op.bias is None:
        starts = [0]
    else:
        bias = kind_of(base, "bias")
        edge, step = min(register.high, bias.high), largest
        starts += [edge - step, -edge + step, edge - 3 * step, 3 * step - edge]
        starts = [start for start in starts if start <= edge]
        starts += [edge // 2 + step, -edge // 2 - step]
        starts = [start for start in starts if bias.low <= start <= bias.high]
    chosen = _coarse(base, register, count * largest if op.bias is None else None)
    weights = [b.high, b.low, 1]
    columns = [(start, weight) for start in starts for weight in weights]
    total = len(columns) * chosen.count
    random = np.random.default_rng(4).integers(b.low, b.high, (count, total), endpoint=True)
    matrix = np.repeat([weight for _, weight in columns], chosen.count)[None, :] + 0 * random
    matrix[:, ::7] = random[:, ::7]
    constants: dict[str, Any] = {"b": _columns(op, matrix), **chosen.each(len(columns)).constants}
    if op.bias is not None:
        constants["bias"] = np.repeat([start for start, _ in columns], chosen.count)
    groups = [level.group for level in accumulator.levels if level.group]
    rows = _sequences(count, a.low, a.high, groups)
    shapes = {"a": (1, count)}
    extra: dict[str, Any] = {}
    fields: dict[str, Any] = {}
    if op.residual is not None:
        residual = kind_of(base, "residual")
        shapes["residual"] = (1, total)
        constants["residual_multiplier"] = np.ones(total, np.int64)
        fields["residual_fraction_bits"] = 0
        codes = np.random.default_rng(5).integers(
            residual.low, residual.high, (len(rows), total), endpoint=True
        )
        extra["residual"] = codes
        narrow = chosen.shift is not None and int(chosen.shift.max()) + residual.bits < 60
        assert narrow
    one = remade(base, name, Changes(shapes=shapes, constants=constants, fields=fields))
    yield stimulus(one, SUMS, a=rows, **extra)


def _coarse(base: OneOp, register: IntType, largest_sum: int | None = None) -> Factors:
    """Return factors that bring the largest sums to the result's width, and finer ones.

    Beside them a product that float64 does not hold: ``(2^30 - 1)(2^30 + 1) = 2^60 - 1``.
    """
    width = kind_of(base, "result").bits
    bits = register.bits
    if largest_sum is not None:
        bits = min(bits, largest_sum.bit_length() + 1)
    far = factors(base, halvings=3, first=max(bits - width - 1, 0))
    near = factors(base, halvings=1, first=0)
    if far.shift is None or near.shift is None:
        return Factors(np.concatenate([far.multiplier, near.multiplier]), None)
    pairs = dict.fromkeys(
        zip(
            [*far.multiplier.tolist(), *near.multiplier.tolist()],
            [*far.shift.tolist(), *near.shift.tolist()],
            strict=True,
        )
    )
    widest, longest = kind_of(base, "multiplier").high, kind_of(base, "shift").high
    if register.bits > 31 and widest >> 30 and longest > 60:
        pairs |= dict.fromkeys([((1 << 30) + 1, 61), ((1 << 29) - (1 << 15) + 1, 59)])
    limit = 48 if getattr(base.op, "residual", None) is not None else 62
    kept = [pair for pair in pairs if pair[1] <= limit]
    multipliers, shifts = np.array(kept, np.int64).T
    return Factors(multipliers, shifts).within(register.high + 1 if register.bits <= 33 else 1 << 32)


def _codes(base: OneOp, name: str) -> Stimulus:
    """The op with its own constants: one-hot and constant rows, both ends, weights' own extremes."""
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
    """A product of two activations: ties by single terms, then sums that overflow."""
    op: Any = base.op
    a, b = kind_of(base, "a"), kind_of(base, "b")
    largest = max(-a.low, a.high) * max(-b.low, b.high)
    chosen = factors(base).within(largest)
    weights = [1, b.high, b.low] + ([-1] if b.signed else [])
    column = np.repeat(weights, chosen.count)
    codes = every_code(a, 512)

    def right(count: int, cases: int, matrix: Any) -> Any:
        array = np.broadcast_to(matrix, (cases, count, column.size))
        return array.swapaxes(1, 2) if op.transpose_b else array

    def shapes(count: int) -> dict[str, tuple[int, ...]]:
        size = column.size
        return {"a": (1, count), "b": (size, count) if op.transpose_b else (count, size)}

    one = remade(
        base,
        f"{name}.ties",
        Changes(shapes=shapes(1), constants=chosen.each(len(weights)).constants),
    )
    yield stimulus(one, TIES, a=codes, b=right(1, len(codes), column[None, :]))
    accumulator = accumulator_of(op)
    assert accumulator is not None
    count = _terms(accumulator, largest, biased=False) or 16
    chosen = _coarse(base, accumulator.levels[-1].kind, count * largest)
    column = np.repeat(weights, chosen.count)
    groups = [level.group for level in accumulator.levels if level.group]
    rows = _sequences(count, a.low, a.high, groups)
    random = np.random.default_rng(8).integers(b.low, b.high, (count, column.size), endpoint=True)
    matrix = column[None, :] + 0 * random
    matrix[:, ::5] = random[:, ::5]
    one = remade(
        base,
        f"{name}.sums",
        Changes(shapes=shapes(count), constants=chosen.each(len(weights)).constants),
    )
    yield stimulus(one, SUMS, a=rows, b=right(count, len(rows), matrix))


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
    count = _terms(op.accumulator, largest, biased=False) or 16
    groups = [level.group for level in op.accumulator.levels if level.group]
    rows = _sequences(count, a.low, a.high, groups)
    coarse = _coarse(base, op.accumulator.levels[-1].kind, count * largest)
    yield _mean_of(base, f"{name}.sums", SUMS, coarse, rows)


def _mean_of(
    base: OneOp, name: str, about: str, chosen: Factors, terms: NDArray[np.integer]
) -> Stimulus:
    """Return means of terms [cases, terms], at every factor."""
    shape = (terms.shape[1], chosen.count)
    changes = Changes(shapes={"a": shape}, fields={"axis": 0}, constants=chosen.constants)
    one = remade(base, name, changes)
    return stimulus(one, about, a=np.broadcast_to(terms[:, :, None], (len(terms), *shape)))
