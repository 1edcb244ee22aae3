# SPDX-License-Identifier: Apache-2.0
"""A graph of one MatMul whose requantization changes nothing: what leaves the accumulator."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.executor import Executor
from simulator.graph import GraphBuilder
from simulator.graph.ops import MatMul
from simulator.numerics.accumulator import Accumulator
from simulator.numerics.integer_type import IntType, Overflow
from simulator.numerics.rounding import Rounding

Integers = NDArray[np.integer[Any]]
PLAIN = {"rounding": Rounding.FLOOR, "overflow": Overflow.SATURATE}


def product(
    a: Integers, b: Integers, bias: Integers, accumulator: Accumulator, bits: int = 32
) -> Integers:
    """Return the sums [M, N], in a type of ``bits``, of int8 or int16 [M, K] and [K, N]."""
    builder = GraphBuilder("product", defaults=PLAIN)
    width = IntType(bits=8 * a.dtype.itemsize)
    builder.input("a", a.shape, width)
    builder.op(
        MatMul,
        "y",
        "a",
        b=builder.constant("b", b, width),
        bias=builder.constant("bias", bias, IntType(bits=32)),
        transpose_b=False,
        accumulator=accumulator,
        multiplier=1,
        shift=0,
        type=IntType(bits=bits),
    )
    graph = builder.build()
    sums: Integers = Executor(graph, threads=1).run(a[None]).outputs["y"][0]
    return sums
