# SPDX-License-Identifier: Apache-2.0
"""The softmax operations as text: rows for ``text``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from simulator.graph.graph import IntGraph
from simulator.graph.ops import (
    Normalisation,
    Op,
    Shiftmax,
    Softmax,
    SoftmaxFloatTable,
    SoftmaxGemmlowp,
    SoftmaxIBert,
    SoftmaxIta,
    SoftmaxLog2,
    SoftmaxLut513,
)


def _table(graph: IntGraph, op: Softmax) -> str:
    table = graph.tensors[op.table]
    if op.normalisation is Normalisation.DIVISION:
        divided = f"division 2^{op.reciprocal_bits - op.shift}"
    else:
        divided = f"reciprocal 2^{op.reciprocal_bits} >> {op.shift}"
    return (
        f"softmax {op.a}   exp_table[{table.size}] {table.type}, {divided} "
        f"{op.rounding} {op.overflow}"
    )


def _gemmlowp(_: IntGraph, op: SoftmaxGemmlowp) -> str:
    return (
        f"{op.kind} {op.a} × {op.input_multiplier} << {op.input_left_shift} >> 31 from "
        f"{op.smallest_difference} on"
    )


def _lut513(_: IntGraph, op: SoftmaxLut513) -> str:
    return f"{op.kind} {op.a} × {op.input_multiplier} >> {31 - op.input_left_shift}"


def _float_table(graph: IntGraph, op: SoftmaxFloatTable) -> str:
    return f"{op.kind} {op.a}   exp_table[{graph.tensors[op.table].size}] f32, {op.rounding}"


def _ibert(_: IntGraph, op: SoftmaxIBert) -> str:
    return (
        f"{op.kind} {op.a}   {op.coefficient_a}(p + {op.coefficient_b})² + {op.coefficient_c}, "
        f"ln 2 = {op.log2}"
    )


def _shiftmax(_: IntGraph, op: Shiftmax) -> str:
    return f"{op.kind} {op.a}   x0 {op.x0} n {op.n}, {op.output_bits} bits"


def _ita(_: IntGraph, op: SoftmaxIta) -> str:
    return f"{op.kind} {op.a}   octave 2^{op.octave_bits}, groups of {op.group}, 1 = {op.largest}"


def _log2(_: IntGraph, op: SoftmaxLog2) -> str:
    return f"{op.kind} {op.a}   p(p + {op.b}) + {op.c}, x0 {op.x0} n {op.n}"


SOFTMAX_FORMS: Mapping[type[Op], Callable[[IntGraph, Any], str]] = MappingProxyType(
    {
        Softmax: _table,
        SoftmaxGemmlowp: _gemmlowp,
        SoftmaxLut513: _lut513,
        SoftmaxFloatTable: _float_table,
        SoftmaxIBert: _ibert,
        Shiftmax: _shiftmax,
        SoftmaxIta: _ita,
        SoftmaxLog2: _log2,
    }
)
