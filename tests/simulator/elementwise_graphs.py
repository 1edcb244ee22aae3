# SPDX-License-Identifier: Apache-2.0
"""Graphs of one op each for the element-wise ops of particular targets: rows of ``CASES``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from simd_graphs import IN_REGISTERS, SIMD_CASES
from small_graphs import S4, S8, S16, S32, U8, Draft

from simulator.graph.ops import (
    AddShifted,
    GeluPolynomial,
    InterpolatedLookup,
    LayerNormBisection,
    Mul,
    Op,
    ShiftGelu,
    SquaredDifference,
)
from simulator.numerics.common_scale import sum_constants
from simulator.numerics.integer_type import IntType
from simulator.numerics.rounding import DoubleRounding, Rounding

Shape = tuple[int, ...]
Factors = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
ROW = [-128, 127, 5, -40]
ROWS = [[-128], [127], [3]]
WIDE_FACTORS: Factors = ((1 << 30, 31), (1987654321, 33), (1234567890, 50))
CURVE = [int(30000 * np.sin(x / 60)) for x in range(513)]
STEEP = [(-1) ** x * 32767 for x in range(512)] + [-32768]
WEIGHT = [1 << 10, -(3 << 9), 1, 0, 70000, -(1 << 10)]
BIAS = [0, 1 << 9, -(1 << 11), 77, -1, 1 << 10]


def _both(d: Draft) -> DoubleRounding:
    """Double rounding where the draft's rounding allows it."""
    return (
        DoubleRounding.SYMMETRIC
        if d.defaults["rounding"] is Rounding.HALF_UP
        else DoubleRounding.NONE
    )


def _pair(
    d: Draft,
    op_type: type[Op],
    a: Shape = (3, 4),
    b: Shape = (3, 4),
    source: tuple[IntType, IntType] = (S8, S8),
    **fields: Any,
) -> None:
    d.input("a", a, source[0], source[0].low + 111)
    d.operand("b", b, source[1], source[1].high // 3)
    d.op(op_type, "y", "a", "b", **{"zero_point": 5} | fields)


def _with_constant(
    d: Draft, op_type: type[Op], codes: Sequence[Any], a: Shape = (2, 3, 4), **fields: Any
) -> None:
    d.input("a", a, S8, 9)
    d.constant("b", codes, S8, -40)
    d.op(op_type, "y", "a", "b", **{"zero_point": -11} | fields)


def _with_itself(d: Draft, op_type: type[Op], **fields: Any) -> None:
    d.input("a", (3, 4), U8, 200)
    d.op(op_type, "y", "a", "a", **fields)


def _shapes(op_type: type[Op]) -> dict[str, Callable[[Draft], None]]:
    """Return the cases of broadcasting, which are the same for all ops of two tensors."""
    return {
        "of the same shape": lambda d: _pair(d, op_type),
        "unsigned and signed": lambda d: _pair(d, op_type, source=(U8, S8)),
        "first operand one channel": lambda d: _pair(d, op_type, (3, 1), (3, 4)),
        "second operand one channel": lambda d: _pair(d, op_type, (2, 3, 4), (2, 3, 1)),
        "both one channel": lambda d: _pair(d, op_type, (3, 1), (3, 1)),
        "of vectors": lambda d: _pair(d, op_type, (4,), (1,)),
        "constant vector": lambda d: _with_constant(d, op_type, ROW),
        "constant matrix": lambda d: _with_constant(d, op_type, [ROW, ROW[::-1], [0] * 4]),
        "constant of one channel": lambda d: _with_constant(d, op_type, ROWS),
        "constant number": lambda d: _with_constant(d, op_type, [77]),
        "one channel and a constant vector": lambda d: _with_constant(d, op_type, ROW, (2, 3, 1)),
        "with itself": lambda d: _with_itself(d, op_type),
    }


def _interpolated(
    d: Draft, table: Sequence[int] = CURVE, source: IntType = S16, **fields: Any
) -> None:
    d.input("a", (4, 7), source, 3)
    d.op(InterpolatedLookup, "y", "a", table=table, **fields)


def _one_operand(
    d: Draft, op_type: type[Op], source: IntType = S8, shape: Shape = (6, 5), **fields: Any
) -> None:
    d.input("a", shape, source, source.low + (7 << source.bits - 4))
    d.op(op_type, "y", "a", **fields)


def _tflite_sum(d: Draft, kind: IntType, left_shift: int, **fields: Any) -> None:
    constants = sum_constants(0.031, 0.0077, 0.029, left_shift)
    factors = tuple(zip(constants[1::2], constants[2::2], strict=True))
    _pair(
        d,
        AddShifted,
        source=(kind, kind),
        input_left_shift=left_shift,
        factors=factors,
        double_rounding=_both(d),
        type=kind,
        **fields,
    )


ELEMENTWISE_CASES: Mapping[type[Op], Mapping[str, Callable[[Draft], None]]] = {
    AddShifted: {
        **_shapes(AddShifted),
        "difference": lambda d: _pair(d, AddShifted, subtract=True),
        "difference with a constant": lambda d: _with_constant(d, AddShifted, ROW, subtract=True),
        "8 bits shifted by 20": lambda d: _tflite_sum(d, S8, 20),
        "16 bits shifted by 15": lambda d: _tflite_sum(d, S16, 15, subtract=True),
        "rounded twice": lambda d: _pair(
            d,
            AddShifted,
            factors=((1 << 30, 36), (1610612736, 37), (1 << 30, 33)),
            input_left_shift=10,
            double_rounding=_both(d),
        ),
        "no shift": lambda d: _pair(
            d, AddShifted, factors=((1, 0), (2, 0), (1, 0)), input_left_shift=0
        ),
        IN_REGISTERS: SIMD_CASES[AddShifted],
    },
    SquaredDifference: {
        **_shapes(SquaredDifference),
        "fine": lambda d: _pair(
            d, SquaredDifference, factors=((3, 5), (5, 6), (1, 7)), zero_point=-128
        ),
        "nothing, at the lowest code": lambda d: _with_itself(
            d, SquaredDifference, factors=((3, 5), (3, 5), (1, 7)), zero_point=-128
        ),
        "rounded twice": lambda d: _pair(
            d,
            SquaredDifference,
            factors=((1 << 30, 31), (1 << 29, 32), (1 << 30, 45)),
            input_left_shift=7,
            double_rounding=_both(d),
            zero_point=-128,
        ),
        "16 bits": lambda d: _pair(
            d,
            SquaredDifference,
            source=(S16, S16),
            factors=((1 << 30, 31), (1 << 30, 32), (1 << 30, 45)),
            input_left_shift=0,
            type=S16,
        ),
        IN_REGISTERS: SIMD_CASES[SquaredDifference],
    },
    Mul: {
        **_shapes(Mul),
        "per channel": lambda d: _pair(
            d, Mul, multiplier=(1, 2, 3, 4), shift=(5, 6, 7, 8), type=S16
        ),
        "per channel from one": lambda d: _pair(
            d, Mul, (3, 1), (3, 4), multiplier=(1, 2, 3, 4), shift=(5, 6, 7, 8)
        ),
        "16 bits": lambda d: _pair(d, Mul, source=(S16, S8), shift=(15,), type=S16),
        IN_REGISTERS: SIMD_CASES[Mul],
    },
    InterpolatedLookup: {
        "rounded": _interpolated,
        "fraction kept": lambda d: _interpolated(d, shift=0, type=S32),
        "steep": lambda d: _interpolated(d, STEEP, shift=6),
        "to 8 bits": lambda d: _interpolated(d, shift=14, type=S8),
        "of 8 bits": lambda d: _interpolated(
            d, [-100, 100, 90, 7, -8], S8, fraction_bits=6, shift=6, type=S8
        ),
        "of unsigned codes": lambda d: _interpolated(
            d, CURVE[::32], U8, fraction_bits=4, shift=10, type=S8
        ),
        "no fraction": lambda d: _interpolated(
            d, CURVE[:257], S8, fraction_bits=0, shift=3, type=S16
        ),
        "one interval": lambda d: _interpolated(d, [-7, 9], S4, fraction_bits=4, shift=3, type=S4),
    },
    GeluPolynomial: {
        "26 bits": lambda d: _one_operand(d, GeluPolynomial),
        "negated, half sum": lambda d: _one_operand(
            d,
            GeluPolynomial,
            constant=2500,
            one=2500,
            negated=True,
            sum_shift=1,
            shift=(11, 12, 13, 14, 15),
            multiplier=(1, 2, 3, 4, 5),
            intermediate_bits=32,
            zero_point=4,
        ),
        "clipped below": lambda d: _one_operand(
            d, GeluPolynomial, clip_low=-60, multiplier=(1,), shift=(10,)
        ),
        "narrow registers": lambda d: _one_operand(
            d, GeluPolynomial, intermediate_bits=12, multiplier=(1,), shift=(4,)
        ),
        "16 bits, shifted": lambda d: _one_operand(
            d,
            GeluPolynomial,
            S16,
            clip=20000,
            constant=-400000000,
            one=-24415,
            erf_shift=14,
            intermediate_bits=32,
            shift=(24,),
            type=S16,
        ),
        "clipped to nothing": lambda d: _one_operand(
            d, GeluPolynomial, clip=0, constant=3, one=5, shift=(4,)
        ),
    },
    ShiftGelu: {
        "8 bits": lambda d: _one_operand(d, ShiftGelu),
        "fine scale": lambda d: _one_operand(d, ShiftGelu, octave=588, shift=(7,)),
        "one code an octave": lambda d: _one_operand(d, ShiftGelu, octave=1, zero_point=-9),
        "unsigned, per channel": lambda d: _one_operand(
            d,
            ShiftGelu,
            U8,
            octave=7,
            multiplier=(1, 2, 3, 4, 5),
            shift=(7, 6, 8, 9, 10),
        ),
        "16 bits": lambda d: _one_operand(
            d, ShiftGelu, S16, octave=3000, output_bits=16, shift=(17,), type=S16
        ),
        "few fraction bits": lambda d: _one_operand(
            d, ShiftGelu, octave=9, fraction_bits=4, output_bits=4, shift=(4,)
        ),
        "many ties": lambda d: _one_operand(
            d, ShiftGelu, multiplier=(1,), shift=(2,), type=S16, shape=(8, 9)
        ),
        "single codes": lambda d: _one_operand(d, ShiftGelu, shape=(8, 1), octave=20),
    },
    LayerNormBisection: {
        "8 bits": lambda d: _one_operand(
            d, LayerNormBisection, shape=(7, 6), weight=WEIGHT, bias=BIAS
        ),
        "unsigned": lambda d: _one_operand(
            d, LayerNormBisection, U8, (7, 6), weight=WEIGHT, bias=BIAS, shift=4, zero_point=3
        ),
        "16 bits": lambda d: _one_operand(
            d, LayerNormBisection, S16, (7, 6), weight=WEIGHT, bias=BIAS, type=S16, shift=3
        ),
        "small": lambda d: _one_operand(
            d, LayerNormBisection, S4, (9, 3), weight=[7, -5, 3], bias=[1, 2, -3], shift=1
        ),
        "no shift": lambda d: _one_operand(
            d, LayerNormBisection, shape=(7, 6), weight=[50] * 6, bias=BIAS, shift=0, type=S16
        ),
    },
}
