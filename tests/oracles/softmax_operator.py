# SPDX-License-Identifier: Apache-2.0
"""SOFTMAX as a .tflite model of one operator, and as an operation of ours on the same rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from lite_oracle import Engine, Lite
from numpy.typing import NDArray

from simulator.export.tflite_file import TfliteFile
from simulator.gemm import backend
from simulator.graph import GraphBuilder
from simulator.graph.ops import Op, SoftmaxFloatTable
from simulator.kernel_choice import kernel_of
from simulator.numerics.float_type import FLOAT32
from simulator.numerics.integer_type import IntType
from simulator.numerics.rounding import Rounding
from simulator.numerics.softmax_constants import float_table

Integers = NDArray[np.integer[Any]]
S8, S16 = IntType(bits=8), IntType(bits=16)


def scores(random: np.random.Generator, shape: tuple[int, int], kind: IntType) -> Integers:
    """Return rows of scores: spread over all codes, close together, equal, one far above.

    There must be eight rows or more.
    """
    low, high = kind.low, kind.high
    rows, columns = shape
    spread = random.integers(low, high + 1, shape)
    widths = (1 + high) * random.choice([0.02, 0.1, 0.3], (rows, 1))
    close = random.normal(0, widths, shape) + random.integers(low, high + 1, (rows, 1))
    x = np.where(random.random((rows, 1)) < 0.3, spread, np.rint(close))
    x[0], x[1], x[2] = low, high, random.integers(low, high)
    x[3:8] = random.integers(low, low + high // 8, (5, columns))
    x[3:8, -1] = [low + high // 8, 0, high // 2, high, high]
    return np.clip(x, low, high).astype(kind.dtype)


def run(lite: Lite, engine: Engine, x: Integers, scale: float, result: IntType) -> Integers:
    """Run SOFTMAX; the result's scale and zero point are those that TFLite prescribes."""
    model = TfliteFile()
    of_16_bits = x.dtype == np.int16
    source = model.tensor("x", x.dtype.name, x.shape, scale=scale, zero_point=0)
    y = model.tensor(
        "y",
        result.dtype.name,
        x.shape,
        scale=2.0 ** -(15 if of_16_bits else result.bits),
        zero_point=0 if of_16_bits else result.low,
    )
    model.op("SOFTMAX", [source], [y], beta=1.0)
    model.inputs, model.outputs = [source], [y]
    return lite.run(model, {"x": x}, engine=engine)["y"]


def ours(
    op: Op, x: Integers, result: IntType, zero_point: int, **constants: NDArray[Any]
) -> Integers:
    """Run an operation ``y`` of ours on rows ``a`` of signed codes."""
    builder = GraphBuilder("softmax")
    columns = x.shape[-1:]
    builder.input("a", columns, IntType(bits=8 * x.dtype.itemsize))
    for name, codes in constants.items():
        builder.constant(name, codes, FLOAT32 if codes.dtype == np.float32 else S16)
    builder.declare("y", columns, result, zero_point)
    builder.append(op)
    graph = builder.build()
    return kernel_of(op, graph, backend("numba"))([x]).codes


def by_float_table(x: Integers, scale: float, rounding: Rounding = Rounding.HALF_AWAY) -> Integers:
    """Run our softmax of 8-bit codes with a table of float32 exponentials."""
    op = SoftmaxFloatTable(name="y", a="a", table="table", rounding=rounding)
    return ours(op, x, S8, S8.low, table=float_table(scale))


def exactly(
    x: Integers, scale: float, result: IntType, zero_point: int, fraction_bits: int
) -> NDArray[np.int64]:
    """Return real softmax, rounded once."""
    exponentials = np.exp(scale * (x - x.max(-1, keepdims=True).astype(np.float64)))
    probabilities = exponentials / exponentials.sum(-1, keepdims=True)
    codes = np.floor(probabilities * 2.0**fraction_bits + 0.5) + zero_point
    fitted: NDArray[np.int64] = np.clip(codes, result.low, result.high).astype(np.int64)
    return fitted
