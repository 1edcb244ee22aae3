# SPDX-License-Identifier: Apache-2.0
"""The softmaxes of TensorFlow Lite: fixed point, interpolated tables, float32 exponentials.

d, sat and bits: see :class:`Softmax`. Codes of ``a`` and of the result have at most 16 bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from simulator.graph.graph import IntGraph
from simulator.graph.op import FLOAT_ARITHMETIC, Op, TensorId
from simulator.graph.ops.softmax_rows import (
    above_zero_point,
    largest_difference,
    result_holds,
    rows_are_short,
    softmax_spec,
    sum_of_row,
)
from simulator.graph.parameters import within
from simulator.graph.ranges import Intermediate, code_range, times
from simulator.numerics.float_type import FLOAT32
from simulator.numerics.integer_type import INT32
from simulator.numerics.rounding import Rounding

_LUT513_ENTRIES, _LUT513_LARGEST = 513, (1 << 15) - 1
_Q31_LARGEST = (1 << 31) - 1
_GEMMLOWP_LONGEST = (1 << 12) - 1  # each score may be 1 in Q12.19


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftmaxGemmlowp(Op):
    """The fixed-point softmax of TensorFlow Lite's reference, TFLite Micro and CMSIS-NN.

    Qm.n is a 32-bit number with n fraction bits. ``mul(x, y) = x * y + 2^30 >> 31``, and ``div(x,
    n)`` is ``x / 2^n`` rounded to nearest, ties away from zero::

        x[j] = mul(d[j] << input_left_shift, input_multiplier)                       Q5.26
        e[j] = exp(x[j]), but 0 where d[j] < smallest_difference                     Q0.31
        S    = sum of div(e[j], 12)                                                  Q12.19
        z    = leading zeros of S in 32 bits
        r    = 1 / (1 + t),  t = (S << z) - 2^31                                     Q0.31
        y[j] = sat(div(mul(r, e[j]), 12 - z + 31 - bits) + z_y)

    exp(0) is 2^31 - 1. Otherwise it is a Taylor series around -1/8, then factors exp(-1/4) to
    exp(-16) in Q0.31::

        p  = (x mod 2^24) - 2^24                                  x's part in [-1/4, 0)
        u  = (p << 5) + 2^28                                      p + 1/8 in Q0.31
        u2 = mul(u, u);   u3 = mul(u2, u);   u4 = mul(u2, u2);   k = 1895147668
        e  = k + mul(k, u + div(mul(div(u4, 2) + u3, 715827883) + u2, 1))
        for each bit i = 0..6 of (p - x) >> 24 that is set, ascending: e = mul(e, f[i])
        f  = 1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242

    r is Newton's iteration in Q2.29, whose left shifts clip to 32 bits::

        h = (S << z) >> 1                                         half the denominator
        v = 1515870810 + mul(h, -1010580540)
        three times: v = v + (mul(v, 2^29 - mul(h, v)) << 2)
        r = v << 1

    An unsigned result with zero point 0 holds what TFLite writes with zero point -128 (8 bits) or
    -32768 (16 bits). More than 511 scores of nearly the same size need a last shift above 31, at
    which TFLite's 8-bit kernels abort; here it is a shift like any other. Rows have at most 4095
    scores.

    Source: TensorFlow Lite ``reference/softmax.h``; gemmlowp ``fixedpoint.h``.

    Attributes
    ----------
    a
        codes; TFLite's have 8 bits
    input_multiplier, input_left_shift
        the scale of a times beta in Q5.26, ``input_multiplier * 2^(input_left_shift - 31)``
    smallest_difference
        the d that still reaches at least -31 in Q5.26 (``diff_min``), at most 0
    """

    a: TensorId
    input_multiplier: int
    input_left_shift: int
    smallest_difference: int


def _gemmlowp_rules(graph: IntGraph, op: SoftmaxGemmlowp) -> Iterator[str]:
    yield from within("input_multiplier", op.input_multiplier, 1, (1 << 31) - 1)
    yield from within("input_left_shift", op.input_left_shift, 0, 31)
    if 0 <= op.input_left_shift <= 31:
        farthest = (1 << 31) >> op.input_left_shift
        yield from within("smallest_difference", op.smallest_difference, -farthest, 0)
    yield from rows_are_short(graph, op, _GEMMLOWP_LONGEST)


def _gemmlowp_intermediates(graph: IntGraph, op: SoftmaxGemmlowp) -> Iterator[Intermediate]:
    # All products are of two numbers of 32 bits, one of them below 2^31, and half a unit is added.
    widest = (1 << 31) * _Q31_LARGEST + (1 << 30)
    yield Intermediate("exponentials", (0, _Q31_LARGEST), (-widest, widest), INT32)
    one = 1 << 19
    yield Intermediate("sum", sum_of_row(graph, op, one, (0, one)), register=INT32)
    yield Intermediate("reciprocal", (0, _Q31_LARGEST), register=INT32)
    yield Intermediate("product", (0, _Q31_LARGEST**2))
    yield Intermediate("scaled", (0, _Q31_LARGEST), register=INT32)
    # Sums of 2^19 and more have at most 12 leading zeros: the shift is at least 31 - bits.
    largest = 1 << graph.result(op).code_type.bits
    yield Intermediate("rounded", above_zero_point(graph, op, 0, largest))


def _gemmlowp_text(_: IntGraph, op: SoftmaxGemmlowp) -> str:
    return (
        f"{op.a} × {op.input_multiplier} << {op.input_left_shift} >> 31 from "
        f"{op.smallest_difference} on"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftmaxLut513(Op):
    """The softmax of 16-bit codes of TensorFlow Lite and CMSIS-NN, by two interpolated tables.

    ``mul`` and ``div`` are those of :class:`SoftmaxGemmlowp`. T(x) reads a table of 513 entries at
    x in -32768..32767, to which ``clip`` clips; left is ``input_left_shift``, to the right where
    negative::

        T(x) = T[i] + ((T[i + 1] - T[i]) * f + 64 >> 7)           i = (x >> 7) + 256, f = x & 127

        x[j] = clip(div(mul(d[j] << max(left, 0), input_multiplier), max(-left, 0)) + 32767)
        e[j] = exp_table(x[j])
        S    = sum(e)
        z    = leading zeros of S in 32 bits
        r    = reciprocal_table(clip(((S << z - 1) + 2^13 >> 14) - 3 * 2^15))
        y[j] = min((e[j] * r + H >> 31 - z), 32767) + z_y         H = 2^(30 - z), or 0 for z = 31

    LiteRT makes the tables in float64, TFLite Micro in float32: two entries and a few results
    differ.

    Source: TensorFlow Lite ``reference/softmax.h`` (``SoftmaxInt16``) and ``common.h``.

    Attributes
    ----------
    a
        codes; TFLite's have 16 bits
    input_multiplier, input_left_shift
        the scale of a times beta, over 10/65535
    exp_table, reciprocal_table
        constants [513] of 0..32767: exp of -10..0 and 1 / (1 + x) of 0..1, with 15 fraction bits
    """

    constant_fields: ClassVar[tuple[str, ...]] = ("exp_table", "reciprocal_table")

    a: TensorId
    input_multiplier: int
    input_left_shift: int
    exp_table: TensorId
    reciprocal_table: TensorId


def _lut513_rules(graph: IntGraph, op: SoftmaxLut513) -> Iterator[str]:
    yield from within("input_multiplier", op.input_multiplier, 0, (1 << 31) - 1)
    # A difference shifted left stays within 32 bits.
    left = 32 - (largest_difference(graph, op) + 1).bit_length()
    yield from within("input_left_shift", op.input_left_shift, -31, left)
    yield from rows_are_short(graph, op, (1 << 31) // (_LUT513_LARGEST + 1) - 1)
    yield from result_holds(graph, op, _LUT513_LARGEST)
    for name in (op.exp_table, op.reciprocal_table):
        table = graph.constants[name]
        if table.shape != (_LUT513_ENTRIES,):
            yield f"table {name} has shape {table.shape}, wanted ({_LUT513_ENTRIES},)"
        elif int(table.min()) < 0 or int(table.max()) > _LUT513_LARGEST:
            yield f"table {name}: must be in 0..{_LUT513_LARGEST}"
        elif name == op.exp_table and min(table[-2:].tolist()) < 1:
            yield f"table {name}: must end above 0, the exponential of the largest score"


def _lut513_intermediates(graph: IntGraph, op: SoftmaxLut513) -> Iterator[Intermediate]:
    shifted = largest_difference(graph, op) << max(op.input_left_shift, 0)
    product = shifted * op.input_multiplier + (1 << 30)
    yield Intermediate("arguments", (-(1 << 15), _LUT513_LARGEST), (-product, product))
    exponentials, inverse = (
        code_range(graph, name) for name in (op.exp_table, op.reciprocal_table)
    )
    yield Intermediate("exponentials", exponentials)
    # The largest score reads the table at its last point but one 128th of a step.
    before, last = (int(entry) for entry in graph.constants[op.exp_table][-2:])
    first = before + ((last - before) * 127 + 64 >> 7)
    # Everything from here on has 31 bits.
    yield Intermediate("sum", sum_of_row(graph, op, first, exponentials), (0, 1 << 31))
    yield Intermediate("reciprocal", inverse)
    yield Intermediate("scaled", times(exponentials, inverse), (0, 1 << 31))
    # A sum of n bits holds every exponential, and n - 1 bits are shifted out.
    yield Intermediate("rounded", above_zero_point(graph, op, 0, 2 * inverse[1]))


def _lut513_text(_: IntGraph, op: SoftmaxLut513) -> str:
    return f"{op.a} × {op.input_multiplier} >> {31 - op.input_left_shift}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftmaxFloatTable(Op):
    """The softmax of LiteRT's optimized and default kernels: a table of float32 exponentials.

    An op in float, yet its bits are defined: every operation is rounded to float32, to nearest
    even, one by one, and sums are in ascending index::

        S    = sum of table[-d[j]]
        r    = 1 / (S / 2^bits)
        y[j] = sat(round(table[-d[j]] * r) + z_y)

    Source: TensorFlow Lite ``optimized/optimized_ops.h`` (``Softmax`` of 8-bit codes).

    Attributes
    ----------
    table
        float constant [2^bits of a], what exp yields at every distance: 1 first, all in 0..1
    rounding
        of the products to integers; ``half_away`` in LiteRT
    """

    arithmetic: ClassVar[str] = FLOAT_ARITHMETIC
    constant_fields: ClassVar[tuple[str, ...]] = ("table",)

    a: TensorId
    table: TensorId
    rounding: Rounding


def _float_table_rules(graph: IntGraph, op: SoftmaxFloatTable) -> Iterator[str]:
    table, entries = graph.tensors[op.table], largest_difference(graph, op) + 1
    values = graph.constants[op.table]
    if table.type != FLOAT32:
        yield f"table {op.table} is {table.type}, wanted {FLOAT32}"
    elif table.shape != (entries,):
        yield f"table {op.table} has shape {table.shape}, wanted ({entries},)"
    elif values[0] != 1 or values.min() < 0 or values.max() > 1:
        yield f"table {op.table}: must be in 0..1 and start with 1"


def _float_table_intermediates(graph: IntGraph, op: SoftmaxFloatTable) -> Iterator[Intermediate]:
    # No exponential passes the sum, and no rounding of the three steps adds as much as 1.
    largest = (1 << graph.result(op).code_type.bits) + 1
    reach = largest + abs(graph.result(op).zero_point)
    yield Intermediate("rounded", above_zero_point(graph, op, 0, largest), (-reach, reach))


def _float_table_text(graph: IntGraph, op: SoftmaxFloatTable) -> str:
    return f"{op.a}   exp_table[{graph.tensors[op.table].size}] f32, {op.rounding}"


SPECS = (
    softmax_spec(
        SoftmaxGemmlowp,
        "softmax_gemmlowp",
        rules=_gemmlowp_rules,
        intermediates=_gemmlowp_intermediates,
        text=_gemmlowp_text,
    ),
    softmax_spec(
        SoftmaxLut513,
        "softmax_lut513",
        rules=_lut513_rules,
        intermediates=_lut513_intermediates,
        text=_lut513_text,
        tables=("exp_table", "reciprocal_table"),
    ),
    softmax_spec(
        SoftmaxFloatTable,
        "softmax_float_table",
        rules=_float_table_rules,
        intermediates=_float_table_intermediates,
        text=_float_table_text,
        tables=("table",),
        real=frozenset({"constant"}),
    ),
)
