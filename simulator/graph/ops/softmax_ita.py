# SPDX-License-Identifier: Apache-2.0
"""The softmax of the accelerator ITA.

d and bits: see :class:`Softmax`. Codes of ``a`` and of the result have at most 16 bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from simulator.graph.graph import IntGraph
from simulator.graph.op import Op, TensorId
from simulator.graph.ops.softmax_rows import (
    WIDEST_CODES,
    above_zero_point,
    columns,
    result_holds,
    rows_are_short,
    softmax_spec,
)
from simulator.graph.parameters import within
from simulator.graph.ranges import Intermediate
from simulator.numerics.integer_type import IntType

_ONE, _SUM_BITS = 256, 19


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftmaxIta(Op):
    """The streaming softmax of the accelerator ITA: powers of two, a running maximum.

    Elements arrive in groups of ``group``, the last one may be shorter. M starts at the lowest code
    of a, S at 0. ``oct(g) = g + H >> octave_bits`` with H = 2^(octave_bits - 1), or 0 for 0 bits::

        for each group:  M' = max(M, the group)
                         S  = (S >> oct(M' - M)) + sum over the group of (256 >> oct(M' - a[j]))
                         M  = M'
        y[j] = (floor(256 * largest / S) >> oct(M - a[j])) + z_y

    A maximum that grows shifts bits of S out for good: the result depends on the order of the
    elements and on the group. S has 19 bits; rows have at most 2047 scores.

    Source: ITA (arXiv 2307.03493), ``ita_softmax.sv``; Deeploy ``ITAMax_s8``, ``ITAPartialMax_s8``.

    Attributes
    ----------
    a
        codes of scale ln 2 / 2^octave_bits: there is no other parameter
    octave_bits
        K, one octave is 2^K codes; 0 in ITA's published RTL, 5 in Deeploy's kernels
    group
        16 in ITA; the whole row for a softmax that looks for the maximum first
    largest
        the code of 1: 255 in ITA, 127 in the signed streaming kernel of Deeploy
    """

    a: TensorId
    octave_bits: int
    group: int
    largest: int


def _rules(graph: IntGraph, op: SoftmaxIta) -> Iterator[str]:
    yield from within("octave_bits", op.octave_bits, 0, WIDEST_CODES)
    yield from within("group", op.group, 1, (1 << 31) - 1)
    yield from within("largest", op.largest, 1, (1 << WIDEST_CODES) - 1)
    yield from rows_are_short(graph, op, ((1 << _SUM_BITS) - 1) // _ONE)
    yield from result_holds(graph, op, op.largest)


def _intermediates(graph: IntGraph, op: SoftmaxIta) -> Iterator[Intermediate]:
    yield Intermediate("exponentials", (0, _ONE))
    register = IntType(bits=_SUM_BITS, signed=False)
    # Shifts only make it smaller; the largest score, whose exponential is 1, stays whole.
    total = _ONE, _ONE * columns(graph, op)
    yield Intermediate("sum", total, (0, 1 << _SUM_BITS), register)
    one = _ONE * op.largest
    yield Intermediate("reciprocal", (one // total[1], one // total[0]), (0, one))
    yield Intermediate("rounded", above_zero_point(graph, op, 0, op.largest))


def _text(_: IntGraph, op: SoftmaxIta) -> str:
    return f"{op.a}   octave 2^{op.octave_bits}, groups of {op.group}, 1 = {op.largest}"


SPECS = (
    softmax_spec(SoftmaxIta, "softmax_ita", rules=_rules, intermediates=_intermediates, text=_text),
)
