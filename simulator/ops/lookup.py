# SPDX-License-Identifier: Apache-2.0
"""Lookup: see :class:`simulator.graph.ops.Lookup`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from simulator.gemm import Gemm
from simulator.graph.graph import IntGraph
from simulator.graph.ops import Lookup
from simulator.numerics.integer_type import IntArray
from simulator.numerics.jit import has_avx2
from simulator.numerics.jit import kernel as compiled
from simulator.ops.behaviour import Behaviour, Kernel, OpResult
from simulator.simd.lanes.lookup import PART, look_up_bytes

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
    # An entry for every bit pattern of a stored code, in the order of unsigned numbers: an index
    # that cannot be negative needs no check. Patterns that are no codes repeat the nearest.
    size = 1 << 8 * kind.dtype.itemsize
    codes = np.arange(size).astype(kind.dtype.str.replace("i", "u")).view(kind.dtype)
    by_pattern = table[np.clip(codes.astype(np.int64) - low, 0, len(table) - 1)]

    # With bytes on both sides, registers hold the table.
    parts = None
    if by_pattern.nbytes == size and size == 256 and has_avx2():
        parts = np.repeat(by_pattern.reshape(-1, 1, PART), 2, axis=1).reshape(-1)

    def kernel(operands: Sequence[IntArray]) -> OpResult:
        stored = np.ascontiguousarray(operands[0])
        out = np.empty(stored.shape, table.dtype)
        patterns = stored.view(stored.dtype.str.replace("i", "u")).reshape(-1)
        if parts is None:
            look_up(patterns, by_pattern, 0, out.reshape(-1))
        else:
            look_up_in_parts(patterns, parts, by_pattern, out.reshape(-1))
        return OpResult(out)

    return kernel


@compiled
def look_up(patterns, table, start, out):  # type: ignore[no-untyped-def]
    """``out[i] = table[patterns[i]]`` for unsigned patterns, from ``start`` on."""
    for i in range(start, patterns.shape[0]):
        out[i] = table[patterns[i]]


@compiled
def look_up_in_parts(patterns, parts, table, out):  # type: ignore[no-untyped-def]
    """The same for bytes: whole registers first, then what is left."""
    done = look_up_bytes(patterns, parts, out)  # type: ignore[call-arg,var-annotated]
    look_up(patterns, table, done, out)


BEHAVIOUR = Behaviour(reference, build)
