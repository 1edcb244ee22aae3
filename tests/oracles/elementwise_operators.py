# SPDX-License-Identifier: Apache-2.0
"""Element-wise operators twice: as .tflite models of one operator, and as ops of ours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from lite_oracle import Engine, Lite
from numpy.typing import NDArray
from tflite_file import TfliteFile

from simulator.gemm import backend
from simulator.graph.graph import IntGraph, Role, Tensor
from simulator.graph.op import Op, Requantization
from simulator.graph.ops import (
    AddShifted,
    InterpolatedLookup,
    Lookup,
    Mean,
    Mul,
    SquaredDifference,
)
from simulator.graph.verify import verify
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
from simulator.ops import BEHAVIOURS

Integers = NDArray[np.integer[Any]]
TFLITE: dict[str, Any] = {
    "rounding": Rounding.HALF_UP,
    "double_rounding": DoubleRounding.SYMMETRIC,
    "overflow": Overflow.SATURATE,
}


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


@dataclass
class OneOp:
    """A graph of one op of ours, and its kernel's codes."""

    operands: Sequence[Quantized]
    result: Quantized
    tensors: dict[str, Tensor] = field(default_factory=dict)
    constants: dict[str, Integers] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for index, operand in enumerate(self.operands):
            shape = operand.codes.shape if operand.constant else operand.codes.shape[1:]
            role = Role.CONSTANT if operand.constant else Role.ACTIVATION
            self._declare(f"x{index}", shape, operand.bits, operand.zero_point, role)
            if operand.constant:
                self.constants[f"x{index}"] = operand.codes
        result = self.result
        self._declare("y", result.codes.shape[1:], result.bits, result.zero_point)

    def _declare(
        self,
        name: str,
        shape: Sequence[int],
        bits: int,
        zero_point: int = 0,
        role: Role = Role.ACTIVATION,
        *,
        signed: bool = True,
    ) -> None:
        self.tensors[name] = Tensor(
            name=name,
            shape=tuple(shape),
            type=IntType(bits=bits, signed=signed),
            role=role,
            zero_point=zero_point,
        )

    def constant(self, name: str, codes: Sequence[int], bits: int, *, signed: bool = True) -> str:
        """Add a constant that is not an operand, and return its name."""
        kind = IntType(bits=bits, signed=signed)
        self.constants[name] = np.asarray(codes).astype(kind.dtype)
        shape = self.constants[name].shape
        self._declare(name, shape, bits, role=Role.CONSTANT, signed=signed)
        return name

    def requantization(self, multiplier: int, shift: int, **fields: Any) -> Requantization:
        """Return TFLite's requantization, by one factor."""
        return Requantization(
            multiplier=self.constant("multiplier", [multiplier], 31, signed=False),
            shift=self.constant("shift", [shift], 6, signed=False),
            **TFLITE | fields,
        )

    def run(self, op: Op) -> Integers:
        """Run the op's kernel on all images."""
        tensors = dict(self.tensors)
        for name in ("x0", "x1"):
            if name in tensors and tensors[name].role is Role.ACTIVATION:
                # An activation of no op: allowed as the input, and there is but one of these.
                role = Role.INPUT if name == "x0" else Role.ACTIVATION
                tensors[name] = replace(tensors[name], role=role)
        graph = IntGraph(
            name="one",
            profile="tflite",
            inputs=("x0",),
            outputs=("y",),
            tensors=tensors,
            ops=(op,),
            constants=self.constants,
            meta={},
        )
        assert verify(_with_one_input(graph)) == []
        kernel = BEHAVIOURS[type(op)].build(op, graph, backend("numba"))
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
    one = OneOp(operands, result)
    a, b = operands
    constants = sum_constants(a.scale, b.scale, result.scale, ADD_LEFT_SHIFT[a.bits])
    return one.run(
        AddShifted(
            name="y",
            a="x0",
            b="x1",
            subtract=subtract,
            **TFLITE | constants._asdict() | fields,
        )
    )


def squared_difference(operands: Sequence[Quantized], result: Quantized, **fields: Any) -> Integers:
    """Our SQUARED_DIFFERENCE."""
    one = OneOp(operands, result)
    a, b = operands
    left_shift = SQUARE_LEFT_SHIFT[a.bits]
    constants = squared_difference_constants(a.scale, b.scale, result.scale, left_shift)
    return one.run(
        SquaredDifference(name="y", a="x0", b="x1", **TFLITE | constants._asdict() | fields)
    )


def mul(
    operands: Sequence[Quantized],
    result: Quantized,
    *,
    factor_type: type = np.float64,
    **fields: Any,
) -> Integers:
    """Our MUL; the factor is derived in ``factor_type`` from float32 scales."""
    one = OneOp(operands, result)
    a, b, y = (factor_type(tensor.real_scale) for tensor in (*operands, result))
    factor = float(a * b / y)
    requantize = one.requantization(*q31_multiplier_and_shift(factor), **fields)
    return one.run(Mul(name="y", a="x0", b="x1", requantize=requantize))


def mean(
    operand: Quantized, result: Quantized, axis: int, *, folded: bool = True, **fields: Any
) -> Integers:
    """Our MEAN over dimension ``axis`` of one image, which stays.

    Not ``folded``: the divisor is part of the real factor instead of its multiplier.
    """
    one = OneOp([operand], result)
    count = operand.codes.shape[axis + 1]
    factor = operand.real_scale / result.real_scale
    pair = mean_multiplier_and_shift(factor, count)
    if not folded:
        pair = q31_multiplier_and_shift(factor / count)
    accumulator = Accumulator(levels=(AccumulatorLevel(group=0, bits=32, overflow=Overflow.WRAP),))
    return one.run(
        Mean(
            name="y",
            a="x0",
            axis=axis,
            accumulator=accumulator,
            requantize=one.requantization(*pair, **fields),
            keep_dimension=True,
        )
    )


def lookup(operand: Quantized, result: Quantized, table: Sequence[int]) -> Integers:
    """Return a function of 8-bit codes by its table."""
    one = OneOp([operand], result)
    return one.run(Lookup(name="y", a="x0", table=one.constant("table", table, result.bits)))


def interpolated(
    operand: Quantized, result: Quantized, table: Sequence[int], **fields: Any
) -> Integers:
    """Return a function of 16-bit codes by TFLite's interpolation of its table."""
    one = OneOp([operand], result)
    choices = {"shift": 7, "rounding": Rounding.HALF_UP, "overflow": Overflow.SATURATE} | fields
    name = one.constant("table", table, 16)
    return one.run(InterpolatedLookup(name="y", a="x0", table=name, fraction_bits=7, **choices))
