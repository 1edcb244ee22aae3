# SPDX-License-Identifier: Apache-2.0
"""Row-wise frame of the softmax algorithms: they take rows of codes and clip their results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from simulator.graph.graph import IntGraph, Tensor
from simulator.graph.ops import Op
from simulator.numerics.float_type import Array
from simulator.numerics.integer_type import IntArray
from simulator.numerics.jit import kernel as compiled
from simulator.ops.behaviour import Kernel, OpResult, Reference

Limits = tuple[int, int]


def limits_of(result: Tensor) -> Limits:
    """Return the lowest and the highest code of a tensor."""
    return result.code_type.low, result.code_type.high


def reference_by_row(
    softmax: Callable[[list[int]], Sequence[int]],
    result: Tensor,
    codes: IntArray,
    limits: Limits | None = None,
) -> OpResult:
    """Apply ``softmax`` to every row of one image; add the zero point, clip, and count.

    ``limits`` are those of the codes, the result type's if left out.
    """
    low, high = limits or limits_of(result)
    rows = []
    saturated = 0
    for row in codes.reshape(-1, result.shape[-1]).tolist():
        unfitted = [value + result.zero_point for value in softmax(row)]
        fitted = [min(max(code, low), high) for code in unfitted]
        saturated += sum(code != other for code, other in zip(fitted, unfitted, strict=True))
        rows.append(fitted)
    return OpResult(np.array(rows, result.type.dtype).reshape(result.shape), saturated)


def reference_of_rows(softmax: Callable[[Any, list[int]], Sequence[int]]) -> Reference:
    """Return the reference of an op whose rows are ``softmax(op, row)``."""

    def reference(op: Op, graph: IntGraph, operands: Sequence[IntArray]) -> OpResult:
        return reference_by_row(lambda row: softmax(op, row), graph.result(op), operands[0])

    return reference


def kernel_by_row(
    rule: Callable[..., int], result: Tensor, *constants: Any, limits: Limits | None = None
) -> Kernel:
    """Return a kernel for batches of ``rule(rows, *constants, zero_point, low, high, out)``.

    The rule writes codes into ``out`` and returns how many were clipped.
    """
    low, high = limits or limits_of(result)

    def kernel(operands: Sequence[Array]) -> OpResult:
        rows = np.ascontiguousarray(operands[0]).reshape(-1, result.shape[-1])
        out = np.empty(rows.shape, result.type.dtype)
        saturated = rule(rows, *constants, result.zero_point, low, high, out)
        return OpResult(out.reshape(operands[0].shape), int(saturated))

    return kernel


@compiled
def largest_kernel(rows, i):  # type: ignore[no-untyped-def]
    """Return the largest code of row ``i`` as int64."""
    largest = rows[i, 0]  # in the codes' own type, of which a register holds most
    for j in range(1, rows.shape[1]):
        largest = max(largest, rows[i, j])
    return np.int64(largest)
