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

The kernels are in :mod:`simulator.numerics.accumulator_kernels`.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntFlag, StrEnum
from itertools import pairwise

from simulator.numerics.added_field import added
from simulator.numerics.integer_type import IntType, Overflow, fit, limits


class BiasStage(StrEnum):
    """Stage at which the bias enters the outermost level."""

    PRELOAD = "preload"  # the register starts with it
    AFTER_LAST_BLOCK = "after_last_block"  # it is the last addend


class OverflowPolicy(StrEnum):
    """Effect of an overflow on a run; it is counted in every case."""

    APPLY = "apply"  # registers wrap or saturate as the chip's would
    REPORT = "report"  # sums stay exact, as in registers that are wide enough
    ERROR = "error"  # as apply, and the run ends at the first op whose sums an overflow changed


class Event(IntFlag):
    """Overflow of one output element's accumulator."""

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


def accumulate(
    products: Sequence[int],
    bias: int,
    accumulator: Accumulator,
    exponents: Sequence[int] = (),
    block: int = 0,
) -> tuple[int, Event]:
    """Accumulate ``products`` in plain Python integers; also say what overflowed.

    Where there are ``exponents``, one for each ``block`` of products, what enters the first level
    whose groups are larger than a block is shifted to the left by that of its block.
    """
    addends, exact = list(products), list(products)
    event = Event.NONE
    done = 1  # products that one addend stands for
    for level in accumulator.levels:
        outermost = level is accumulator.levels[-1]
        size = len(addends) if outermost else level.group // done
        if exponents and (outermost or level.group > block):
            places = [exponents[index * done // block] for index in range(len(addends))]
            addends, exact = (
                [addend << left for addend, left in zip(sums, places, strict=True)]
                for sums in (addends, exact)
            )
            exponents = ()
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
    low, high = kind.low, kind.high
    for group in groups:
        sums = itertools.accumulate([*group, *last], initial=start)
        outside = [not low <= total <= high for total in sums]
        if outside[-1]:
            event |= Event.PERSISTENT
        if any(outside[:-1]):
            event |= Event.TRANSIENT
    return event


def _add_up(start: int, addends: Sequence[int], level: AccumulatorLevel) -> int:
    """Add up one group in one register."""
    if level.overflow is Overflow.WRAP:
        return fit(start + sum(addends), level.kind, level.overflow)
    low, high = limits(level.kind, level.overflow)  # as ``fit`` does, which asks for them each time
    register = min(max(start, low), high)
    for addend in addends:
        register = min(max(register + addend, low), high)
    return register
