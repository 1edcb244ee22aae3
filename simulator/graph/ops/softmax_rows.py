# SPDX-License-Identifier: Apache-2.0
"""Softmaxes of particular targets, in common: a row in, a row out, codes of at most 16 bits.

Rows, ``d``, ``sat`` and ``bits``: see :mod:`simulator.graph.ops.softmax`. Each algorithm has
parameters within which its kernel, and the hardware that it describes, never pass their registers;
values between are integers that need no more than 64 bits, which ``verify`` sees to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from simulator.graph.graph import IntGraph
from simulator.graph.op import Op
from simulator.graph.ops.spec import OpSpec, Rule
from simulator.graph.ranges import Intermediate, Interval, code_range
from simulator.graph.shapes import same_shape

WIDEST_CODES = 16  # exponentials of every difference of two codes are tabulated once


def softmax_spec(
    op: type[Op],
    name: str,
    *,
    rules: Rule,
    intermediates: Callable[[IntGraph, Any], Iterator[Intermediate]],
    text: Callable[[IntGraph, Any], str],
    tables: tuple[str, ...] = (),
    real: frozenset[str] = frozenset(),
) -> OpSpec:
    """Return the specification of a softmax.

    Parameters
    ----------
    rules
        asked only where codes have at most 16 bits
    intermediates
        those behind the maximum, for parameters that keep the rules
    tables
        fields of constants whose shapes are a matter of the rules
    """

    def rules_of_narrow_codes(graph: IntGraph, op: Op) -> Iterator[str]:
        for tensor in (graph.tensors[op.operands[0]], graph.result(op)):
            bits = tensor.code_type.bits
            if bits > WIDEST_CODES:
                yield f"{tensor.name} has {bits} bits, wanted at most {WIDEST_CODES}"
                return
        yield from rules(graph, op)

    def with_maximum(graph: IntGraph, op: Op) -> Iterator[Intermediate]:
        yield Intermediate("maximum", code_range(graph, op.operands[0]))
        yield from intermediates(graph, op)

    return OpSpec(
        op=op,
        name=name,
        shape=same_shape,
        intermediates=with_maximum,
        text=text,
        rate="softmax",
        rules=rules_of_narrow_codes,
        own_shapes=tables,
        real=real,
    )


def columns(graph: IntGraph, op: Op) -> int:
    """Return the number of elements of a row."""
    return graph.result(op).shape[-1]


def sum_of_row(graph: IntGraph, op: Op, first: int, others: Interval) -> Interval:
    """Return the bounds of a sum: the exponential of the largest score, and those of others."""
    count = columns(graph, op) - 1
    return first + count * others[0], first + count * others[1]


def above_zero_point(graph: IntGraph, op: Op, low: int, high: int) -> Interval:
    """Return the bounds of codes, from those of what the zero point is added to."""
    zero_point = graph.result(op).zero_point
    return low + zero_point, high + zero_point


def largest_difference(graph: IntGraph, op: Op) -> int:
    """Return the largest difference of two codes of the operand."""
    return (1 << graph.tensors[op.operands[0]].code_type.bits) - 1


def rows_are_short(graph: IntGraph, op: Op, longest: int) -> Iterator[str]:
    """Yield where a row has more elements than the register of sums has room for."""
    if columns(graph, op) > longest:
        yield (f"rows of {columns(graph, op)}: the sum of exponentials has room for {longest}")


def result_holds(graph: IntGraph, op: Op, largest: int) -> Iterator[str]:
    """Yield where the result's type ends below ``largest`` above its zero point."""
    result = graph.result(op)
    if result.zero_point + largest > result.code_type.high:
        yield (
            f"result is {result.type} with zero point {result.zero_point}, it must hold "
            f"0..{largest} above it"
        )
