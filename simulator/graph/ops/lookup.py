# SPDX-License-Identifier: Apache-2.0
"""Functions of one value by a table.

:mod:`simulator.numerics.function_tables` makes the tables as targets do: TensorFlow Lite's of GELU
and LOGISTIC (float32, half away from zero), its RSQRT of 8-bit codes (integers, by Newton's
iteration), its 513 samples of a function of 16-bit codes, and plain samples of exponentials,
reciprocals and inverse roots.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from simulator.graph.graph import IntGraph
from simulator.graph.last_steps import shifted
from simulator.graph.op import Op, TensorId
from simulator.graph.ops.spec import OpSpec, no_intermediates
from simulator.graph.parameters import has_an_entry_per_code, within
from simulator.graph.ranges import Intermediate
from simulator.graph.shapes import same_shape
from simulator.numerics.integer_type import Overflow
from simulator.numerics.rounding import Rounding


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup(Op):
    """A function by a table with one entry per code: GELU and others.

    ::

        y = table[a - lowest code of the type of a]

    Nothing is rounded or fitted: the table holds codes of the result. Where the result has a scale
    per channel, the table yields 16-bit codes at one scale, and a Rescale follows.

    Attributes
    ----------
    table
        constant, one entry per code of a, lowest code first
    """

    constant_fields: ClassVar[tuple[str, ...]] = ("table",)

    a: TensorId
    table: TensorId


def _lookup_rules(graph: IntGraph, op: Lookup) -> Iterator[str]:
    incomplete = list(has_an_entry_per_code(graph, op.table, op.a))
    yield from incomplete
    if not incomplete and graph.tensors[op.table].type != graph.result(op).type:
        yield f"table holds {graph.tensors[op.table].type}, result is {graph.result(op).type}"


def _lookup_text(graph: IntGraph, op: Lookup) -> str:
    return f"{op.a} in table[{graph.tensors[op.table].size}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class InterpolatedLookup(Op):
    """A function by a table of samples, with straight lines between them.

    ::

        i = (a - low) >> fraction_bits              the interval; low is the lowest code of a's type
        f = (a - low) & (2^fraction_bits - 1)       the place in it
        y = fit(round((table[i] << fraction_bits) + (table[i + 1] - table[i]) * f >> shift))

    16-bit codes and 7 fraction bits make 513 samples. TOSA's TABLE keeps the fraction (shift 0, a
    32-bit result), TensorFlow Lite's 16-bit tables round it off (shift 7, ``half_up``). Both define
    it only where neighbouring samples differ by 16 bits at most; here they may differ by more.

    Attributes
    ----------
    table
        constant of 2^(bits of a - fraction_bits) + 1 samples: one for each 2^fraction_bits codes
        and one behind them
    """

    constant_fields: ClassVar[tuple[str, ...]] = ("table",)

    a: TensorId
    table: TensorId
    fraction_bits: int
    shift: int
    rounding: Rounding
    overflow: Overflow


def _interpolated_rules(graph: IntGraph, op: InterpolatedLookup) -> Iterator[str]:
    bits = graph.tensors[op.a].code_type.bits
    yield from within("fraction_bits", op.fraction_bits, 0, bits)
    if 0 <= op.fraction_bits <= bits:
        entries, wanted = graph.tensors[op.table].shape, (1 << bits - op.fraction_bits) + 1
        if entries != (wanted,):
            yield (
                f"table has shape {entries}, wanted ({wanted},) for {bits}-bit codes with "
                f"{op.fraction_bits} fraction bits"
            )


def _interpolated_intermediates(graph: IntGraph, op: InterpolatedLookup) -> Iterator[Intermediate]:
    table = graph.constants[op.table].astype(object)
    rises = table[1:] - table[:-1]
    yield Intermediate("rise", (int(rises.min()), int(rises.max())))
    starts = table[:-1] * (1 << op.fraction_bits)
    # The last place of an interval lies one step before the next sample.
    climbs = rises * ((1 << op.fraction_bits) - 1)
    ends = np.concatenate([starts, starts + climbs])
    scaled = int(ends.min()), int(ends.max())
    climb = min(0, int(climbs.min())), max(0, int(climbs.max()))
    yield from shifted(graph, op, scaled, climb, zero_point=0)


def _interpolated_text(graph: IntGraph, op: InterpolatedLookup) -> str:
    return (
        f"{op.a} in table[{graph.tensors[op.table].size}], {op.fraction_bits} bits between "
        f">> {op.shift} {op.rounding} {op.overflow}"
    )


SPECS = (
    OpSpec(
        op=Lookup,
        name="lookup",
        shape=same_shape,
        intermediates=no_intermediates,
        text=_lookup_text,
        rate="lookup",
        rules=_lookup_rules,
        own_shapes=("table",),
    ),
    OpSpec(
        op=InterpolatedLookup,
        name="interpolated_lookup",
        shape=same_shape,
        intermediates=_interpolated_intermediates,
        text=_interpolated_text,
        rate="lookup",
        rules=_interpolated_rules,
        shifts=("shift",),
        own_shapes=("table",),
    ),
)
