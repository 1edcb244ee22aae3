# SPDX-License-Identifier: Apache-2.0
"""Lowering onto a chip's own tables: what reads one is rescaled to the codes that it is for."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aocq.capture import FloatNode
from aocq.lowering.builder import Builder
from aocq.methods.quantizers import LevelQuantizer
from simulator.graph.graph import Tensor
from simulator.graph.ops import InterpolatedLookup, Lookup, Op, Rescale
from simulator.numerics.integer_type import IntType, Overflow
from simulator.numerics.rounding import Rounding
from simulator.profile.chip_tables import INTERPOLATED, CodeTable, SampleTable

TABLE_513_FRACTION_BITS = 7
SAME_SCALE = 1e-9  # relative: scales that pass through float64 formulas


@dataclass(frozen=True, slots=True)
class Codes:
    """How codes are to be read: type, scale, zero point."""

    type: IntType
    scale: float
    zero_point: int = 0

    def are_of(self, tensor: Tensor) -> bool:
        """Say whether a tensor's codes are read so."""
        return (
            (tensor.type, tensor.zero_point) == (self.type, self.zero_point)
            and len(tensor.scale) == 1
            and math.isclose(tensor.scale[0], self.scale, rel_tol=SAME_SCALE)
        )


def at_codes(
    builder: Builder, name: str, source: Tensor, scales: NDArray[np.float64], wanted: Codes
) -> Tensor:
    """Return a tensor with the wanted codes: ``source``, or what a Rescale ``name`` makes of it.

    Parameters
    ----------
    scales
        of the source, [C] or [1]
    """
    if wanted.are_of(source):
        return source
    requantize = builder.requantization(name, "rescale", scales, np.array([wanted.scale]))
    builder.graph.declare(name, source.shape, wanted.type, wanted.zero_point, scale=(wanted.scale,))
    builder.graph.append(Rescale(name=name, a=source.name, requantize=requantize))
    return builder.graph.tensors[name]


def function_of_table(builder: Builder, node: FloatNode, table: SampleTable) -> None:
    """Add a function by the chip's own table, between the codes that the table is for.

    Its results are brought to the node's own codes by a Rescale, or to a method's levels by a
    second table.
    """
    samples = not isinstance(table, CodeTable)
    kind = INTERPOLATED if samples else IntType(bits=builder.profile.activation.bits)
    zero_points = (
        (table.input_zero_point, table.output_zero_point)
        if isinstance(table, CodeTable)
        else (0, 0)
    )
    read = Codes(kind, table.input_scale, zero_points[0])
    written = Codes(kind, table.output_scale, zero_points[1])
    source = at_codes(
        builder,
        f"{node.name}.table_input",
        builder.tensor(node.inputs[0]),
        builder.channel_scales(node.inputs[0]),
        read,
    )
    constant = builder.constant(f"{node.name}.table", np.array(table.entries), kind)
    result = builder.result(node)
    name = node.name if written.are_of(result) else f"{node.name}.table_output"
    builder.graph.append(_read_by(name, source.name, constant, samples))
    if name == node.name:
        return
    builder.graph.declare(name, node.shape, kind, written.zero_point, scale=(written.scale,))
    quantizer = builder.quantizer(node)
    if isinstance(quantizer, LevelQuantizer):
        codes = np.arange(kind.low, kind.high + 1)
        levels = quantizer.integer_codes(np.float64(written.scale) * (codes - written.zero_point))
        constant = builder.constant(f"{node.name}.levels", levels, quantizer.type)
        builder.graph.append(Lookup(name=node.name, a=name, table=constant))
        return
    requantize = builder.requantization(
        node.name, "rescale", np.array([written.scale]), builder.channel_scales(node.name)
    )
    builder.graph.append(Rescale(name=node.name, a=name, requantize=requantize))


def _read_by(name: str, source: str, table: str, samples: bool) -> Op:
    if not samples:
        return Lookup(name=name, a=source, table=table)
    return InterpolatedLookup(
        name=name,
        a=source,
        table=table,
        fraction_bits=TABLE_513_FRACTION_BITS,
        shift=TABLE_513_FRACTION_BITS,
        rounding=Rounding.HALF_UP,
        overflow=Overflow.SATURATE,
    )
