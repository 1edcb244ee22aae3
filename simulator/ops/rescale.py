# SPDX-License-Identifier: Apache-2.0
"""Rescale: see :class:`simulator.graph.ops.Rescale`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from simulator.gemm import Gemm
from simulator.graph.graph import IntGraph
from simulator.graph.ops import Rescale
from simulator.numerics.integer_type import IntArray
from simulator.ops.behaviour import Behaviour, Kernel, OpResult
from simulator.ops.requantizing import requantize_reference, requantizer


def reference(op: Rescale, graph: IntGraph, operands: Sequence[IntArray]) -> OpResult:
    """One image in plain Python integers."""
    centred = operands[0].astype(object) - graph.tensors[op.a].zero_point
    return OpResult(*requantize_reference(centred, graph, op.requantize, graph.result(op)))


def build(op: Rescale, graph: IntGraph, _: Gemm) -> Kernel:
    """Kernel for batches."""
    requantize = requantizer(graph, op.requantize, graph.result(op))
    addend = np.full(requantize.multiplier.shape, -graph.tensors[op.a].zero_point, np.int64)

    def kernel(operands: Sequence[IntArray]) -> OpResult:
        return OpResult(*requantize(np.ascontiguousarray(operands[0]), addend))

    return kernel


BEHAVIOUR = Behaviour(reference, build)
