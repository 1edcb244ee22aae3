# SPDX-License-Identifier: Apache-2.0
"""Lookup of bytes by bytes in vector registers: the same codes as :mod:`simulator.ops.lookup`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from simulator.gemm import Gemm
from simulator.graph.graph import IntGraph
from simulator.graph.ops import Lookup
from simulator.numerics.integer_type import IntArray
from simulator.numerics.jit import kernel as compiled
from simulator.ops.behaviour import Kernel, OpResult
from simulator.ops.lookup import look_up, patterns_of, table_by_pattern
from simulator.simd.lanes.lookup import PART, look_up_bytes


def simd_kernel(op: Lookup, graph: IntGraph, _: Gemm) -> Kernel | None:
    """Return a kernel for batches in vector registers, or none where codes are not bytes."""
    if any(graph.tensors[name].type.dtype.itemsize > 1 for name in (op.a, op.name)):
        return None
    parts, table = tables_of(op, graph)

    def kernel(operands: Sequence[IntArray]) -> OpResult:
        patterns = patterns_of(operands[0])
        out = np.empty(patterns.shape, table.dtype)
        look_up_in_parts(patterns.reshape(-1), parts, table, out.reshape(-1))
        return OpResult(out)

    return kernel


def tables_of(op: Lookup, graph: IntGraph) -> tuple[IntArray, IntArray]:
    """Return a table by pattern as :func:`look_up_in_parts` takes it: its parts, and whole."""
    table = table_by_pattern(op, graph)
    return np.repeat(table.reshape(-1, 1, PART), 2, axis=1).reshape(-1), table


@compiled
def look_up_in_parts(patterns, parts, table, out):
    """``out[i] = table[patterns[i]]`` for bytes: whole registers first, then what is left."""
    done = look_up_bytes(patterns, parts, table, out)
    look_up(patterns[done:], table, out[done:])
