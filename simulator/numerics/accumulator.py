# SPDX-License-Identifier: Apache-2.0
"""Accumulators of finite width: levels of partial sums, from the innermost register outward.

Products are taken in ascending ``k``. Level 0 adds ``group`` products one by one; its sum is one
addend of level 1, and so on; the last level has group 0 ("all") and yields the accumulator.

- ``saturate``: the register is clipped after every addition, so order and group size matter.
- ``wrap``: the register keeps its low bits. Additions modulo ``2^bits`` may be done in any order,
  so only the level's completed sum is looked at.

What happened to an output element on the way is told by the sums that registers of unlimited width
would have held: it overflowed *persistently* if a completed sum of any level does not fit that
level's register, *transiently* if only a sum on the way did not. A wrapping register forgives what
is transient; a saturating one is wrong from there on. PQS (arXiv 2504.09064) has the two words.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntFlag, StrEnum
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from simulator.numerics.added_field import added
from simulator.numerics.integer_type import IntType, Overflow, fit
from simulator.numerics.jit import kernel
from simulator.numerics.output_stage import fit_kernel


class BiasStage(StrEnum):
    """When the bias enters the outermost level."""

    PRELOAD = "preload"  # the register starts with it
    AFTER_LAST_BLOCK = "after_last_block"  # it is the last addend


class OverflowPolicy(StrEnum):
    """What an overflow means for a run; it is counted in every case."""

    APPLY = "apply"  # registers wrap or saturate as the chip's would
    REPORT = "report"  # sums stay exact, as in registers that are wide enough
    ERROR = "error"  # as apply, and the run ends at the first op whose sums an overflow changed


class Event(IntFlag):
    """What happened to one output element in its accumulator."""

    NONE = 0
    CHANGED = 1  # the registers yield another sum than the exact one
    TRANSIENT = 2  # only sums on the way did not fit
    PERSISTENT = 4  # a completed sum did not fit


@dataclass(frozen=True, slots=True, kw_only=True)
class AccumulatorLevel:
    """One level of partial sums: ``group`` products (0: all), a register of ``bits`` bits."""

    group: int
    bits: int
    overflow: Overflow

    @property
    def kind(self) -> IntType:
        """The register's type; accumulators are signed."""
        return IntType(bits=self.bits)

    def __str__(self) -> str:
        return f"{self.group or 'all'}:{self.bits} {self.overflow}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Accumulator:
    """The levels from inner to outer, and where the bias enters."""

    levels: tuple[AccumulatorLevel, ...]
    bias: BiasStage = BiasStage.PRELOAD
    policy: OverflowPolicy = added(OverflowPolicy.APPLY)

    def problems(self) -> list[str]:
        """Return what is wrong with the levels, empty if nothing is."""
        found = []
        groups = [level.group for level in self.levels]
        if not groups or groups[-1] != 0 or 0 in groups[:-1]:
            found.append('levels: exactly the last (outermost) level has group "all"')
        for index, level in enumerate(self.levels):
            if level.group < 0:
                found.append(f"levels[{index}].group = {level.group}: must be at least 1")
            if not 8 <= level.bits <= 64:
                found.append(f"levels[{index}].bits = {level.bits}: must be 8..64")
            if level.overflow is Overflow.SATURATE_SYMMETRIC:
                found.append(f"levels[{index}].overflow: an accumulator saturates or wraps")
        inner = groups[:-1]
        for index, (smaller, larger) in enumerate(pairwise(inner)):
            if smaller and (larger % smaller or larger <= smaller):
                found.append(
                    f"levels[{index + 1}].group = {larger}: must be a multiple of {smaller}"
                )
        return found

    def __str__(self) -> str:
        policy = "" if self.policy is OverflowPolicy.APPLY else f" (policy {self.policy})"
        return ", ".join(map(str, self.levels)) + policy


def accumulate(products: Sequence[int], bias: int, accumulator: Accumulator) -> tuple[int, Event]:
    """Accumulate ``products`` in plain Python integers; also say what overflowed."""
    addends, exact = list(products), list(products)
    event = Event.NONE
    done = 1  # products that one addend stands for
    for level in accumulator.levels:
        outermost = level is accumulator.levels[-1]
        size = len(addends) if outermost else level.group // done
        start, last = _bias_of(accumulator, bias) if outermost else (0, [])
        event |= _events(_grouped(exact, size), start, last, level.kind)
        addends = [_add_up(start, [*group, *last], level) for group in _grouped(addends, size)]
        exact = [start + sum(group) + sum(last) for group in _grouped(exact, size)]
        done = level.group
    if addends != exact:
        event |= Event.CHANGED
    if event & Event.PERSISTENT:
        event &= ~Event.TRANSIENT
    reported = accumulator.policy is OverflowPolicy.REPORT
    return (exact if reported else addends)[0], event


def _bias_of(accumulator: Accumulator, bias: int) -> tuple[int, list[int]]:
    """Return what the outermost register starts with, and what it adds last."""
    return (bias, []) if accumulator.bias is BiasStage.PRELOAD else (0, [bias])


def _grouped(addends: Sequence[int], size: int) -> list[Sequence[int]]:
    return [addends[i : i + size] for i in range(0, len(addends), size)] if addends else [[]]


def _events(groups: Sequence[Sequence[int]], start: int, last: list[int], kind: IntType) -> Event:
    """Compare the exact sums of one level with its register."""
    event = Event.NONE
    for group in groups:
        sums = list(itertools.accumulate([*group, *last], initial=start))
        outside = [not kind.low <= total <= kind.high for total in sums]
        event |= Event.PERSISTENT if outside[-1] else Event.NONE
        event |= Event.TRANSIENT if any(outside[:-1]) else Event.NONE
    return event


def _add_up(start: int, addends: Sequence[int], level: AccumulatorLevel) -> int:
    """Add up one group in one register."""
    if level.overflow is Overflow.WRAP:
        return fit(start + sum(addends), level.kind, level.overflow)
    register = fit(start, level.kind, level.overflow)
    for addend in addends:
        register = fit(register + addend, level.kind, level.overflow)
    return register


def level_table(accumulator: Accumulator, length: int) -> NDArray[np.int64]:
    """Return the levels as rows (addends per group, low, high, wraps) for the kernels.

    ``length`` is the number of products; the outermost level takes all that reach it.
    """
    rows = []
    done = 1
    for level in accumulator.levels:
        addends = level.group // done if level.group else length + 1
        rows.append((addends, level.kind.low, level.kind.high, level.overflow is Overflow.WRAP))
        done = level.group
    return np.array(rows, dtype=np.int64)


@kernel
def accumulate_kernel(a, b, bias, bias_last, levels, registers, sums, counts):  # type: ignore[no-untyped-def]
    """Dot product of ``a`` and ``b`` through ``levels``: its sum, the exact sum, the event's bits.

    ``registers``, ``sums`` and ``counts`` are int64 scratch of one entry per level: what the
    level's register holds, what one of unlimited width would hold, addends so far. Registers of
    wrapping levels hold the exact sum of their addends until it is handed over.
    """
    outer = levels.shape[0] - 1
    on_the_way = False
    completed = False
    for level in range(outer + 1):
        registers[level] = 0
        sums[level] = 0
        counts[level] = 0
    if not bias_last:
        registers[outer] = bias
        sums[outer] = bias
        if levels[outer, 3] == 0:
            registers[outer] = fit_kernel(bias, levels[outer, 1], levels[outer, 2], False)
    for k in range(a.shape[0]):
        addend = np.int64(a[k]) * np.int64(b[k])
        exact = addend
        for level in range(outer + 1):
            on_the_way |= sums[level] < levels[level, 1] or sums[level] > levels[level, 2]
            sums[level] += exact
            registers[level] += addend
            if levels[level, 3] == 0:
                registers[level] = fit_kernel(
                    registers[level], levels[level, 1], levels[level, 2], False
                )
            counts[level] += 1
            if level == outer or (counts[level] < levels[level, 0] and k + 1 < a.shape[0]):
                break
            # The group is complete: its sum, fitted, is one addend of the next level.
            addend = registers[level]
            if levels[level, 3] == 1:
                addend = fit_kernel(addend, levels[level, 1], levels[level, 2], True)
            exact = sums[level]
            completed |= exact < levels[level, 1] or exact > levels[level, 2]
            registers[level] = 0
            sums[level] = 0
            counts[level] = 0
    total = registers[outer]
    exact = sums[outer]
    if bias_last:
        on_the_way |= exact < levels[outer, 1] or exact > levels[outer, 2]
        total += bias
        exact += bias
    fitted = fit_kernel(total, levels[outer, 1], levels[outer, 2], levels[outer, 3] == 1)
    completed |= exact < levels[outer, 1] or exact > levels[outer, 2]
    event = 4 if completed else (2 if on_the_way else 0)
    return fitted, exact, event + (fitted != exact)


def safe_square(
    bias: NDArray[np.int64], square_b: NDArray[np.int64], accumulator: Accumulator
) -> NDArray[np.int64]:
    """Return, per column of ``b``, the largest squared length of a row of ``a`` that is safe.

    No partial sum, of any level and order, exceeds ``|a_i| |b_j|`` in magnitude (Cauchy-Schwarz):
    output (i, j) cannot overflow while ``|a_i|^2 |b_j|^2 < (limit - |bias_j|)^2``, with the largest
    code of the narrowest level as the limit. -1 where the bias alone reaches it.
    """
    narrowest = min(level.kind.high for level in accumulator.levels)
    limit = min(narrowest, (1 << 31) - 1)  # the square must fit int64
    margin = limit - np.abs(bias)
    largest = (margin * margin - 1) // np.maximum(square_b, 1)
    return np.where(margin > 0, largest, -1)


@kernel
def count_event(event, counts):  # type: ignore[no-untyped-def]
    """Add the bits of one event to int64 ``counts``: changed, transient, persistent."""
    counts[0] += event & 1
    counts[1] += (event >> 1) & 1
    counts[2] += event >> 2


@kernel
def walk_suspects(  # type: ignore[no-untyped-def]
    a, b, bias, bias_last, levels, square_a, safe, apply, exact, events
):
    """Walk step by step those outputs of ``a @ b`` that may overflow; the others stay exact.

    Parameters
    ----------
    a, b
        [M, K] and [N, K] codes: the second operand has its columns as rows
    bias, safe
        int64 [N]; ``safe`` from :func:`safe_square`
    square_a
        int64 [M]: squared lengths of the rows of ``a``
    apply
        whether overflows change sums, or are only counted
    exact
        int64 [M, N]: the exact ``a @ b`` plus bias, corrected in place
    events
        int64 [3]: how many outputs were changed, overflowed transiently, persistently; added to
    """
    registers = np.empty(levels.shape[0], np.int64)
    sums = np.empty(levels.shape[0], np.int64)
    counts = np.empty(levels.shape[0], np.int64)
    for i in range(a.shape[0]):
        for j in range(b.shape[0]):
            if square_a[i] <= safe[j]:
                continue
            total, _, event = accumulate_kernel(
                a[i], b[j], bias[j], bias_last, levels, registers, sums, counts
            )
            count_event(event, events)
            if apply:
                exact[i, j] = total


@kernel
def walk_rows(  # type: ignore[no-untyped-def]
    a, b, bias, bias_last, low, high, wraps, apply, exact, events
):
    """Walk every output of ``a @ b`` through one register, many columns side by side.

    For narrow registers, where nearly every output is a suspect. All sums must fit 32 bits.

    Parameters
    ----------
    a, b
        [M, K] codes; int32 [K, N]
    bias
        int32 [N]
    low, high, wraps
        the one level: smallest and largest code, whether it wraps
    bias_last, apply, exact, events
        see :func:`walk_suspects`
    """
    columns = b.shape[1]
    sums = np.empty(columns, np.int32)
    least = np.empty(columns, np.int32)
    most = np.empty(columns, np.int32)
    registers = np.empty(columns, np.int32)
    bottom = np.int32(low)
    top = np.int32(high)
    for i in range(a.shape[0]):
        for j in range(columns):
            sums[j] = np.int32(0) if bias_last else bias[j]
            registers[j] = min(max(sums[j], bottom), top)
            least[j] = np.int32(0)
            most[j] = np.int32(0)
        for k in range(a.shape[1]):
            factor = np.int32(a[i, k])
            for j in range(columns):
                # What was there before this addend is a sum on the way.
                least[j] = min(least[j], sums[j])
                most[j] = max(most[j], sums[j])
                product = np.int32(factor * b[k, j])
                sums[j] = np.int32(sums[j] + product)
                registers[j] = min(max(np.int32(registers[j] + product), bottom), top)
        for j in range(columns):
            total = registers[j]
            if bias_last:
                least[j] = min(least[j], sums[j])
                most[j] = max(most[j], sums[j])
                sums[j] = np.int32(sums[j] + bias[j])
                total = min(max(np.int32(total + bias[j]), bottom), top)
            if wraps:
                total = np.int32(fit_kernel(np.int64(sums[j]), low, high, True))
            event = 0
            if sums[j] < bottom or sums[j] > top:
                event = 4
            elif least[j] < bottom or most[j] > top:
                event = 2
            count_event(event + (total != sums[j]), events)
            if apply:
                exact[i, j] = total
