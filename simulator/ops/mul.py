# SPDX-License-Identifier: Apache-2.0
"""Mul: see :class:`simulator.graph.ops.Mul`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from simulator.gemm import Gemm
from simulator.graph.graph import IntGraph
from simulator.graph.ops import Mul
from simulator.numerics.integer_type import IntArray
from simulator.numerics.jit import kernel as compiled
from simulator.ops.behaviour import Behaviour, Kernel, OpResult
from simulator.ops.broadcasting import broadcast_batch, broadcast_integers
from simulator.ops.requantizing import requantize_reference, requantizer


def reference(op: Mul, graph: IntGraph, operands: Sequence[IntArray]) -> OpResult:
    """One image in plain Python integers."""
    result = graph.result(op)
    zero_a, zero_b = (graph.tensors[name].zero_point for name in op.operands)
    a, b = broadcast_integers(operands, result)
    products = (a - zero_a) * (b - zero_b)
    return OpResult(*requantize_reference(products, graph, op.requantize, result))


def build(op: Mul, graph: IntGraph, _: Gemm) -> Kernel:
    """Kernel for batches."""
    result = graph.result(op)
    requantize = requantizer(graph, op.requantize, result)
    zero_points = [graph.tensors[name].zero_point for name in op.operands]

    def kernel(operands: Sequence[IntArray]) -> OpResult:
        a, b = broadcast_batch(operands)
        products = np.empty(a.shape, np.int64)
        multiply(a.reshape(-1), b.reshape(-1), *zero_points, products.reshape(-1))
        return OpResult(*requantize(products))

    return kernel


@compiled
def multiply(a, b, zero_a, zero_b, products):  # type: ignore[no-untyped-def]
    """``products[i] = (a[i] - zero_a) * (b[i] - zero_b)``."""
    for i in range(a.shape[0]):
        products[i] = (np.int64(a[i]) - zero_a) * (np.int64(b[i]) - zero_b)


BEHAVIOUR = Behaviour(reference, build)
