# SPDX-License-Identifier: Apache-2.0
"""A graph of one MatMul whose requantization changes nothing: what leaves the accumulator."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.executor import Executor
from simulator.graph.graph import IntGraph, Role, Tensor
from simulator.graph.ops import MatMul, Requantization
from simulator.numerics.accumulator import Accumulator
from simulator.numerics.integer_type import IntType, Overflow
from simulator.numerics.rounding import Rounding

Integers = NDArray[np.integer[Any]]
U1, SHIFT = IntType(bits=1, signed=False), IntType(bits=6, signed=False)


def product(
    a: Integers, b: Integers, bias: Integers, accumulator: Accumulator, bits: int = 32
) -> Integers:
    """Return the sums [M, N], in a type of ``bits``, of int8 or int16 [M, K] and [K, N]."""
    tensors, constants = {}, {}

    def add(name: str, shape: tuple[int, ...], kind: IntType, role: Role) -> None:
        tensors[name] = Tensor(name=name, shape=shape, type=kind, role=role)

    width = IntType(bits=8 * a.dtype.itemsize)
    add("a", a.shape, width, Role.INPUT)
    for name, values, kind in [
        ("b", b, width),
        ("bias", bias, IntType(bits=32)),
        ("one", np.array([1]), U1),
        ("no_places", np.array([0]), SHIFT),
    ]:
        add(name, values.shape, kind, Role.CONSTANT)
        constants[name] = values.astype(kind.dtype)
    add("y", (len(a), b.shape[1]), IntType(bits=bits), Role.ACTIVATION)
    op = MatMul(
        name="y",
        a="a",
        b="b",
        transpose_b=False,
        bias="bias",
        accumulator=accumulator,
        requantize=Requantization(
            multiplier="one",
            shift="no_places",
            rounding=Rounding.FLOOR,
            overflow=Overflow.SATURATE,
        ),
    )
    graph = IntGraph(
        name="product",
        profile="none",
        inputs=("a",),
        outputs=("y",),
        tensors=tensors,
        constants=constants,
        ops=(op,),
    )
    sums: Integers = Executor(graph, threads=1).run(a[None]).outputs["y"][0]
    return sums
