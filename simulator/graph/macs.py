# SPDX-License-Identifier: Apache-2.0
"""Multiply-accumulate operations of matrix products."""

from __future__ import annotations

from simulator.graph.graph import IntGraph
from simulator.graph.op import Op
from simulator.graph.ops import SPECS


def product_macs(graph: IntGraph, op: Op) -> int:
    """Return the multiply-accumulate operations of ``op`` for one image: 0 but in products."""
    return SPECS[type(op)].macs(graph, op)


def total_macs(graph: IntGraph) -> int:
    """Return the multiply-accumulate operations of all matrix products, for one image."""
    return sum(product_macs(graph, op) for op in graph.ops)
