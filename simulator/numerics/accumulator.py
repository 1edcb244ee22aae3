# SPDX-License-Identifier: Apache-2.0
"""Accumulators of finite width: levels of partial sums, from the innermost register outward.

Products are taken in ascending ``k``. Level 0 adds ``group`` products one by one; its sum is one
addend of level 1, and so on; the last level has group 0 ("all") and yields the accumulator.

- ``saturate``: the register is clipped after every addition, so order and group size matter.
- ``wrap``: the register keeps its low bits. Additions modulo ``2^bits`` may be done in any order,
  so only the level's completed sum is looked at.

An output element *overflows* when a saturating level clips at some step, or a wrapping level's
completed sum does not fit. The count of such elements is what the executor reports.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from simulator.numerics.integer_type import IntType, Overflow, fit
from simulator.numerics.jit import kernel
from simulator.numerics.requantization import fit_kernel


class BiasStage(StrEnum):
    """When the bias enters the outermost level."""

    PRELOAD = "preload"  # the register starts with it
    AFTER_LAST_BLOCK = "after_last_block"  # it is the last addend


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
        return ", ".join(map(str, self.levels))


def accumulate(products: Sequence[int], bias: int, accumulator: Accumulator) -> tuple[int, bool]:
    """Accumulate ``products`` in plain Python integers; also say whether anything overflowed."""
    addends = list(products)
    overflowed = False
    done = 1  # products that one addend stands for
    for level in accumulator.levels:
        outermost = level is accumulator.levels[-1]
        size = len(addends) if outermost else level.group // done
        groups = [addends[i : i + size] for i in range(0, len(addends), size)] if addends else [[]]
        sums = []
        for group in groups:
            preload, last = 0, []
            if outermost and accumulator.bias is BiasStage.PRELOAD:
                preload = bias
            elif outermost:
                last = [bias]
            total, clipped = _add_up(preload, [*group, *last], level)
            overflowed |= clipped
            sums.append(total)
        addends, done = sums, level.group
    return addends[0], overflowed


def _add_up(start: int, addends: Sequence[int], level: AccumulatorLevel) -> tuple[int, bool]:
    """Add up one group in one register."""
    if level.overflow is Overflow.WRAP:
        total = start + sum(addends)
        fitted = fit(total, level.kind, level.overflow)
        return fitted, fitted != total
    overflowed = False
    register = start
    for addend in [0, *addends]:  # the 0 stores the preloaded bias
        total = register + addend
        register = fit(total, level.kind, level.overflow)
        overflowed |= register != total
    return register, overflowed


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
def accumulate_kernel(a, b, bias, bias_last, levels, registers, counts):  # type: ignore[no-untyped-def]
    """Dot product of ``a`` and ``b`` through ``levels``; return the sum and 1 if it overflowed.

    ``registers`` and ``counts`` are int64 scratch of one entry per level. Registers of wrapping
    levels hold the exact sum until it is handed over.
    """
    outer = levels.shape[0] - 1
    overflowed = 0
    for level in range(outer + 1):
        registers[level] = 0
        counts[level] = 0
    if not bias_last:
        registers[outer] = bias
        if levels[outer, 3] == 0:
            registers[outer] = fit_kernel(bias, levels[outer, 1], levels[outer, 2], False)
            overflowed |= registers[outer] != bias
    for k in range(a.shape[0]):
        addend = np.int64(a[k]) * np.int64(b[k])
        for level in range(outer + 1):
            total = registers[level] + addend
            if levels[level, 3] == 0:
                registers[level] = fit_kernel(total, levels[level, 1], levels[level, 2], False)
                overflowed |= registers[level] != total
            else:
                registers[level] = total
            counts[level] += 1
            if level == outer or (counts[level] < levels[level, 0] and k + 1 < a.shape[0]):
                break
            # The group is complete: its sum, fitted, is one addend of the next level.
            addend = registers[level]
            if levels[level, 3] == 1:
                addend = fit_kernel(addend, levels[level, 1], levels[level, 2], True)
                overflowed |= addend != registers[level]
            registers[level] = 0
            counts[level] = 0
    total = registers[outer]
    if bias_last:
        total += bias
    fitted = fit_kernel(total, levels[outer, 1], levels[outer, 2], levels[outer, 3] == 1)
    overflowed |= fitted != total
    return fitted, overflowed


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
def walk_suspects(  # type: ignore[no-untyped-def]
    a, b, bias, bias_last, levels, square_a, safe, exact
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
    exact
        int64 [M, N]: the exact ``a @ b`` plus bias, corrected in place

    Returns
    -------
    int
        outputs that overflowed
    """
    registers = np.empty(levels.shape[0], np.int64)
    counts = np.empty(levels.shape[0], np.int64)
    overflowed = 0
    for i in range(a.shape[0]):
        for j in range(b.shape[0]):
            if square_a[i] <= safe[j]:
                continue
            total, flag = accumulate_kernel(
                a[i], b[j], bias[j], bias_last, levels, registers, counts
            )
            exact[i, j] = total
            overflowed += flag
    return overflowed


@kernel
def wrap_sums(exact, low, high):  # type: ignore[no-untyped-def]
    """Wrap exact sums [M, N] in place to one level's register; return how many did not fit."""
    overflowed = 0
    for i in range(exact.shape[0]):
        for j in range(exact.shape[1]):
            fitted = fit_kernel(np.int64(exact[i, j]), low, high, True)
            overflowed += fitted != exact[i, j]
            exact[i, j] = fitted
    return overflowed
