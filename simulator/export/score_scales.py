# SPDX-License-Identifier: Apache-2.0
"""What a code of the scores is worth to a softmax, from the constants of its algorithm.

A factor of attention has no op: the same codes stand for other values to the softmax behind it than
to the product before it. The constants narrow the scale down to an interval, which contains the one
that they were made from; each rule inverts a function of
:mod:`simulator.numerics.softmax_constants`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from simulator.errors import InputError
from simulator.graph import IntGraph
from simulator.graph.op import Op
from simulator.graph.ops import (
    AnyMatMul,
    Shiftmax,
    Softmax,
    SoftmaxFloatTable,
    SoftmaxGemmlowp,
    SoftmaxIBert,
    SoftmaxIta,
    SoftmaxLog2,
    SoftmaxLut513,
)
from simulator.numerics.gemmlowp import ARGUMENT_FRACTION_BITS
from simulator.numerics.softmax_constants import LUT513_LOWEST

Interval = tuple[float, float]
_SLACK = 1e-9  # relative, of logarithms in float64
_FLOAT32 = 2.0**-22  # relative, of an argument and an exponential in float32


def score_scale(graph: IntGraph, op: Op) -> float:
    """Return what a code of a softmax's operand is worth to it.

    Of the scales that its constants allow, that of the operand itself or times ``1 / √K``, K being
    the length of the products that made the scores; else the middle of the interval. A ROM that no
    scale explains is read at the operand's own.

    Raises
    ------
    InputError
        If nothing says what the scores are worth.
    """
    (operand,) = op.operands
    low, high = 0.0, math.inf
    for least, most in _INTERVALS[type(op)](graph, op):
        low, high = max(low, least * (1 - _SLACK)), min(high, most * (1 + _SLACK))
    own = graph.tensors[operand].scale
    candidates = [own[0], own[0] * _usual_factor(graph, operand)] if len(own) == 1 else []
    for scale in candidates:
        if low <= scale <= high:
            return scale
    if low <= high < math.inf and low > 0:
        return (low + high) / 2
    if not candidates:
        raise InputError(f"softmax {op.name}: nothing says what its scores {operand} are worth")
    return candidates[0]


def _usual_factor(graph: IntGraph, name: str) -> float:
    """Return ``1 / √K`` of the product that made the scores, sums of masks passed over."""
    makers = graph.makers
    op = makers.get(name)
    while op is not None and not isinstance(op, AnyMatMul):
        op = makers.get(op.operands[0])
    return 1.0 if op is None else graph.tensors[op.a].shape[-1] ** -0.5


def _exp_table(graph: IntGraph, op: Any) -> Iterator[Interval]:
    table = graph.constants[op.table].astype(np.float64)
    largest = table[0]
    places = np.flatnonzero(table[1:] >= 1) + 1
    if largest <= 0 or not places.size:
        return
    least = -np.log((table[places] + 0.5) / largest) / places
    most = -np.log((table[places] - 0.5) / largest) / places
    yield float(least.max()), float(most.min())


def _float_table(graph: IntGraph, op: Any) -> Iterator[Interval]:
    table = graph.constants[op.table].astype(np.float64)
    places = np.flatnonzero(table[1:] > np.finfo(np.float32).tiny) + 1
    logarithms = -np.log(table[places])
    least = (logarithms - _FLOAT32) / places * (1 - _FLOAT32)
    most = (logarithms + _FLOAT32) / places * (1 + _FLOAT32)
    yield float(least.max()), float(most.min())


def _of_multiplier(multiplier: int, exponent: int, worth: float) -> Interval:
    """Return the scales whose quotient by ``worth`` is rounded to ``multiplier * 2^exponent``."""
    unit = math.ldexp(worth, exponent)
    return (multiplier - 0.5) * unit, (multiplier + 0.5) * unit


def _gemmlowp(_: IntGraph, op: Any) -> Iterator[Interval]:
    exponent = op.input_left_shift - 31 - ARGUMENT_FRACTION_BITS
    yield _of_multiplier(op.input_multiplier, exponent, 1.0)


def _lut513(_: IntGraph, op: Any) -> Iterator[Interval]:
    worth = -LUT513_LOWEST / 65535.0
    least, most = _of_multiplier(op.input_multiplier, op.input_left_shift - 31, worth)
    yield least * (1 - _FLOAT32), most * (1 + _FLOAT32)  # the factor is a float32 product


def _ita(_: IntGraph, op: Any) -> Iterator[Interval]:
    octave = math.log(2) / (1 << op.octave_bits)
    yield octave, octave


def _floors(code: int, length: float, root: int = 1) -> Interval:
    """Return the scales s whose ``floor(length / s^root)`` is ``code``."""
    most = math.inf if code <= 0 else (length / code) ** (1 / root)
    return (length / (code + 1)) ** (1 / root), most


def _ibert(_: IntGraph, op: Any) -> Iterator[Interval]:
    yield _floors(op.log2, math.log(2))
    yield _floors(op.coefficient_b, 1.353)
    yield _floors(op.coefficient_c, 0.344 / 0.3585, 2)


def _shiftmax(_: IntGraph, op: Any) -> Iterator[Interval]:
    yield 1.0 / -op.x0, math.inf if op.x0 >= -1 else 1.0 / (-op.x0 - 1)


def _log2(_: IntGraph, op: Any) -> Iterator[Interval]:
    a = 0.35815147
    yield 0.6931 / -op.x0, math.inf if op.x0 >= -1 else 0.6931 / (-op.x0 - 1)
    yield _floors(op.b, 0.96963238 / a)
    yield _floors(op.c, 1.0 / a, 2)


_INTERVALS: Mapping[type[Op], Callable[[IntGraph, Any], Iterator[Interval]]] = MappingProxyType(
    {
        Softmax: _exp_table,
        SoftmaxFloatTable: _float_table,
        SoftmaxGemmlowp: _gemmlowp,
        SoftmaxLut513: _lut513,
        SoftmaxIta: _ita,
        SoftmaxIBert: _ibert,
        Shiftmax: _shiftmax,
        SoftmaxLog2: _log2,
    }
)
