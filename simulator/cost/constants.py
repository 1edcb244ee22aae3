# SPDX-License-Identifier: Apache-2.0
"""Constants that ops read: weights, biases, multipliers, shifts, tables."""

from __future__ import annotations

from simulator.graph.graph import IntGraph
from simulator.graph.ops import Op, TensorId


def constants_of(graph: IntGraph, op: Op) -> frozenset[TensorId]:
    """Return every constant that ``op`` reads: weights, bias, multipliers, shifts, tables."""
    return frozenset(name for name in (*op.operands, *op.constants) if graph.is_constant(name))


def weight_bytes(graph: IntGraph, *ops: Op) -> int:
    """Return the bytes of all constants that ``ops`` read, each constant once.

    Codes are packed at their own width (:attr:`simulator.graph.graph.Tensor.bytes`).
    """
    names = frozenset[TensorId]().union(*(constants_of(graph, op) for op in ops))
    return sum(graph.tensors[name].bytes for name in names)
