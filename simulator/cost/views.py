# SPDX-License-Identifier: Apache-2.0
"""Layout ops whose result is their operand's memory, read under another shape."""

from __future__ import annotations

import math

from simulator.graph.graph import IntGraph
from simulator.graph.ops import Op, Reshape, Slice


def is_view(graph: IntGraph, op: Op) -> bool:
    """Whether the result of ``op`` lies in its operand's memory, so that no code has to move.

    Codes are stored in row-major order. A Reshape keeps that order. A Slice keeps a contiguous run
    of it where nothing lies outside the cut dimension: along the first one, or behind dimensions of
    extent 1. A Slice with a step gathers.
    """
    if isinstance(op, Slice):
        return op.step == 1 and math.prod(graph.tensors[op.a].shape[: op.axis]) == 1
    return isinstance(op, Reshape)
