# SPDX-License-Identifier: Apache-2.0
"""Directed vectors of ops that compute element by element."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

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
from simulator.golden.one_op import OneOp
from simulator.graph.ops import Add, AddShifted, SquaredDifference
from simulator.numerics.fixed_point import LARGEST_SHIFT
from simulator.numerics.integer_type import IntArray, IntType

CODES = "all codes, or both ends, powers of two and some at random"
PAIRS = "pairs of codes: both ends, equal ones, small ones, at random"


def unary(base: OneOp, name: str) -> Iterator[Stimulus]:
    """Yield all codes at every factor, for an op of one operand that ends in a requantization."""
    a = kind_of(base, "a")
    zero = base.graph.tensors[base.op.operands[0]].zero_point
    largest = max(abs(a.low - zero), abs(a.high - zero))
    if type(base.op).__name__ != "Rescale":
        largest = _largest_product(base)
    chosen = factors(base).within(largest)
    one = remade(
        base, f"{name}.ties", Changes(shapes={"a": (chosen.count,)}, constants=chosen.constants)
    )
    codes = every_code(a, 1 << 9)
    yield stimulus(one, CODES, a=np.broadcast_to(codes[:, None], (len(codes), chosen.count)))
    shape = (len(codes),)
    if chosen.shift is not None and type(base.op).__name__ == "ShiftGelu":
        rows = _rows_of(a, len(codes))
        constants = {"multiplier": [1], "shift": [6]}
        one = remade(base, f"{name}.rows", Changes(shapes={"a": shape}, constants=constants))
        yield stimulus(one, "rows of all codes, constant ones, rows below zero", a=rows)


def _largest_product(base: OneOp) -> int:
    from simulator.graph.bounds import intermediates

    found = {one.name: one for one in intermediates(base.graph, base.op)}
    low, high = found["product"].held
    return max(-low, high)


def _rows_of(kind: IntType, length: int) -> IntArray:
    random = np.random.default_rng(2)
    codes = every_code(kind, length)
    rows = [np.resize(codes, length), np.resize(codes[: len(codes) // 2], length)]
    rows += [np.full(length, code) for code in (kind.low, 0, kind.high)]
    rows += [random.integers(kind.low, kind.high, length, endpoint=True) for _ in range(6)]
    rows += [random.integers(kind.low, kind.low // 2, length) for _ in range(2)]
    return np.array(rows)


def lookup(base: OneOp, name: str) -> Iterator[Stimulus]:
    """Yield every code, which reads every entry of the op's own table."""
    a = kind_of(base, "a")
    codes = np.arange(a.low, a.high + 1)
    one = remade(base, f"{name}.codes", Changes(shapes={"a": (len(codes),)}))
    yield stimulus(one, "all codes: every entry of the table", a=codes)


def interpolated(base: OneOp, name: str) -> Iterator[Stimulus]:
    """Yield every code of the op's own table, and of one with ties and results outside the type."""
    yield from lookup(base, name)
    op: Any = base.op
    a, kind = kind_of(base, "a"), kind_of(base, "table")
    entries = base.graph.constants[op.table].size
    table = np.random.default_rng(9).integers(kind.low, kind.high, entries, endpoint=True)
    table[: entries // 2] >>= 4
    table[::7], table[1::7] = kind.high, kind.low
    one = remade(
        base, f"{name}.ties", Changes(shapes={"a": (1 << a.bits,)}, constants={"table": table})
    )
    yield stimulus(one, "steep and flat intervals: ties", a=np.arange(a.low, a.high + 1))


def pairs_of(a: IntType, b: IntType, zero_a: int = 0, zero_b: int = 0) -> tuple[IntArray, IntArray]:
    """Return pairs of codes: ends and neighbours of zero points with each other, and at random."""

    def special(kind: IntType, zero: int) -> list[int]:
        near = {zero + step for step in (-3, -2, -1, 0, 1, 2, 3)}
        ends = {kind.low, kind.low + 1, kind.high - 1, kind.high}
        return sorted(code for code in near | ends if kind.low <= code <= kind.high)

    chosen = list(product(special(a, zero_a), special(b, zero_b)))
    random = np.random.default_rng(10)
    codes = [random.integers(kind.low, kind.high, 900, endpoint=True).tolist() for kind in (a, b)]
    small = [np.clip(zero + random.integers(-20, 21, 400), kind.low, kind.high).tolist()
             for kind, zero in ((a, zero_a), (b, zero_b))]  # fmt: skip
    chosen += [*zip(*codes, strict=True), *zip(*small, strict=True)]
    both = np.array(chosen)
    return both[:, 0], both[:, 1]


def _zero_points(base: OneOp) -> tuple[int, int]:
    a, b = (base.graph.tensors[name].zero_point for name in base.op.operands)
    return a, b


def mul(base: OneOp, name: str) -> Iterator[Stimulus]:
    """Yield pairs of codes at every factor, for a Mul of two activations or with a constant."""
    op: Any = base.op
    a, b = kind_of(base, "a"), kind_of(base, "b")
    zero_a, zero_b = _zero_points(base)
    largest = max(abs(a.low - zero_a), abs(a.high - zero_a)) * max(
        abs(b.low - zero_b), abs(b.high - zero_b)
    )
    chosen = factors(base).within(largest)
    left, right = pairs_of(a, b, zero_a, zero_b)
    if base.graph.is_constant(op.b):
        values = [1, -1, b.high, b.low]
        column = np.repeat(values, chosen.count)
        changes = Changes(
            shapes={"a": (column.size,)},
            constants={"b": column, **chosen.each(len(values)).constants},
        )
        codes = every_code(a, 512)
        one = remade(base, f"{name}.ties", changes)
        yield stimulus(one, CODES, a=np.broadcast_to(codes[:, None], (len(codes), column.size)))
        return
    size = chosen.count
    changes = Changes(shapes={"a": (size,), "b": (size,)}, constants=chosen.constants)
    one = remade(base, f"{name}.ties", changes)
    yield stimulus(
        one,
        PAIRS,
        a=np.broadcast_to(left[:, None], (len(left), size)),
        b=np.broadcast_to(right[:, None], (len(left), size)),
    )


def add(base: OneOp, name: str) -> Iterator[Stimulus]:
    """Yield pairs of codes at shifts from 0 to the longest, with factors of each channel."""
    op = base.op
    assert isinstance(op, Add)
    a, b = kind_of(base, "a"), kind_of(base, "b")
    bits = kind_of(base, "multiplier_a").bits
    zero_a, zero_b = _zero_points(base)
    constant = base.graph.is_constant(op.b)
    largest = sum(
        max(abs(kind.low), abs(kind.high)) + abs(zero) for kind, zero in ((a, zero_a), (b, zero_b))
    )
    least = min(op.shift, 2)
    for shift in (0, 1, 3, 15, 30, 34, 45, LARGEST_SHIFT):
        # Factors around 1, as far as multipliers and 64 bits have room.
        one = 1 << min(shift, bits - 1)
        highest = min((1 << bits) - 1, ((1 << 63) - (2 << shift)) // (2 * largest))
        if shift < least or highest < 1:
            continue
        values = [
            (one, one), (one, one // 2), (one // 2 + 1, one), (3 * one // 2, one // 4), (1, 1),
            (highest, highest), (0, one), (one - 1, one - 1), (one // 2 - 1, one // 2 - 1),
            (one, 0), (highest, 1), (3, 5),
        ]  # fmt: skip
        kept = [pair for pair in values if all(0 <= part <= highest for part in pair)]
        yield _sums(base, f"{name}.shift{shift}", shift, kept, constant=constant)


def _sums(
    base: OneOp, name: str, shift: int, pairs: list[tuple[int, int]], *, constant: bool
) -> Stimulus:
    a, b = kind_of(base, "a"), kind_of(base, "b")
    left, right = pairs_of(a, b, *_zero_points(base))
    about = f"{PAIRS}, shift {shift}"
    factors_a, factors_b = np.array(pairs).T
    if not constant:
        size = len(pairs)
        changes = Changes(
            shapes={"a": (size,), "b": (size,)},
            constants={"multiplier_a": factors_a, "multiplier_b": factors_b},
            fields={"shift": shift},
        )
        one = remade(base, name, changes)
        codes = {"a": left, "b": right}
        return stimulus(
            one,
            about,
            **{key: np.broadcast_to(c[:, None], (len(c), size)) for key, c in codes.items()},
        )
    addends = np.unique(np.concatenate([[b.low, b.high], right[:40]]))
    column = np.repeat(addends, len(pairs))
    changes = Changes(
        shapes={"a": (column.size,)},
        constants={
            "b": column,
            "multiplier_a": np.tile(factors_a, len(addends)),
            "multiplier_b": np.tile(factors_b, len(addends)),
        },
        fields={"shift": shift},
    )
    one = remade(base, name, changes)
    every = every_code(a, 256)
    return stimulus(one, about, a=np.broadcast_to(every[:, None], (len(every), column.size)))


def common_scale(base: OneOp, name: str) -> Iterator[Stimulus]:
    """Yield pairs of codes at the op's own factors and at small ones, which make ties."""
    op = base.op
    assert isinstance(op, AddShifted | SquaredDifference)
    a, b = kind_of(base, "a"), kind_of(base, "b")
    left, right = pairs_of(a, b, *_zero_points(base))
    kept = {"a": left, "b": right}
    if base.graph.is_constant(op.b):
        kept = {"a": every_code(a, 1 << 9)}
    shape = dict.fromkeys(kept, (1,))

    def with_fields(entry: str, about: str, **fields: Any) -> Stimulus:
        constants = {} if len(kept) == 2 else {"b": _some(b)}
        shapes = shape if len(kept) == 2 else {"a": (len(_some(b)),)}
        one = remade(base, entry, Changes(shapes=shapes, constants=constants, fields=fields))
        width = 1 if len(kept) == 2 else len(_some(b))
        codes = {key: np.repeat(c[:, None], width, axis=1) for key, c in kept.items()}
        return stimulus(one, about, **codes)

    yield with_fields(f"{name}.codes", f"{PAIRS}; the op's own factors")
    keys = ("multiplier_a", "shift_a", "multiplier_b", "shift_b", "multiplier", "shift")
    sets = [("ties", 2 * bool(index), numbers) for index, numbers in enumerate(_SMALL)]
    sets += [("long", 4, numbers) for numbers in _LONG]
    for index, (what, left_shift, numbers) in enumerate(sets):
        fields = {"input_left_shift": left_shift, **dict(zip(keys, numbers, strict=True))}
        about = "small factors: ties" if what == "ties" else "shifts beyond bit 31"
        try:
            yield with_fields(f"{name}.{what}{index}", f"{PAIRS}; {about}", **fields)
        except ValueError:
            continue  # squares of wide codes have no room for factors of 31 bits


# multiplier and shift of a, of b, and of the result
_TOP = (1 << 31) - 1
_SMALL = (
    (1, 0, 1, 0, 1, 1),
    (1, 1, 3, 2, 1, 2),
    (3, 3, 1, 0, 5, 2),
    (1, 0, 1, 0, 100, 1),
    (1, 2, 0, 0, 1, 0),
)
_LONG = (
    (1 << 30, 31, 1 << 30, 32, 1 << 30, 33),
    (_TOP, 33, _TOP, 35, 1 << 30, 32),
    (_TOP, 32, 1 << 30, 31, _TOP, 34),
    ((1 << 30) + 1, 34, _TOP, 34, (1 << 30) + 1, 35),
)


def _some(kind: IntType) -> IntArray:
    return np.array([kind.low, -1, 0, 1, 2, 3, kind.high])
