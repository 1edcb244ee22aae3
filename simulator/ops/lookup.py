# SPDX-License-Identifier: Apache-2.0
"""Lookup: see :class:`simulator.graph.ops.Lookup`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from simulator.gemm import Gemm
from simulator.graph.graph import IntGraph
from simulator.graph.ops import Lookup
from simulator.numerics.integer_type import IntArray
from simulator.numerics.jit import kernel as compiled
from simulator.ops.behaviour import Behaviour, Kernel, OpResult

WIDEST_PATTERN = 2  # bytes of a code whose patterns are counted out


def reference(op: Lookup, graph: IntGraph, operands: Sequence[IntArray]) -> OpResult:
    """One image in plain Python integers."""
    result = graph.result(op)
    table = graph.constants[op.table].tolist()
    low = graph.tensors[op.a].code_type.low
    codes = [table[code - low] for code in operands[0].reshape(-1).tolist()]
    return OpResult(np.array(codes, result.type.dtype).reshape(result.shape))


def build(op: Lookup, graph: IntGraph, _: Gemm) -> Kernel:
    """Kernel for batches."""
    table = graph.constants[op.table]
    kind = graph.tensors[op.a].type
    low = graph.tensors[op.a].code_type.low
    if kind.dtype.itemsize > WIDEST_PATTERN:
        return lambda operands: OpResult(table[operands[0].astype(np.int64) - low])
    by_pattern = table_by_pattern(op, graph)

    def kernel(operands: Sequence[IntArray]) -> OpResult:
        patterns = patterns_of(operands[0])
        out = np.empty(patterns.shape, table.dtype)
        look_up(patterns.reshape(-1), by_pattern, out.reshape(-1))
        return OpResult(out)

    return kernel


def table_by_pattern(op: Lookup, graph: IntGraph) -> IntArray:
    """Return the table's entry for every bit pattern of a stored code, read as unsigned.

    Patterns that are no codes repeat the nearest: codes may be narrower than they are stored.
    """
    table, source = graph.constants[op.table], graph.tensors[op.a]
    stored = source.type.dtype
    patterns = np.arange(1 << 8 * stored.itemsize).astype(stored.str.replace("i", "u"))
    codes = patterns.view(stored).astype(np.int64)
    return table[np.clip(codes - source.code_type.low, 0, len(table) - 1)]


def patterns_of(codes: IntArray) -> IntArray:
    """Return codes as unsigned bit patterns: indices that cannot be negative need no check."""
    stored = np.ascontiguousarray(codes)
    return stored.view(stored.dtype.str.replace("i", "u"))


@compiled
def look_up(patterns, table, out):  # type: ignore[no-untyped-def]
    """``out[i] = table[patterns[i]]`` for unsigned patterns."""
    for i in range(patterns.shape[0]):
        out[i] = table[patterns[i]]


BEHAVIOUR = Behaviour(reference, build)
