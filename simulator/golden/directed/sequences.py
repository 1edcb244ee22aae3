# SPDX-License-Identifier: Apache-2.0
"""Terms and factors that make the registers of an accumulator overflow, and show it."""

from __future__ import annotations

import numpy as np

from simulator.golden.directed.factors import Factors, factors, least_shift, longest_shift
from simulator.golden.directed.making import kind_of
from simulator.golden.one_op import OneOp
from simulator.graph.op import accumulator_of
from simulator.numerics.accumulator import Accumulator
from simulator.numerics.integer_type import IntArray

LONGEST = 1 << 14  # terms of a sum that is made to overflow
BIASED = 16  # terms of one that a bias has brought near the end of its register
# Sums, multipliers and shifts whose product is a tie less or more one unit, and needs more bits
# than a float type has: 2^26 - 1, 2^26 + 1, 2^28 - 1, 2^25 - 1, 2^25 + 1, 2^60 - 1, 2^58 + 1,
# 2^56 - 1 twice: 127 in the second sum is the largest weight of 8 bits.
NEXT_TO_TIES = (
    ((1 << 13) - 1, (1 << 13) + 1, 27),
    ((1 << 13) + (1 << 7) + 1, (1 << 13) - (1 << 7) + 1, 27),
    (127 * 16385, 129, 29),
    ((1 << 25) - 1, 1, 26),
    ((1 << 25) + 1, 1, 26),
    ((1 << 30) - 1, (1 << 30) + 1, 61),
    ((1 << 29) + (1 << 15) + 1, (1 << 29) - (1 << 15) + 1, 59),
    (((1 << 56) - 1) // 16385, 16385, 57),
    (127 * 15790321, ((1 << 56) - 1) // (127 * 15790321), 57),
)


def term_count(accumulator: Accumulator, largest: int, biased: bool) -> int | None:
    """Return how many terms make every register overflow that can; None where none can."""
    needed = []
    for level in accumulator.levels:
        terms = 2 * (level.kind.high // largest) + 9
        if biased and level is accumulator.levels[-1]:
            terms = BIASED
        if level.group == 0 or terms <= level.group + 8:
            needed.append(min(terms, max(level.group, terms)))
    groups = [level.group for level in accumulator.levels if level.group]
    if not needed or max(needed) > LONGEST:
        needed = [terms for terms in needed if terms <= LONGEST]
    if not needed:
        return None
    return max([*needed, *(3 * group + 1 for group in groups)])


def sequences(count: int, low: int, high: int, groups: list[int]) -> IntArray:
    """Return rows of terms: all up, up and back, back and up, alternating, by groups, at random.

    Then rows whose sums are those of :data:`NEXT_TO_TIES`, or a 127th of them.
    """
    up, down, place = np.full(count, high), np.full(count, low), np.arange(count)
    first = place < (count + 1) // 2
    rows = [up, down, np.where(first, up, down), np.where(first, down, up)]
    rows += [np.where(place % 2 == 0, up, down), 0 * up]
    for size in sorted({1, 2, 4, 8, *groups}):
        rows.append(np.where(place // size % 2 == 0, up, down))
        rows.append(np.where(place < size, down, up))
        rows.append(np.where(place >= count - size, down, up))
        rows += [np.where(place < size, end, 0) for end in (low, high)]
    random = np.random.default_rng(3)
    for share in (0.3, 0.5, 0.7, 0.95):
        rows += [np.where(random.random(count) < share, up, down) for _ in range(2)]
    rows += [random.integers(low, high, count, endpoint=True) for _ in range(4)]
    rows += [np.where(place == 0, high, 0), np.where(place == count - 1, low, 0)]
    for total in ((1 << 13) - 1, (1 << 13) + (1 << 7) + 1, 16385, 15790321):
        if total <= high * count:
            rows.append(np.clip(total - high * place, 0, high))
    return np.array(rows)


def columns_of(count: int, low: int, high: int) -> list[IntArray]:
    """Return columns of right operands: constant ones, and such whose sign turns halfway."""
    first = np.arange(count) < count // 2
    random = np.random.default_rng(4).integers(low, high, count, endpoint=True)
    turning = [np.where(first, high, low), np.where(first, low, high)]
    return [*(np.full(count, code) for code in (1, high, low)), *turning, random]


def coarse_factors(base: OneOp, largest_sum: int | None, largest: int) -> Factors:
    """Return factors that bring the largest sums to the result's width, and aimed ones.

    Those round at a sum of choice: at both ends of every register and a few terms from there, and
    next to the ties of :data:`NEXT_TO_TIES`.
    """
    accumulator = accumulator_of(base.op)
    assert accumulator is not None
    bits = accumulator.levels[-1].bits
    op_has_no_bias = largest_sum is not None
    if largest_sum is not None:
        bits = min(bits, largest_sum.bit_length() + 1)
    far = factors(base, halvings=1, first=max(bits - kind_of(base, "result").bits, 0))
    near = factors(base, halvings=1, first=0)
    if far.shift is None or near.shift is None:
        thresholds = [1 / (2 * sum_ - 1) for sum_ in _aims(accumulator, largest)]
        aimed = np.array(thresholds).astype(far.multiplier.dtype)
        return Factors(np.concatenate([far.multiplier, near.multiplier, aimed]), None)
    widest, longest = kind_of(base, "multiplier").high, kind_of(base, "shift").high
    pairs = [*zip(far.multiplier.tolist(), far.shift.tolist(), strict=True)]
    pairs += zip(near.multiplier.tolist(), near.shift.tolist(), strict=True)
    for aim in _aims(accumulator, largest):
        # From the sum `aim` on, half a code or more is left; one less leaves less.
        shift = min(aim.bit_length() + widest.bit_length() - 1, longest, 62)
        multiplier = -(-(1 << shift) // (2 * aim - 1))
        pairs += [(multiplier, shift), (multiplier, shift - 1), (1, aim.bit_length())]
    if op_has_no_bias:
        pairs += [(multiplier, shift) for _, multiplier, shift in NEXT_TO_TIES]
    if longest < accumulator.levels[-1].bits:
        pairs += [(63, longest)]
    least, most = least_shift(base), longest_shift(base)
    kept = dict.fromkeys(pair for pair in pairs if pair[0] <= widest and least <= pair[1] <= most)
    multipliers, shifts = np.array(list(kept), np.int64).T
    outer = accumulator.levels[-1].kind.high
    return Factors(multipliers, shifts).within(
        min(outer + 1, 1 << 48) if outer >> 40 else outer + 1
    )


def _aims(accumulator: Accumulator, largest: int) -> list[int]:
    """Return sums at which factors shall round: ends of registers, and a few terms before."""
    found = []
    for level in accumulator.levels:
        edge = level.kind.high + 1
        found += [edge, edge // 2, edge - 3 * largest // 2, edge - 4 * largest]
    return [aim for aim in dict.fromkeys(found) if aim > 1]
