# SPDX-License-Identifier: Apache-2.0
"""Softmax with a table of integer exponentials.

All softmaxes work on rows of the last dimension. ``d[j] = a[j] - max(a)`` is the distance from the
row's largest code, which is not positive, so the zero point of ``a`` cancels out. ``sat(v)`` clips
to the type of the result, and what it clips is counted as saturated; ``bits`` is the width of that
type. :mod:`simulator.numerics.softmax_constants` derives parameters from the scale s of ``a``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from simulator.graph.graph import IntGraph
from simulator.graph.last_steps import shifted
from simulator.graph.op import Op, TensorId, added
from simulator.graph.ops.spec import OpSpec
from simulator.graph.parameters import has_an_entry_per_code, within
from simulator.graph.ranges import Intermediate, code_range, widened
from simulator.graph.shapes import same_shape
from simulator.numerics.fixed_point import LARGEST_SHIFT
from simulator.numerics.integer_type import Overflow
from simulator.numerics.rounding import Rounding
from simulator.numerics.softmax_normalisation import Normalisation


@dataclass(frozen=True, slots=True, kw_only=True)
class Softmax(Op):
    """Softmax over the last dimension with a table of exponentials (algorithm ``exp_table``).

    The reciprocal is rounded half up, once per row::

        e[j] = table[-d[j]]
        i    = floor((2^reciprocal_bits + floor(sum(e) / 2)) / sum(e))
        y[j] = fit(round(e[j] * i >> shift) + z_y)

    shift is reciprocal_bits - log2(1 / s_y). A row with one dominant score gives 256 before
    ``fit``; in ``u8`` it becomes 255 and is counted. With the normalisation ``division`` there is
    one division per element instead, rounded by ``rounding``::

        y[j] = fit(round(e[j] * 2^(reciprocal_bits - shift) / sum(e)) + z_y)

    Attributes
    ----------
    table
        unsigned constant, one entry for every difference of two codes of a: 2^bits entries
    normalisation
        ``reciprocal`` or ``division``
    """

    constant_fields: ClassVar[tuple[str, ...]] = ("table",)

    a: TensorId
    table: TensorId
    reciprocal_bits: int
    shift: int
    rounding: Rounding
    overflow: Overflow
    normalisation: Normalisation = added(Normalisation.RECIPROCAL)


def _rules(graph: IntGraph, op: Softmax) -> Iterator[str]:
    incomplete = list(has_an_entry_per_code(graph, op.table, op.a))
    yield from incomplete
    table = graph.constants[op.table]
    if not incomplete and (int(table[0]) < 1 or int(table.min()) < 0):
        yield "table of exponentials must start above 0 and not go below it"
    yield from within("reciprocal_bits", op.reciprocal_bits, 0, LARGEST_SHIFT)
    if op.normalisation is Normalisation.DIVISION and op.shift > op.reciprocal_bits:
        yield (
            f"shift {op.shift}: a division needs reciprocal_bits - shift, the fraction bits of "
            f"the result, and reciprocal_bits is {op.reciprocal_bits}"
        )


def _intermediates(graph: IntGraph, op: Softmax) -> Iterator[Intermediate]:
    table = graph.constants[op.table]
    least, most = int(table.min()), int(table.max())
    others = graph.result(op).shape[-1] - 1
    # The largest score has the first entry, any other score any entry.
    first = int(table[0])
    total = first + others * least, first + others * most
    yield Intermediate("maximum", code_range(graph, op.a))
    yield Intermediate("exponentials", (least, most))
    if op.normalisation is Normalisation.DIVISION:
        one, zero_point = 1 << op.reciprocal_bits - op.shift, graph.result(op).zero_point
        # Twice the rest of a division is compared with the sum.
        yield Intermediate("sum", total, (0, 2 * total[1]))
        scaled = least * one, most * one
        yield Intermediate("scaled", scaled, widened(scaled, abs(zero_point)))
        # No exponential passes the sum.
        yield Intermediate("rounded", (zero_point, one + zero_point))
        return
    yield Intermediate("sum", total, (0, (1 << op.reciprocal_bits) + total[1] // 2))
    inverses = [((1 << op.reciprocal_bits) + each // 2) // each for each in total if each > 0]
    inverse = min(inverses), max(inverses)
    yield Intermediate("reciprocal", inverse)
    # e * i <= e (2^bits / S + 1 / 2), and e <= S. The emulator has products of all entries.
    product = most * inverse[1]
    scaled = least * inverse[0], min(product, (1 << op.reciprocal_bits) + most // 2)
    yield from shifted(graph, op, scaled, (0, product))


def _text(graph: IntGraph, op: Softmax) -> str:
    table = graph.tensors[op.table]
    if op.normalisation is Normalisation.DIVISION:
        divided = f"division 2^{op.reciprocal_bits - op.shift}"
    else:
        divided = f"reciprocal 2^{op.reciprocal_bits} >> {op.shift}"
    return f"{op.a}   exp_table[{table.size}] {table.type}, {divided} {op.rounding} {op.overflow}"


SPECS = (
    OpSpec(
        op=Softmax,
        name="softmax",
        shape=same_shape,
        intermediates=_intermediates,
        text=_text,
        rate="softmax",
        rules=_rules,
        shifts=("shift",),
        own_shapes=("table",),
    ),
)
