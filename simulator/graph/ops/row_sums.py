# SPDX-License-Identifier: Apache-2.0
"""What the codes of a row of probabilities sum up to, at most: a bound that types do not tell.

A product of such rows with another matrix sums no more than that many times the other's largest
code, however long the rows are. N is the number of scores of a row, S their sum of exponentials e.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from simulator.graph.graph import IntGraph
from simulator.graph.op import Op, TensorId
from simulator.graph.ops import softmax, softmax_polynomial
from simulator.graph.ops.layout import Concat, Reshape, Slice, Transpose
from simulator.graph.ops.softmax import Softmax
from simulator.graph.ops.softmax_ita import SoftmaxIta
from simulator.graph.ops.softmax_polynomial import Shiftmax, SoftmaxIBert
from simulator.graph.ops.spec import OpSpec
from simulator.graph.ranges import code_range
from simulator.numerics.integer_type import Overflow
from simulator.numerics.rounding import ROUNDING_MODES, offset_of
from simulator.numerics.softmax_normalisation import Normalisation


def largest_row_sum(graph: IntGraph, name: TensorId) -> int | None:
    """Return the largest sum of a row of the last dimension, none of whose codes is negative.

    Also the largest sum of any of a row's codes. None where nothing is known: the tensor is not,
    possibly moved, the result of a softmax whose rows have a bound, or its codes can be negative.
    """
    known: dict[TensorId, int | None] = {}
    pending = [name]
    while pending:  # no recursion: rows may be moved thousands of times
        tensor = pending[-1]
        op = graph.makers.get(tensor)
        before = op.operands if isinstance(op, Concat | Reshape | Slice | Transpose) else ()
        missing = [operand for operand in before if operand not in known]
        if missing:
            pending += missing
            continue
        known[tensor] = _of_result(graph, tensor, op, known)
        pending.pop()
    return known[name]


def _of_result(
    graph: IntGraph, name: TensorId, op: Op | None, known: Mapping[TensorId, int | None]
) -> int | None:
    """Return the bound of the result of an op; ``known`` are those of the operands it moves."""
    if op is None or graph.tensors[name].zero_point or code_range(graph, name)[1] <= 0:
        return None
    if isinstance(op, Concat | Reshape | Slice | Transpose):
        return _of_moved(graph, op, known)
    found = _OF_SOFTMAX.get(type(op))
    if found is None or not _stays_positive(graph, op):
        return None
    total = found(graph, op)
    return None if total is None else min(total, _plain(graph, name))


def softmax_behind(graph: IntGraph, name: TensorId) -> Op | None:
    """Return the softmax whose rows, or parts of them, a tensor holds; of several, the first."""
    op = graph.makers.get(name)
    while isinstance(op, Concat | Reshape | Slice | Transpose):
        op = graph.makers.get(op.operands[0])
    return op if type(op) in _OF_SOFTMAX else None


def _plain(graph: IntGraph, name: TensorId) -> int:
    """Return what a row sums up to where all its codes are the largest of their type."""
    return graph.tensors[name].shape[-1] * code_range(graph, name)[1]


def _stays_positive(graph: IntGraph, op: Op) -> bool:
    """Tell whether codes are at most what is rounded: wrapping would make some negative."""
    if graph.result(op).code_type.low == 0:
        return True  # what wraps, too, becomes smaller
    return getattr(op, "overflow", Overflow.SATURATE) is not Overflow.WRAP


def _of_moved(
    graph: IntGraph,
    op: Concat | Reshape | Slice | Transpose,
    known: Mapping[TensorId, int | None],
) -> int | None:
    """Return the bound of a result whose rows are whole rows of an operand, or parts of one."""
    if isinstance(op, Concat):
        sums = [each for each in (known[name] for name in op.inputs) if each is not None]
        if len(sums) < len(op.inputs):
            return None
        joins_rows = op.axis == len(graph.result(op).shape) - 1
        return sum(sums) if joins_rows else max(sums)
    before, after = graph.tensors[op.a].shape, graph.result(op).shape
    if isinstance(op, Reshape) and before[-1] != after[-1]:
        return None
    if isinstance(op, Transpose) and op.permutation[-1] != len(before) - 1:
        return None
    return known[op.a]


def _softmax(graph: IntGraph, op: Softmax) -> int:
    """Return the bound of an ``exp_table`` softmax.

    With the reciprocal i <= (2^b + S / 2) / S and R what the mode adds before it shifts by s,
    sum(y) <= (S i + N R) / 2^s <= (2^b + floor(S / 2) + N R) / 2^s. With divisions, 2^(b - s) in
    all, and at most 1 / 2 more for every element, nearly 1 where a mode rounds up, none below.
    """
    columns, mode = graph.result(op).shape[-1], ROUNDING_MODES[op.rounding]
    if op.normalisation is Normalisation.DIVISION:
        one = 1 << op.reciprocal_bits - op.shift
        if mode.nearest:
            return one + columns // 2
        return one + (columns - 1) * max(mode.up(False, odd) for odd in (False, True))
    largest = _largest_sum(softmax.SPECS, graph, op)
    offset = offset_of(mode, op.shift)
    added = columns * (offset.bias + max(offset.if_odd, 0))
    return (1 << op.reciprocal_bits) + largest // 2 + added >> op.shift


def _largest_sum(specs: Sequence[OpSpec], graph: IntGraph, op: Op) -> int:
    """Return the bound of an op's intermediate ``sum``."""
    (spec,) = (spec for spec in specs if spec.op is type(op))
    return next(found.interval[1] for found in spec.intermediates(graph, op) if found.name == "sum")


def _ibert(graph: IntGraph, op: SoftmaxIBert) -> int:
    """Return the largest code of the type's width: fractions of it, rounded down."""
    return (1 << graph.result(op).code_type.bits) - 1


def _shiftmax(graph: IntGraph, op: Shiftmax) -> int:
    """Return what e F adds up to: 2^31 - 1, or the sum where it is larger and F is 1."""
    total = _largest_sum(softmax_polynomial.SPECS, graph, op)
    return max((1 << 31) - 1, total) >> 32 - op.output_bits


def _ita(graph: IntGraph, op: SoftmaxIta) -> int | None:
    """Return the code of 1, where a row is one group, so that nothing is shifted out of S.

    Then S = sum(floor(256 / 2^k)) over the octaves k of all elements, and
    y = floor(floor(256 largest / S) / 2^k). From k = 9 on nothing is left of either, as long as
    ``largest`` has at most 9 bits.
    """
    if op.group < graph.result(op).shape[-1] or op.largest >= 1 << 9:
        return None
    return op.largest


_OF_SOFTMAX: Mapping[type[Op], Callable[[IntGraph, Any], int | None]] = MappingProxyType(
    {Softmax: _softmax, SoftmaxIBert: _ibert, Shiftmax: _shiftmax, SoftmaxIta: _ita}
)
