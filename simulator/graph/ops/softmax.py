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
from simulator.graph.op import Op, TensorId, added
from simulator.graph.ops.spec import OpSpec
from simulator.graph.parameters import has_an_entry_per_code, within
from simulator.graph.ranges import Bounds, up_to
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


def _bounds(graph: IntGraph, op: Softmax) -> Bounds:
    table = graph.constants[op.table]
    largest = int(table.max())
    total = largest * graph.result(op).shape[-1]
    zero_point = abs(graph.result(op).zero_point)
    if op.normalisation is Normalisation.DIVISION:
        # Twice the rest of a division is compared with the sum.
        return up_to(max(largest << op.reciprocal_bits - op.shift, 2 * total) + zero_point)
    # The maximum itself contributes table[0], so no sum is smaller.
    inverse = ((1 << op.reciprocal_bits) + total // 2) // max(int(table[0]), 1) + 1
    product = largest * inverse + (1 << op.shift) + zero_point
    return up_to(max((1 << op.reciprocal_bits) + total, product))


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
        bounds=_bounds,
        text=_text,
        rate="softmax",
        rules=_rules,
        shifts=("shift",),
        own_shapes=("table",),
    ),
)
