# SPDX-License-Identifier: Apache-2.0
"""What no input can make of the softmax operations' intermediates: rows for ``ranges``.

Each function returns a number that no intermediate exceeds in magnitude, for parameters that pass
the rules of :mod:`simulator.graph.verify_softmax`.
"""

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


def _columns(graph: IntGraph, op: Op) -> int:
    return graph.result(op).shape[-1]


def _largest_difference(graph: IntGraph, op: Op) -> int:
    return (1 << graph.tensors[op.operands[0]].code_type.bits) - 1


def _table(graph: IntGraph, op: Softmax) -> int:
    table = graph.constants[op.table]
    largest = int(table.max())
    total = largest * _columns(graph, op)
    zero_point = abs(graph.result(op).zero_point)
    if op.normalisation is Normalisation.DIVISION:
        # Twice the rest of a division is compared with the sum.
        return max(largest << op.reciprocal_bits - op.shift, 2 * total) + zero_point
    # The maximum itself contributes table[0], so no sum is smaller.
    inverse = ((1 << op.reciprocal_bits) + total // 2) // max(int(table[0]), 1) + 1
    product = largest * inverse + (1 << op.shift) + zero_point
    return max((1 << op.reciprocal_bits) + total, product)


def _gemmlowp(_: IntGraph, __: SoftmaxGemmlowp) -> int:
    # All products are of two numbers of 32 bits, one of them below 2^31, and half a unit is added.
    return (1 << 31) * ((1 << 31) - 1) + (1 << 30)


def _lut513(graph: IntGraph, op: SoftmaxLut513) -> int:
    shifted = _largest_difference(graph, op) << max(op.input_left_shift, 0)
    # Everything behind it has 31 bits.
    return max(shifted * op.input_multiplier + (1 << 30), 1 << 31)


def _float_table(graph: IntGraph, op: SoftmaxFloatTable) -> int:
    result = graph.result(op)
    # No exponential passes the sum, and no rounding of the three steps adds as much as 1.
    return (1 << result.code_type.bits) + 1 + abs(result.zero_point)


def _ibert(graph: IntGraph, op: SoftmaxIBert) -> int:
    farthest = _largest_difference(graph, op)
    # From 32 octaves on, all the rest of a difference stays in p.
    lowest = min(1 - op.log2, 31 * op.log2 - farthest)
    base = max((lowest + op.coefficient_b) ** 2, op.coefficient_b**2)
    exponential = op.coefficient_a * base + op.coefficient_c
    levels = 1 << graph.result(op).code_type.bits
    widest = exponential * max(_columns(graph, op), levels) + abs(graph.result(op).zero_point)
    return max(widest, 31 * op.log2 + farthest, base, op.coefficient_a)


def _shiftmax(graph: IntGraph, op: Shiftmax) -> int:
    # An exponential times the factor stays below 2^31: neither passes (2^31 - 1) / sum.
    return max(_columns(graph, op), 2) * (-op.x0 << op.n) + (1 << 31)


def _ita(_: IntGraph, op: SoftmaxIta) -> int:
    return max(256 * op.largest, 1 << 19)


def _log2(graph: IntGraph, op: SoftmaxLog2) -> int:
    rest = min(_largest_difference(graph, op), -op.x0 - 1)
    exponential = max(op.c, rest * (rest - op.b) + op.c) << op.n
    # Twice the rest of a division is compared with the exponential.
    widest = max(_columns(graph, op), 2) * exponential
    return max(widest, (rest + 1) * (rest + abs(op.b)) + op.c, op.n * -op.x0)


WIDEST: Mapping[type[Op], Callable[[IntGraph, Any], int]] = MappingProxyType(
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
