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
    low = graph.tensors[op.a].code_type.low

    def kernel(operands: Sequence[IntArray]) -> OpResult:
        codes = np.ascontiguousarray(operands[0])
        out = np.empty(codes.shape, table.dtype)
        look_up(codes.reshape(-1), low, table, out.reshape(-1))
        return OpResult(out)

    return kernel


@compiled
def look_up(codes, low, table, out):  # type: ignore[no-untyped-def]
    """``out[i] = table[codes[i] - low]``."""
    for i in range(codes.shape[0]):
        out[i] = table[np.int64(codes[i]) - low]


BEHAVIOUR = Behaviour(reference, build)
