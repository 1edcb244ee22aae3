# SPDX-License-Identifier: Apache-2.0
"""The rules of the softmax operations: a row for ``verify``.

Each algorithm has parameters within which its kernel, and the hardware that it describes, never
pass their registers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from simulator.graph.graph import IntGraph
from simulator.graph.ops import (
    SOFTMAX_OPS,
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
from simulator.numerics.fixed_point import LARGEST_SHIFT
from simulator.numerics.float_type import FLOAT32

# Exponentials of every difference of two codes are tabulated once.
_WIDEST_CODES = 16
_LUT513_ENTRIES, _LUT513_LARGEST = 513, (1 << 15) - 1
_GEMMLOWP_LONGEST = (1 << 12) - 1  # each score may be 1 in Q12.19
_ITA_ONE, _ITA_SUM_BITS = 256, 19


def softmax_parameters_fit(graph: IntGraph, op: Op) -> Iterator[str]:
    """Parameters keep every intermediate within what the algorithm has for it."""
    if isinstance(op, Softmax):
        if op.normalisation is Normalisation.DIVISION and op.shift > op.reciprocal_bits:
            yield (
                f"shift {op.shift}: a division needs reciprocal_bits - shift, the fraction bits of "
                f"the result, and reciprocal_bits is {op.reciprocal_bits}"
            )
    elif isinstance(op, SOFTMAX_OPS):
        for name in (op.operands[0], op.name):
            kind = graph.tensors[name].code_type
            if kind.bits > _WIDEST_CODES:
                yield f"{name} has {kind.bits} bits, wanted at most {_WIDEST_CODES}"
                return
        yield from _RULES[type(op)](graph, op)


def _columns(graph: IntGraph, op: Op) -> int:
    return graph.result(op).shape[-1]


def _largest_difference(graph: IntGraph, op: Op) -> int:
    return (1 << graph.tensors[op.operands[0]].code_type.bits) - 1


def _rows_are_short(graph: IntGraph, op: Op, longest: int) -> Iterator[str]:
    columns = _columns(graph, op)
    if columns > longest:
        yield f"rows of {columns}: the sum of exponentials has room for {longest}"


def _within(name: str, value: int, low: int, high: int) -> Iterator[str]:
    if not low <= value <= high:
        yield f"{name} {value}: must be {low}..{high}"


def _holds(graph: IntGraph, op: Op, largest: int) -> Iterator[str]:
    result = graph.result(op)
    if result.zero_point + largest > result.code_type.high:
        yield (
            f"result is {result.type} with zero point {result.zero_point}, it must hold "
            f"0..{largest} above it"
        )


def _gemmlowp(graph: IntGraph, op: SoftmaxGemmlowp) -> Iterator[str]:
    yield from _within("input_multiplier", op.input_multiplier, 1, (1 << 31) - 1)
    yield from _within("input_left_shift", op.input_left_shift, 0, 31)
    if 0 <= op.input_left_shift <= 31:
        farthest = (1 << 31) >> op.input_left_shift
        yield from _within("smallest_difference", op.smallest_difference, -farthest, 0)
    yield from _rows_are_short(graph, op, _GEMMLOWP_LONGEST)


def _lut513(graph: IntGraph, op: SoftmaxLut513) -> Iterator[str]:
    yield from _within("input_multiplier", op.input_multiplier, 0, (1 << 31) - 1)
    # A difference shifted left stays within 32 bits.
    left = 32 - (_largest_difference(graph, op) + 1).bit_length()
    yield from _within("input_left_shift", op.input_left_shift, -31, left)
    yield from _rows_are_short(graph, op, (1 << 31) // (_LUT513_LARGEST + 1) - 1)
    yield from _holds(graph, op, _LUT513_LARGEST)
    for name in (op.exp_table, op.reciprocal_table):
        table = graph.constants[name]
        if table.shape != (_LUT513_ENTRIES,):
            yield f"table {name} has shape {table.shape}, wanted ({_LUT513_ENTRIES},)"
        elif int(table.min()) < 0 or int(table.max()) > _LUT513_LARGEST:
            yield f"table {name}: must be in 0..{_LUT513_LARGEST}"
        elif name == op.exp_table and min(table[-2:].tolist()) < 1:
            yield f"table {name}: must end above 0, the exponential of the largest score"


def _float_table(graph: IntGraph, op: SoftmaxFloatTable) -> Iterator[str]:
    table, entries = graph.tensors[op.table], _largest_difference(graph, op) + 1
    values = graph.constants[op.table]
    if table.type != FLOAT32:
        yield f"table {op.table} is {table.type}, wanted {FLOAT32}"
    elif table.shape != (entries,):
        yield f"table {op.table} has shape {table.shape}, wanted ({entries},)"
    elif values[0] != 1 or values.min() < 0 or values.max() > 1:
        yield f"table {op.table}: must be in 0..1 and start with 1"


def _ibert(_: IntGraph, op: SoftmaxIBert) -> Iterator[str]:
    if op.log2 < 1:
        yield f"log2 {op.log2}: must be at least 1"
    if op.coefficient_a < 0 or op.coefficient_c < 0:
        yield "coefficient_a and coefficient_c must not be negative"
    elif op.coefficient_a * op.coefficient_b**2 + op.coefficient_c < 1:
        yield "the exponential of the largest score must be above 0"


def _shiftmax(graph: IntGraph, op: Shiftmax) -> Iterator[str]:
    yield from _within("n", op.n, 0, 30)
    yield from _within("output_bits", op.output_bits, 2, 32)
    if 0 <= op.n <= 30:
        # The exponential of the largest score, -x0 * 2^n, has 31 bits: so has no product more.
        yield from _within("x0", op.x0, -((1 << 31) - 1 >> op.n), -1)
    if 2 <= op.output_bits <= 32:
        yield from _holds(graph, op, (1 << op.output_bits - 1) - 1)


def _ita(graph: IntGraph, op: SoftmaxIta) -> Iterator[str]:
    yield from _within("octave_bits", op.octave_bits, 0, _WIDEST_CODES)
    yield from _within("group", op.group, 1, (1 << 31) - 1)
    yield from _within("largest", op.largest, 1, (1 << _WIDEST_CODES) - 1)
    yield from _rows_are_short(graph, op, ((1 << _ITA_SUM_BITS) - 1) // _ITA_ONE)
    yield from _holds(graph, op, op.largest)


def _log2(graph: IntGraph, op: SoftmaxLog2) -> Iterator[str]:
    yield from _within("n", op.n, 0, LARGEST_SHIFT)
    if op.x0 >= 0:
        yield f"x0 {op.x0}: must be negative"
    if op.c < 1:
        yield f"c {op.c}: must be at least 1, the exponential of the largest score"
    result = graph.result(op)
    if result.code_type.signed or result.zero_point:
        yield f"result is {result.type} with zero point {result.zero_point}, wanted unsigned and 0"


_RULES: Mapping[type[Op], Callable[[IntGraph, Any], Iterator[str]]] = MappingProxyType(
    {
        SoftmaxGemmlowp: _gemmlowp,
        SoftmaxLut513: _lut513,
        SoftmaxFloatTable: _float_table,
        SoftmaxIBert: _ibert,
        Shiftmax: _shiftmax,
        SoftmaxIta: _ita,
        SoftmaxLog2: _log2,
    }
)
