# SPDX-License-Identifier: Apache-2.0
"""Contiguous runs in row-major memory that layout ops read and write."""

from __future__ import annotations

import math

from simulator.graph.graph import IntGraph
from simulator.graph.ops import Concat, Op, Slice, TensorId, Transpose


def run_elements(graph: IntGraph, op: Op, operand: TensorId | None) -> int:
    """Return the elements of one contiguous run of an operand, or of the result (None).

    A Transpose moves runs as long as the dimensions that stay innermost, a Slice runs as long as
    what it takes of the sliced dimension, a Concat of the joined one; every other op reads and
    writes whole tensors.
    """
    shape = graph.tensors[operand].shape if operand is not None else graph.result(op).shape
    if isinstance(op, Transpose):
        kept = 0
        while kept < len(shape) and op.permutation[-1 - kept] == len(shape) - 1 - kept:
            kept += 1
        return math.prod(shape[len(shape) - kept :])
    if isinstance(op, Slice) and operand is not None:
        taken = graph.result(op).shape[op.axis :]
        return math.prod(taken if op.step == 1 else taken[1:])
    if isinstance(op, Concat) and operand is None:
        return min(math.prod(graph.tensors[name].shape[op.axis :]) for name in op.operands)
    return math.prod(shape)
