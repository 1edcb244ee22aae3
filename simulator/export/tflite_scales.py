# SPDX-License-Identifier: Apache-2.0
"""Scales for a .tflite file from which an engine derives a graph's own multipliers and tables.

A file holds float32 scales and no multiplier; an engine derives those. A graph holds multipliers,
and no scales of weights. What is found here is derived again, as the engines do, and is taken only
if exactly the graph's constants come of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from simulator.errors import InputError
from simulator.export.score_scales import score_scale
from simulator.graph import IntGraph
from simulator.graph.op import Op, Requantization
from simulator.graph.ops import (
    Lookup,
    MatMul,
    SoftmaxFloatTable,
    SoftmaxGemmlowp,
    SoftmaxLut513,
)
from simulator.numerics import function_tables, softmax_constants
from simulator.numerics.fixed_point import q15_multiplier_and_shift, q31_multiplier_and_shift
from simulator.numerics.integer_type import Overflow
from simulator.numerics.rescaling import Arithmetic, RescaleRule, ZeroPointStage
from simulator.numerics.rounding import DoubleRounding, Rounding

# How TFLite's kernels round: gemmlowp's two roundings, ruy's, one of 16-bit activations, the
# reference's layers in float64, XNNPACK.
_ROUNDINGS = frozenset(
    {
        (Arithmetic.FIXED_POINT, Rounding.HALF_UP, DoubleRounding.SYMMETRIC),
        (Arithmetic.FIXED_POINT, Rounding.HALF_UP, DoubleRounding.ASYMMETRIC),
        (Arithmetic.FIXED_POINT, Rounding.HALF_UP, DoubleRounding.NONE),
        (Arithmetic.FLOAT64, Rounding.HALF_AWAY, DoubleRounding.NONE),
        (Arithmetic.FLOAT32, Rounding.HALF_EVEN, DoubleRounding.NONE),
    }
)
_NEIGHBOURS = 2  # float32 numbers on either side that are tried
_BELOW_ALL_FACTORS = 2.0**-40  # Q31 makes 0 of a factor below 2^-32


def one_scale(graph: IntGraph, name: str) -> float:
    """Return the scale of a tensor as a file holds it, float32.

    Raises
    ------
    InputError
        If it has none or several.
    """
    found = graph.tensors[name].scale
    if len(found) != 1:
        what = "a scale per channel" if found else "no scale"
        raise InputError(f"tensor {name} has {what}, and one of TFLite's has one")
    return float(np.float32(found[0]))


def refuse_other_rounding(rule: RescaleRule) -> None:
    """Refuse a requantization that no kernel of TFLite has.

    Raises
    ------
    InputError
        Saying how it rounds.
    """
    rounding = (rule.arithmetic, rule.rounding, rule.double_rounding)
    plain = (rule.overflow, rule.zero_point_stage)
    if rounding not in _ROUNDINGS or plain != (Overflow.SATURATE, ZeroPointStage.AFTER_ROUND):
        raise InputError(
            f"it is rescaled {rule.arithmetic}, {rule.rounding}, double rounding "
            f"{rule.double_rounding}, {rule.overflow}, zero point {rule.zero_point_stage}; no "
            "kernel of TFLite does so"
        )


def derives(multiplier: float, shift: int | None, scales: tuple[float, ...], result: float) -> bool:
    """Return whether an engine makes this factor of the operands' scales and the result's."""
    product = math.prod(scales)
    narrow = np.float32(np.prod(np.array(scales, np.float32)))
    quotients = (
        product / result,
        float(narrow) / result,
        float(narrow / np.float32(result)),
    )
    if shift is None:
        return any(multiplier in {quotient, float(np.float32(quotient))} for quotient in quotients)
    for quotient in quotients:
        pairs = [q31_multiplier_and_shift(quotient), q15_multiplier_and_shift(quotient)]
        pairs.append((round(quotient * 256), 8))
        if any(pair == (multiplier, shift) or pair[0] == multiplier == 0 for pair in pairs):
            return True
    return False


def factor_pairs(graph: IntGraph, requantize: Requantization) -> Iterator[tuple[float, int | None]]:
    """Yield multipliers and shifts, channel by channel."""
    multipliers = graph.constants[requantize.multiplier].tolist()
    if requantize.shift is None:
        yield from ((multiplier, None) for multiplier in multipliers)
        return
    yield from zip(multipliers, graph.constants[requantize.shift].tolist(), strict=True)


def other_operand(pair: tuple[float, int | None], known: tuple[float, ...], result: float) -> float:
    """Return the float32 scale of an operand from a factor and all other scales.

    Raises
    ------
    InputError
        If no such number gives exactly that factor.
    """
    multiplier, shift = pair
    factor = multiplier if shift is None else math.ldexp(multiplier, -shift)
    nearest = np.float32((factor or _BELOW_ALL_FACTORS) * result / math.prod(known))
    for scale in _near(nearest):
        if derives(multiplier, shift, (*known, scale), result):
            return scale
    raise InputError(
        f"its factor {multiplier}"
        + (f" >> {shift}" if shift is not None else "")
        + " is none that TFLite derives from float32 scales"
    )


def _near(scale: np.float32) -> Iterator[float]:
    below = above = scale
    yield float(scale)
    for _ in range(_NEIGHBOURS):
        below = np.nextafter(below, np.float32(0))
        above = np.nextafter(above, np.float32(np.inf))
        yield from (float(below), float(above))


def weight_scales(graph: IntGraph, op: MatMul) -> NDArray[np.float32]:
    """Return the scales of a layer's weight, [1] or [N]."""
    operand, result = one_scale(graph, op.a), one_scale(graph, op.name)
    pairs = factor_pairs(graph, op.requantize)
    return np.array([other_operand(pair, (operand,), result) for pair in pairs], np.float32)


def score_scale_of_file(graph: IntGraph, op: Op) -> float:
    """Return what a code is worth to a softmax, as a file holds it.

    Raises
    ------
    InputError
        If no float32 number gives the softmax's constants.
    """
    for scale in _near(np.float32(score_scale(graph, op))):
        if _softmax_is_of(graph, op, scale):
            return scale
    raise InputError("its constants are those of no float32 scale of scores")


def _softmax_is_of(graph: IntGraph, op: Op, scale: float) -> bool:
    if isinstance(op, SoftmaxGemmlowp):
        found = (op.input_multiplier, op.input_left_shift, op.smallest_difference)
        return tuple(softmax_constants.gemmlowp_constants(scale)) == found
    if isinstance(op, SoftmaxLut513):
        made = [softmax_constants.lut513_tables(real) for real in (np.float32, np.float64)]
        table = graph.constants[op.reciprocal_table]
        known = any(np.array_equal(tables.reciprocal_table, table) for tables in made)
        multiplier = softmax_constants.lut513_multiplier(scale)
        return known and multiplier == (op.input_multiplier, op.input_left_shift)
    assert isinstance(op, SoftmaxFloatTable)
    bits = graph.tensors[op.a].code_type.bits
    return np.array_equal(
        softmax_constants.float_table(scale, bits=bits), graph.constants[op.table]
    )


def table_operator(graph: IntGraph, op: Lookup) -> tuple[str, dict[str, bool]]:
    """Return the operator, with its options, whose table in TFLite a Lookup has.

    Raises
    ------
    InputError
        If it is the table of none: a ROM, or a function evaluated otherwise.
    """
    x, y = graph.tensors[op.a], graph.result(op)
    ends = (one_scale(graph, op.a), x.zero_point, one_scale(graph, op.name), y.zero_point)
    table = graph.constants[op.table]
    for function, approximate in ((function_tables.gelu, False), (function_tables.gelu_tanh, True)):
        made = function_tables.function_table(
            function, *ends, input_type=x.code_type, output_type=y.code_type
        )
        if np.array_equal(made, table):
            return "GELU", {"approximate": approximate}
    if x.type == y.type and np.array_equal(
        function_tables.rsqrt_table(*ends, bits=x.code_type.bits), table
    ):
        return "RSQRT", {}
    raise InputError(
        "its table is that of no operator of TFLite at these scales (GELU, RSQRT), and a file "
        "holds no table"
    )
