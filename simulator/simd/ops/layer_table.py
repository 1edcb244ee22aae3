# SPDX-License-Identifier: Apache-2.0
"""A layer and the table that its codes pass, as one kernel: each strip is looked up once made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from simulator.gemm import Gemm
from simulator.graph.graph import IntGraph
from simulator.graph.ops import Lookup, MatMul, Op
from simulator.ops.behaviour import GroupKernel


def find(graph: IntGraph, first: Op, following: Sequence[Op]) -> Sequence[Op]:
    """Return a product with weights and a table of bytes behind it; none if there is no such."""
    return ()


def simd_kernel(ops: Sequence[Any], graph: IntGraph, gemm: Gemm) -> GroupKernel | None:
    return None
