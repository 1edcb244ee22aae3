# SPDX-License-Identifier: Apache-2.0
"""Graphs of one op each, with numbers as networks have them, that run in vector registers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from small_graphs import S8, U8, Draft, exponentials

from simulator.graph.ops import (
    Add,
    AddShifted,
    LayerNorm,
    Lookup,
    MatMul,
    Mul,
    Op,
    Softmax,
    SquaredDifference,
)

IN_REGISTERS = "in vector registers"  # the name of these among the cases of their ops
RANDOM = np.random.default_rng(3)
WEIGHTS = RANDOM.integers(-128, 128, (16, 9)).tolist()
TABLE = RANDOM.integers(-128, 128, 256).tolist()
FACTORS = ((1 << 30, 31), (1981860625, 33), (1434567890, 49))


def _unary(op_type: type[Op], zero_point: int = 17, **fields: Any) -> Callable[[Draft], None]:
    def build(d: Draft) -> None:
        d.input("a", (5, 16), S8, zero_point)
        d.op(op_type, "y", "a", **fields)

    return build


def _binary(op_type: type[Op], **fields: Any) -> Callable[[Draft], None]:
    def build(d: Draft) -> None:
        d.input("a", (5, 16), S8, 17)
        d.operand("b", (5, 16), S8, 9)
        d.op(op_type, "y", "a", "b", **fields)

    return build


def _matmul(d: Draft) -> None:
    d.input("a", (5, 16), S8, 17)
    weights = d.constant("weights", WEIGHTS, S8)
    d.op(MatMul, "y", "a", weights, multiplier=(1 << 30,), shift=(38,))


SIMD_CASES: Mapping[type[Op], Callable[[Draft], None]] = {
    MatMul: _matmul,
    Add: _binary(Add, multiplier_a=(5,), multiplier_b=(3,), shift=3),
    LayerNorm: _unary(
        LayerNorm,
        gamma=[1 << 28] * 16,
        beta=[5 << 40] * 16,
        shift=44,
        sqrt_fraction_bits=16,
        reciprocal_bits=60,
        normalized_fraction_bits=20,
    ),
    Softmax: _unary(
        Softmax,
        zero_point=0,
        table=exponentials(8, largest=(1 << 30) - 1, half_life=9),
        reciprocal_bits=60,
        shift=52,
        type=U8,
    ),
    Lookup: _unary(Lookup, table=TABLE, type=S8),
    AddShifted: _binary(AddShifted, factors=FACTORS, input_left_shift=20),
    SquaredDifference: _binary(
        SquaredDifference, factors=(*FACTORS[:2], (1918553963, 46)), input_left_shift=7
    ),
    Mul: _binary(Mul, multiplier=(1 << 30,), shift=(36,)),
}
