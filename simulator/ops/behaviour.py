# SPDX-License-Identifier: Apache-2.0
"""What every op has two of: a reference in plain Python numbers, and a kernel for batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from simulator.gemm import Gemm
from simulator.graph.graph import IntGraph
from simulator.numerics.float_type import Array


class OpResult(NamedTuple):
    """Codes (or float32 values), and how many elements did not fit on the way.

    saturated : results outside the result type before its overflow rule was applied
    overflowed : results whose accumulator overflowed (see :mod:`simulator.numerics.accumulator`)
    """

    codes: Array
    saturated: int = 0
    overflowed: int = 0


Kernel = Callable[[Sequence[Array]], OpResult]


class Behaviour(NamedTuple):
    """How an op computes.

    reference
        ``reference(op, graph, operands) -> OpResult``: one image, operands without a batch
        dimension, plain Python integers (floats in ops that are declared float). Obvious and
        slow; the meaning of the op.
    build
        ``build(op, graph, gemm) -> kernel``: prepares constants once; the kernel takes activations
        with a leading batch dimension, constants without one, and must equal the reference (float
        values: within two units in the last place).
    """

    reference: Callable[[Any, IntGraph, Sequence[Array]], OpResult]
    build: Callable[[Any, IntGraph, Gemm], Kernel]
