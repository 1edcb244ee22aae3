# SPDX-License-Identifier: Apache-2.0
"""Element-wise operators twice: as .tflite models of one operator, and as ops of ours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from lite_oracle import Engine, Lite
from numpy.typing import NDArray

from simulator.export.tflite_file import TfliteFile
from simulator.gemm import backend
from simulator.graph.builder import GraphBuilder
from simulator.graph.graph import IntGraph, Role
from simulator.graph.op import Op
from simulator.graph.ops import (
    AddShifted,
    InterpolatedLookup,
    Lookup,
    Mean,
    Mul,
    SquaredDifference,
)
from simulator.graph.verify import verify
from simulator.kernel_choice import kernel_of
from simulator.numerics.accumulator import Accumulator, AccumulatorLevel
from simulator.numerics.common_scale import (
    ADD_LEFT_SHIFT,
    SQUARE_LEFT_SHIFT,
    squared_difference_constants,
    sum_constants,
)
from simulator.numerics.fixed_point import mean_multiplier_and_shift, q31_multiplier_and_shift
from simulator.numerics.integer_type import IntType, Overflow
from simulator.numerics.rounding import DoubleRounding, Rounding

Integers = NDArray[np.integer[Any]]
TFLITE: dict[str, Any] = {
    "rounding": Rounding.HALF_UP,
    "double_rounding": DoubleRounding.SYMMETRIC,
    "overflow": Overflow.SATURATE,
    "accumulator": Accumulator(
        levels=(AccumulatorLevel(group=0, bits=32, overflow=Overflow.WRAP),)
    ),
}
TYPES = {"multiplier": IntType(bits=31, signed=False), "shift": IntType(bits=6, signed=False)}


@dataclass(frozen=True, kw_only=True)
class Quantized:
    """Codes with their scale and zero point; an operand, or (its codes to come) a result.

    Operands have images in front; constants, which the model holds, have none.
    """

    codes: Integers
    scale: float
    zero_point: int = 0
    constant: bool = False

    @property
    def bits(self) -> int:
        """Bits of a code."""
        return self.codes.dtype.itemsize * 8

    @property
    def real_scale(self) -> float:
        """The scale as the file holds it."""
        return float(np.float32(self.scale))


def lite_result(
    lite: Lite,
    engine: Engine,
    kind: str,
    operands: Sequence[Quantized],
    result: Quantized,
    *,
    axes: Sequence[int] | None = None,
    **options: Any,
) -> Integers:
    """Return an engine's codes, of the shape and type of ``result.codes``."""
    model, tensors, inputs = TfliteFile(), [], {}
    for index, operand in enumerate(operands):
        name = f"x{index}"
        tensors.append(
            model.tensor(
                name,
                operand.codes.dtype.name,
                operand.codes.shape,
                scale=operand.scale,
                zero_point=operand.zero_point,
                data=operand.codes if operand.constant else None,
            )
        )
        if not operand.constant:
            inputs[name] = operand.codes
    model.inputs = [tensor for tensor in tensors if tensor.name in inputs]
    if axes is not None:
        tensors.append(model.tensor("axes", "int32", data=np.array(axes)))
    y = model.tensor(
        "y",
        result.codes.dtype.name,
        result.codes.shape,
        scale=result.scale,
        zero_point=result.zero_point,
    )
    model.op(kind, tensors, [y], **options)
    model.outputs = [y]
    return lite.run(model, inputs, engine=engine)["y"]


class OneOp(GraphBuilder):
    """A graph of one op of ours, and its kernel's codes."""

    def __init__(self, operands: Sequence[Quantized], result: Quantized) -> None:
        super().__init__("one", "tflite", defaults=TFLITE, types=TYPES)
        self.operands, self.result = operands, result
        self.names = [f"x{index}" for index in range(len(operands))]
        for name, operand in zip(self.names, operands, strict=True):
            kind = IntType(bits=operand.bits)
            if operand.constant:
                self.constant(name, operand.codes, kind, operand.zero_point)
                continue
            # A second activation is computed by no op, which the kernel does not ask about.
            role = Role.INPUT if name == "x0" else Role.ACTIVATION
            self.declare(name, operand.codes.shape[1:], kind, operand.zero_point, role=role)

    def run(self, op_type: type[Op], **fields: Any) -> Integers:
        """Run the kernel of an op on all images."""
        kind = IntType(bits=self.result.bits)
        self.op(op_type, "y", *self.names, type=kind, zero_point=self.result.zero_point, **fields)
        return self.codes()

    def run_as_it_is(self, op: Op) -> Integers:
        """Run the kernel of an op ``y`` whose constants are there."""
        shape, kind = self.result.codes.shape[1:], IntType(bits=self.result.bits)
        self.declare("y", shape, kind, self.result.zero_point)
        self.append(op)
        return self.codes()

    def codes(self) -> Integers:
        """Return the codes of the op."""
        assert self.tensors["y"].shape == self.result.codes.shape[1:]
        graph = self.unverified("y")
        assert verify(_with_one_input(graph)) == []
        (op,) = graph.ops
        kernel = kernel_of(op, graph, backend("numba"))
        return kernel([operand.codes for operand in self.operands]).codes


def _with_one_input(graph: IntGraph) -> IntGraph:
    """Return the graph as a valid one: the second activation a constant of extreme codes."""
    second = graph.tensors.get("x1")
    if second is None or second.role is Role.CONSTANT:
        return graph
    codes = np.full(second.shape, second.code_type.high, second.type.dtype)
    codes.flat[0] = second.code_type.low
    return replace(
        graph,
        tensors={**graph.tensors, "x1": replace(second, role=Role.CONSTANT)},
        constants={**graph.constants, "x1": codes},
    )


def add(
    operands: Sequence[Quantized], result: Quantized, *, subtract: bool = False, **fields: Any
) -> Integers:
    """Our ADD or SUB; ``fields`` replace TFLite's choices."""
    a, b = operands
    constants = sum_constants(a.scale, b.scale, result.scale, ADD_LEFT_SHIFT[a.bits])
    return OneOp(operands, result).run(
        AddShifted, subtract=subtract, **constants._asdict() | fields
    )


def squared_difference(operands: Sequence[Quantized], result: Quantized, **fields: Any) -> Integers:
    """Our SQUARED_DIFFERENCE."""
    a, b = operands
    left_shift = SQUARE_LEFT_SHIFT[a.bits]
    constants = squared_difference_constants(a.scale, b.scale, result.scale, left_shift)
    return OneOp(operands, result).run(SquaredDifference, **constants._asdict() | fields)


def mul(
    operands: Sequence[Quantized],
    result: Quantized,
    *,
    factor_type: type = np.float64,
    **fields: Any,
) -> Integers:
    """Our MUL; the factor is derived in ``factor_type`` from float32 scales."""
    a, b, y = (factor_type(tensor.real_scale) for tensor in (*operands, result))
    multiplier, shift = q31_multiplier_and_shift(float(a * b / y))
    return OneOp(operands, result).run(Mul, multiplier=multiplier, shift=shift, **fields)


def mean(
    operand: Quantized, result: Quantized, axis: int, *, folded: bool = True, **fields: Any
) -> Integers:
    """Our MEAN over dimension ``axis`` of one image, which stays.

    Not ``folded``: the divisor is part of the real factor instead of its multiplier.
    """
    count = operand.codes.shape[axis + 1]
    factor = operand.real_scale / result.real_scale
    multiplier, shift = mean_multiplier_and_shift(factor, count)
    if not folded:
        multiplier, shift = q31_multiplier_and_shift(factor / count)
    choices = {"multiplier": multiplier, "shift": shift} | fields
    return OneOp([operand], result).run(Mean, axis=axis, keep_dimension=True, **choices)


def lookup(operand: Quantized, result: Quantized, table: Sequence[int]) -> Integers:
    """Return a function of 8-bit codes by its table."""
    one = OneOp([operand], result)
    return one.run(Lookup, table=one.constant("table", table, IntType(bits=result.bits)))


def interpolated(
    operand: Quantized, result: Quantized, table: Sequence[int], **fields: Any
) -> Integers:
    """Return a function of 16-bit codes by TFLite's interpolation of its table."""
    one = OneOp([operand], result)
    name = one.constant("table", table, IntType(bits=16))
    choices = {"shift": 7} | fields
    return one.run(InterpolatedLookup, table=name, fraction_bits=7, **choices)
