# SPDX-License-Identifier: Apache-2.0
"""Kernels of :mod:`simulator.numerics.accumulator`: one sum, or all outputs of a product.

Products are added in order only where a register may overflow: of an output that provably stays
inside every register, the exact sum is what the accumulator yields.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from simulator.numerics.accumulator import Accumulator
from simulator.numerics.integer_type import Overflow
from simulator.numerics.jit import kernel
from simulator.numerics.output_stage import fit_kernel


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


def first_shifted_level(accumulator: Accumulator, block: int) -> int:
    """Return the level whose addends are shifted by the exponents of blocks of products.

    It is the first one whose groups are larger than a block.
    """
    groups = [level.group for level in accumulator.levels]
    return next(level for level, group in enumerate(groups) if group == 0 or group > block)


# Exponents, products that share one, the level whose addends are shifted: of products without any.
NOT_SHIFTED = (np.zeros((1, 1), np.uint8), 1, -1)


@kernel
def accumulate_kernel(  # type: ignore[no-untyped-def]
    a, b, bias, bias_last, levels, exponents, block, shifted, registers, sums, counts
):
    """Dot product of ``a`` and ``b`` through ``levels``: its sum, the exact sum, the event's bits.

    What enters level ``shifted`` is shifted to the left by the one of ``exponents`` that belongs to
    its block of products; -1: nothing is.
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
            if level == shifted:
                addend <<= np.int64(exponents[k // block])
                exact <<= np.int64(exponents[k // block])
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


def overflow_bound_squared(
    bias: NDArray[np.int64], square_b: NDArray[np.int64], accumulator: Accumulator
) -> NDArray[np.int64]:
    """Return, per column of ``b``, the largest squared length of a row of ``a`` without overflow.

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
def accumulate_candidates(  # type: ignore[no-untyped-def]
    a, b, bias, bias_last, levels, shifts, square_a, bound, apply, exact, events
):
    """Accumulate in order those outputs of ``a @ b`` that may overflow; the others stay exact.

    Parameters
    ----------
    a, b
        [M, K] and [N, K] codes: the second operand has its columns as rows
    bias, bound
        int64 [N]; ``bound`` from :func:`overflow_bound_squared`
    shifts
        exponents [M, K / block], ``block`` and the level from :func:`first_shifted_level`; or
        ``NOT_SHIFTED``
    square_a
        int64 [M]: squared lengths of the rows of ``a``, shifted as their products are; or more
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
    exponents, block, shifted = shifts
    for i in range(a.shape[0]):
        row = exponents[i if shifted >= 0 else 0]
        for j in range(b.shape[0]):
            if square_a[i] <= bound[j]:
                continue
            total, _, event = accumulate_kernel(
                a[i], b[j], bias[j], bias_last, levels, row, block, shifted,
                registers, sums, counts,
            )  # fmt: skip
            count_event(event, events)
            if apply:
                exact[i, j] = total


@kernel
def accumulate_rows(  # type: ignore[no-untyped-def]
    a, b, bias, bias_last, low, high, wraps, apply, exact, events
):
    """Accumulate every output of ``a @ b`` in order in one register, columns side by side.

    For narrow registers, where nearly every output may overflow. All sums must fit 32 bits.

    Parameters
    ----------
    a, b
        [M, K] codes; int32 [K, N]
    bias
        int32 [N]
    low, high, wraps
        the one level: smallest and largest code, whether it wraps
    bias_last, apply, exact, events
        see :func:`accumulate_candidates`
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
